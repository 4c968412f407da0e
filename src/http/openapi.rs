//! The `OpenAPI` document: operations from the handlers, problems from the catalogue of codes.
//!
//! The committed `openapi.yaml` is this document. A test compares them; with `UPDATE_OPENAPI=1` in
//! the environment, the test rewrites the file.

mod constraints;
mod links;
mod problem_codes;
mod problems;
mod security;
mod yaml;

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, Header, Info, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Required, Response,
    Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::problem::ProblemBody;
use super::responses::{WriteResponse, examples};
use super::{paths, router};

const DESCRIPTION: &str = "Reads and writes the participant attributes of live Genesys Cloud \
calls. The gateway answers a write once a read has confirmed it, or at the deadline, with an outcome \
for each key. Every error is a problem detail (RFC 9457) with a stable `code`, a `hint`, and an \
`effect` that says whether attributes were changed. Clients authenticate with a key or a client \
certificate. A gateway without configured clients needs no credential and serves its own machine \
only. An attribute that a client may not read looks absent to that client, also in `size`, `ETag` \
and counts.";

const SERVER: &str = "The gateway that serves this document";

/// The schema of the members that only some problems have.
const PROBLEM_MEMBERS: &str = "ProblemMembers";

/// Schemas of the bodies of writes.
const WRITE_BODIES: [&str; 3] = ["WriteRequestBody", "PatchRequestBody", "AttributeRequestBody"];

/// The document of a service with debugging enabled.
pub fn document() -> OpenApi {
    document_of(true)
}

/// The document of a service, with or without the debugging operations.
fn document_of(debug: bool) -> OpenApi {
    let (_, mut api) = router::documented(debug).split_for_parts();
    api.info = info();
    api.tags = Some(tags(debug));
    // A relative URL: the document describes the gateway that serves it, below any path.
    api.servers = Some(vec![ServerBuilder::new().url("/").description(Some(SERVER)).build()]);
    api.security = Some(security::required());
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            let negotiated = paths::is_negotiated(path, &method);
            let codes =
                problem_codes::codes_for(operation.operation_id.as_deref().unwrap_or_default());
            constraints::operation(operation, &method);
            security::mark(operation, path);
            if paths::is_api(path) {
                complete(operation);
                links::add(operation, debug);
            } else {
                let defect = Ref::from_response_name(problem_codes::INTERNAL);
                operation.responses.responses.insert("500".to_owned(), defect.into());
            }
            for (status, mut response) in problems::responses_for(&codes, path) {
                if status == "415" && method == Method::PATCH {
                    let header = described(
                        "The accepted media types: `application/json` and `application/merge-patch+json`",
                    );
                    response.headers.insert("Accept-Patch".to_owned(), header.into());
                }
                operation.responses.responses.insert(status, response.into());
            }
            if negotiated {
                add_vary(operation);
            }
        }
    }
    complete_components(api.components.get_or_insert_with(Components::new));
    api
}

/// The document as YAML.
pub fn yaml(public_url: &str, debug: bool) -> String {
    // Serialisation cannot fail: the document holds only strings, numbers and maps.
    yaml::quoted(&served_at(public_url, debug).to_yaml().unwrap_or_default())
}

/// The document as JSON.
pub fn json(public_url: &str, debug: bool) -> String {
    served_at(public_url, debug).to_pretty_json().unwrap_or_default()
}

/// The document of a service that clients reach at `public_url`; an empty one makes the server URL
/// relative.
fn served_at(public_url: &str, debug: bool) -> OpenApi {
    let mut api = document_of(debug);
    if !public_url.is_empty() {
        api.servers = Some(vec![ServerBuilder::new().url(public_url).build()]);
    }
    api
}

fn info() -> Info {
    let license = LicenseBuilder::new()
        .name(env!("CARGO_PKG_LICENSE"))
        .identifier(Some(env!("CARGO_PKG_LICENSE")))
        .build();
    InfoBuilder::new()
        .title("Attribute gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build()
}

/// The operations of a path.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let operations = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The tag of operations that exist only with `debug.enabled`.
const DEBUGGING: &str = "debugging";

fn tags(debug: bool) -> Vec<utoipa::openapi::Tag> {
    [
        ("attributes", "Read and write the attributes of the participants of a call"),
        (DEBUGGING, "Debugging operations, available only with `debug.enabled`"),
        ("conversations", "Find live calls and their participants"),
        ("operations", "Health checks and metrics for operators"),
        ("documentation", "The API description and the explanations of errors"),
    ]
    .into_iter()
    .filter(|(name, _)| debug || *name != DEBUGGING)
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
    .collect()
}

/// Adds what every operation of the API has: request headers, response headers, and examples of
/// successful responses.
fn complete(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend([
        header_parameter(
            "Prefer",
            "`wait=N`: respond within N seconds, from 1 to 60; a larger N counts as 60. 0 is ignored: to skip the read-back, use `verify=none`. `return=minimal`: respond to a successful write with 204. Invalid preferences are ignored.",
        ),
        header_parameter(
            "X-Request-Id",
            "Identifies the request in logs, such as `crm-4711`: 1 to 128 characters of `A-Z a-z 0-9 . _ : -`. The gateway generates an id if the header is absent or malformed.",
        ),
        header_parameter(
            "traceparent",
            "W3C trace context. The gateway logs it and passes it on.",
        ),
    ].map(RefOr::from));
    let name = operation.operation_id.clone().unwrap_or_default();
    let takes_view = parameters
        .iter()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "view"));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            complete_response(response, status, (&name, takes_view));
        }
    }
}

