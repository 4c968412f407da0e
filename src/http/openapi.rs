//! The `OpenAPI` document: operations from the handlers, problems from the catalogue of codes.
//! A test compares it with the committed `openapi.yaml`, and rewrites that with `UPDATE_OPENAPI=1`.

mod bodies;
mod examples;
mod headers;
mod problems;
mod security;

use axum::http::Method;
use utoipa::openapi::content::Content;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, Info, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Required, Response,
};

use super::negotiate::JSON;
use super::{paths, router};
use crate::error::ErrorCode;

const DESCRIPTION: &str = "Reads and writes the participant attributes of live Genesys Cloud \
calls. The gateway answers a write once a read has confirmed it, or at the deadline, with an outcome \
for each key. Every error is a problem detail (RFC 9457) with a stable `code`, a `hint`, and an \
`effect` that says whether attributes were changed. Clients authenticate with a key or a client \
certificate. A gateway without configured clients needs no credential and serves its own machine \
only. Problems carry the general headers of the API too: `Cache-Control`, `Server-Timing`, \
`Preference-Applied` and `Vary`. An attribute that a client may not read looks absent to that client, also in `size`, `ETag` \
and counts.";
const SERVER: &str = "The gateway that serves this document";

/// Codes of any path, some of them before a request is routed to its operation.
const GENERAL: [ErrorCode; 3] =
    [ErrorCode::NotFound, ErrorCode::MethodNotAllowed, ErrorCode::Internal];

fn document(debug: bool) -> OpenApi {
    let (_, mut api) = router::documented(debug).split_for_parts();
    api.info = info();
    api.tags = Some(tags(debug));
    // A relative URL: the document describes the gateway that serves it, below any path.
    api.servers = Some(vec![ServerBuilder::new().url("/").description(Some(SERVER)).build()]);
    api.security = Some(security::required());
    let mut components = api.components.take().unwrap_or_default();
    security::describe(&mut components);
    headers::describe(&mut components);
    bodies::describe(&mut components);
    for code in GENERAL {
        problems::add_general(&mut components, code);
    }
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            security::mark(operation, path);
            complete(operation, &mut components, (path, &method));
        }
    }
    api.components = Some(components);
    api
}

/// The document as YAML.
pub fn yaml(public_url: &str, debug: bool) -> String {
    // Serialisation cannot fail: the document holds only strings, numbers and maps.
    let yaml = served_at(public_url, debug).to_yaml().unwrap_or_default();
    // YAML 1.1, which many parsers read, has a type for dates. The examples hold dates as strings.
    let mut quoted = String::with_capacity(yaml.len());
    for line in yaml.split_inclusive('\n') {
        match line.trim_end().split_once(": 2026-") {
            Some((key, rest)) => quoted.extend([key, ": '2026-", rest, "'\n"]),
            None => quoted.push_str(line),
        }
    }
    quoted
}

/// The document as JSON.
pub fn json(public_url: &str, debug: bool) -> String {
    served_at(public_url, debug).to_pretty_json().unwrap_or_default()
}