/// Adds `Vary` to the responses whose format depends on the `Accept` header.
fn add_vary(operation: &mut Operation) {
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            let header = described("`Accept`: the format of the response depends on it");
            response.headers.insert("Vary".to_owned(), header.into());
        }
    }
}

/// Adds headers and examples to one response of the named operation.
fn complete_response(response: &mut Response, status: &str, (name, takes_view): (&str, bool)) {
    for (header, description) in headers(status) {
        let has = match header {
            "ETag" => name.contains("Attribute"),
            "Retry-After" => takes_view,
            _ => true,
        };
        if has {
            response.headers.insert(header.to_owned(), described(description).into());
        }
    }
    for (media, content) in &mut response.content {
        let RefOr::T(content) = content else { continue };
        let examples = examples::examples_for(name, status, media).into_iter();
        let examples = examples.map(|(name, value)| (name.to_owned(), example(name, value)));
        content.examples.extend(examples);
    }
}

/// A header without an example. Swagger UI prefills examples, so all its requests would share one id.
fn header_parameter(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

fn described(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(text())).description(Some(description)).build()
}

fn example(summary: &str, value: serde_json::Value) -> RefOr<utoipa::openapi::example::Example> {
    ExampleBuilder::new().summary(summary).value(Some(value)).build().into()
}

/// Headers of the responses with this status.
fn headers(status: &str) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![
        ("X-Request-Id", "Id of the request, as in the log"),
        ("Cache-Control", "`no-store`"),
        (
            "Server-Timing",
            "Milliseconds spent in `queue`, `token`, `read`, `patch` and `verify`, and in `total`",
        ),
        ("Preference-Applied", "The preferences that the gateway applied"),
    ];
    if status == "200" {
        headers.push(("Retry-After", "With `view=flat`: the same as `retryAfterSeconds`"));
    }
    match status {
        "200" | "204" | "304" => headers.push((
            "ETag",
            "Entity tag of one participant's attributes as just read. Absent for `participant=all`, and if the last read did not confirm the state.",
        )),
        "405" => headers.extend([
            ("Allow", "The methods that the path supports"),
            ("Accept-Patch", "The media types that `PATCH` accepts, on a path that supports it"),
        ]),
        "412" => headers.push(("ETag", "Entity tag of the current attributes")),
        "401" => headers.push(("WWW-Authenticate", "The authentication schemes: `Bearer` and `Basic`")),
        "429" | "503" => headers.push(("Retry-After", "Whole seconds to wait before the next attempt")),
        _ => {}
    }
    headers
}

fn complete_components(components: &mut Components) {
    security::describe(components);
    let mut schemas = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    copy_write_members(&mut components.schemas);
    constraints::answers(&mut components.schemas);
    for name in WRITE_BODIES {
        if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
            constraints::body(body);
        }
    }
    if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut("SearchRequestBody") {
        constraints::search(body);
    }
    for (code, name) in problem_codes::OUTSIDE {
        let response = problems::response(&[code], "/nothing-here");
        components.responses.insert(name.to_owned(), response.into());
    }
}

/// Copies the members of a write response into the problem schema, where none of them is required:
/// only `write-superseded` has them.
fn copy_write_members(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let Some(RefOr::T(Schema::Object(write))) = schemas.get(&*WriteResponse::name()) else {
        return;
    };
    let copied = write.properties.clone();
    if let Some(RefOr::T(Schema::Object(members))) = schemas.get_mut(PROBLEM_MEMBERS) {
        members.properties.extend(copied);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::error::ErrorCode;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");

    #[test]
    fn openapi_yaml_equals_the_generated_document() {
        let generated = yaml("", true);
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(FILE, &generated).expect("openapi.yaml can be written");
        }
        let committed = std::fs::read_to_string(FILE).expect("openapi.yaml is there");
        assert!(
            committed == generated,
            "openapi.yaml is out of date; run this test with UPDATE_OPENAPI=1"
        );
    }

    #[test]
    fn every_code_has_an_example_somewhere() {
        let document = json("", true);
        for code in ErrorCode::ALL {
            let example = format!("\"code\": \"{}\"", code.as_str());
            assert!(document.contains(&example), "{example}");
        }
    }

    #[test]
    fn debugging_is_absent_from_the_document_unless_enabled() {
        for document in [json("", false), yaml("", false)] {
            for absent in [
                "/debug/echo",
                "/trace",
                "getTrace",
                "\"echo\"",
                "debugging",
                "EchoResponse",
                "EchoedBody",
            ] {
                assert!(!document.contains(absent), "{absent}");
            }
        }
        let served: serde_json::Value = serde_json::from_str(&json("", true)).expect("JSON");
        assert!(served["paths"].get(paths::ECHO).is_some());
    }

    #[test]
    fn every_operation_has_its_own_id() {
        let mut api = document();
        let mut ids: Vec<_> = api
            .paths
            .paths
            .values_mut()
            .flat_map(operations)
            .map(|(_, operation)| operation.operation_id.clone().expect("an id"))
            .collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
        let documented: BTreeSet<_> = api.paths.paths.keys().map(String::as_str).collect();
        assert_eq!(documented, paths::ALL.iter().copied().collect());
    }
}