/// The document of a service that clients reach at `public_url`; an empty one makes the server URL
/// relative.
fn served_at(public_url: &str, debug: bool) -> OpenApi {
    let mut api = document(debug);
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

/// The tag of the operation that exists only with `debug.enabled`.
const DEBUGGING: &str = "debugging";

fn tags(debug: bool) -> Vec<utoipa::openapi::Tag> {
    [
        ("attributes", "Read and write the attributes of the participants of a call"),
        (DEBUGGING, "A debugging operation, available only with `debug.enabled`"),
        ("conversations", "Find live calls and their participants"),
        ("operations", "Health checks, metrics, the live view and traces, for operators"),
        ("documentation", "The API description and the explanations of errors"),
    ]
    .into_iter()
    .filter(|(name, _)| debug || *name != DEBUGGING)
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
    .collect()
}

/// Adds what the handler does not declare: shared headers, examples and problems.
fn complete(operation: &mut Operation, components: &mut Components, at: (&str, &Method)) {
    let (path, method) = at;
    let id = operation.operation_id.clone().unwrap_or_default();
    if paths::is_api(path) {
        let own = operation.parameters.get_or_insert_default();
        own.extend(headers::request_headers().map(RefOr::from));
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        share(parameter, components, &id);
    }
    // The echo takes any body, also none.
    if path == paths::ECHO
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        body.required = Some(Required::False);
    }
    let mut responses = std::mem::take(&mut operation.responses.responses);
    for (status, slot) in &mut responses {
        let RefOr::T(response) = slot else { continue };
        let code = status.parse().unwrap_or_default();
        headers::add_to_result(response, code, operation, at);
        if let Some(RefOr::T(content)) = response.content.get_mut(JSON) {
            for name in examples::names(&id, code) {
                add_example(content, components, name, || examples::value(name));
            }
        }
        if paths::is_of_attributes(path) && !method.is_safe() {
            add_links(response);
            *slot = share_response(response.clone(), components, format!("Write{status}"));
        } else if code == 304 {
            *slot = share_response(response.clone(), components, format!("{id}{status}"));
        }
    }
    operation.responses.responses = responses;
    let codes = problems::codes_for(path, method);
    problems::add(operation, components, &codes);
}

fn add_links(response: &mut Response) {
    let mut add = |name: &str, operation: &str, why: &str| {
        let link = LinkBuilder::new().operation_id(operation).description(why);
        let link = link.parameter("conversationId", "$request.path.conversationId").build();
        response.links.insert(name.to_owned(), link.into());
    };
    add("readBack", "getAttributes", "Read the current attributes");
    add("trace", "getTrace", "See how the gateway processed the write");
}

/// Moves a response to the components, under this name if no equal one is there.
fn share_response(
    response: Response,
    components: &mut Components,
    name: String,
) -> RefOr<Response> {
    let response = RefOr::T(response);
    let known = components.responses.iter().find(|(_, known)| **known == response);
    let name = known.map_or(name, |(known, _)| known.clone());
    components.responses.entry(name.clone()).or_insert(response);
    RefOr::Ref(Ref::from_response_name(name))
}

/// Moves a parameter to the components, under its name or else with the operation in its name.
fn share(parameter: &mut RefOr<Parameter>, components: &mut Components, operation: &str) {
    let known = components.parameters.iter().find(|(_, known)| *known == parameter);
    let name = known.map(|(name, _)| name.clone());
    let name = name.unwrap_or_else(|| {
        let RefOr::T(own) = &*parameter else { return String::new() };
        let is_taken = components.parameters.contains_key(&own.name);
        let name = if is_taken { format!("{}-{operation}", own.name) } else { own.name.clone() };
        components.parameters.insert(name.clone(), parameter.clone());
        name
    });
    *parameter = RefOr::Ref(Ref::new(format!("#/components/parameters/{name}")));
}

fn add_example(
    content: &mut Content,
    components: &mut Components,
    name: &str,
    value: impl FnOnce() -> serde_json::Value,
) {
    let build = || ExampleBuilder::new().value(Some(value())).build().into();
    components.examples.entry(name.to_owned()).or_insert_with(build);
    let reference = Ref::new(format!("#/components/examples/{name}"));
    content.examples.insert(name.to_owned(), RefOr::Ref(reference));
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

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
            for absent in ["/debug/echo", "\"echo\"", "debugging", "EchoResponse", "EchoedBody"] {
                assert!(!document.contains(absent), "{absent}");
            }
        }
        let served: serde_json::Value = serde_json::from_str(&json("", true)).expect("JSON");
        assert!(served["paths"].get(paths::ECHO).is_some());
    }

    #[test]
    fn every_operation_has_its_own_id() {
        let mut api = document(true);
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
