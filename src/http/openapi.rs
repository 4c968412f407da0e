//! The `OpenAPI` document: from the handlers, and from the catalogue of codes what goes wrong.
//!
//! The committed `openapi.yaml` is this document; a test holds them equal and, with
//! `UPDATE_OPENAPI=1` in the environment, writes the file anew.

mod exact;
mod links;

use std::collections::BTreeMap;

use axum::http::Method;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::server::ServerBuilder;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, Header, Info, InfoBuilder, LicenseBuilder, OpenApi, Ref, RefOr, Required, Response,
    ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use super::answer::{WriteAnswer, examples};
use super::problem::{self, About, PROBLEM_JSON, Problem, ProblemBody};
use super::{paths, router};
use crate::error::Code;

/// Limit of the attributes in the examples; the default.
const LIMIT: usize = 10_240;

const DESCRIPTION: &str = "Reads and writes the participant attributes of live Genesys Cloud \
calls. A write is answered when it was read back, with an outcome for each key, or at the \
deadline. Every error is a problem detail (RFC 9457) with a stable `code`, a `hint`, and an \
`effect` that says whether anything was changed. Callers are not authenticated by this version.";

const SERVER: &str = "The gateway that serves this document";

/// What can go wrong where one participant is chosen.
const CHOOSING: &[Code] = &[Code::ParticipantNotFound, Code::AmbiguousParticipant];

/// What can go wrong where a conversation is named.
const NAMING: &[Code] =
    &[Code::InvalidConversationId, Code::InvalidParticipant, Code::ConversationNotFound];

/// What can go wrong with every request of the API.
const COMMON: &[Code] = &[
    Code::InvalidQuery,
    Code::NotAcceptable,
    Code::Internal,
    Code::UpstreamRejected,
    Code::UpstreamForbidden,
    Code::UpstreamAuthFailed,
    Code::UpstreamInvalidResponse,
    Code::UpstreamRateLimited,
    Code::UpstreamUnavailable,
    Code::ShuttingDown,
    Code::DeadlineExceeded,
];

/// What can go wrong with a write besides.
const WRITING: &[Code] = &[
    Code::InvalidJson,
    Code::InvalidHeader,
    Code::RequestTimeout,
    Code::ConversationEnded,
    Code::WriteSuperseded,
    Code::UpstreamConflict,
    Code::PreconditionFailed,
    Code::PreconditionRequired,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::InvalidAttributes,
    Code::AttributesTooLarge,
    Code::Overloaded,
];

/// What can go wrong with a look at what was done.
const TRACING: &[Code] = &[
    Code::InvalidConversationId,
    Code::InvalidQuery,
    Code::NotFound,
    Code::Internal,
    Code::ShuttingDown,
];

/// What can go wrong with an echo.
const ECHOING: &[Code] = &[
    Code::InvalidJson,
    Code::NotFound,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::Internal,
    Code::ShuttingDown,
];
/// What can go wrong with a body that is no write.
const SEARCHING: &[Code] =
    &[Code::InvalidJson, Code::RequestTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType];

/// The schema of the members that only some problems have.
const PROBLEM_MEMBERS: &str = "ProblemMembers";

/// Schemas of what a write wants.
const WRITE_BODIES: [&str; 3] = ["WriteBody", "PatchBody", "KeyBody"];

/// The answer to any request that meets a defect, as a component.
const INTERNAL: &str = "Internal";

/// What can go wrong outside the API, or before a request finds its operation.
const OUTSIDE: [(Code, &str); 3] = [
    (Code::NotFound, "NotFound"),
    (Code::MethodNotAllowed, "MethodNotAllowed"),
    (Code::Internal, INTERNAL),
];

/// The whole document.
pub fn document() -> OpenApi {
    let (_, mut api) = router::documented().split_for_parts();
    api.info = info();
    api.tags = Some(tags());
    // Whatever serves the document is what it describes, below whatever path.
    api.servers = Some(vec![ServerBuilder::new().url("/").description(Some(SERVER)).build()]);
    // Said outright: no operation asks a caller who it is.
    api.security = Some(Vec::new());
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            let codes = codes_of(operation.operation_id.as_deref().unwrap_or_default());
            exact::operation(operation, &method);
            if paths::is_api(path) {
                complete(operation);
                links::add(operation);
            } else {
                let defect = Ref::from_response_name(INTERNAL);
                operation.responses.responses.insert("500".to_owned(), defect.into());
            }
            for (status, response) in problems(&codes, path) {
                operation.responses.responses.insert(status, response.into());
            }
        }
    }
    complete_components(api.components.get_or_insert_with(Components::new));
    api
}

/// The document as YAML.
pub fn yaml() -> String {
    // Strings, numbers and maps: nothing in the document can fail to serialise.
    document().to_yaml().unwrap_or_default()
}

/// The document as JSON.
pub fn json() -> String {
    document().to_pretty_json().unwrap_or_default()
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

/// What can go wrong with an operation, by its id.
fn codes_of(operation: &str) -> Vec<Code> {
    let of_attributes = || [COMMON, NAMING, CHOOSING].concat();
    match operation {
        "getAttributes" => of_attributes(),
        "getAttribute" => {
            [&of_attributes(), [Code::AttributeNotFound, Code::InvalidAttributes].as_slice()]
                .concat()
        }
        "deleteAttribute" => without_body([&of_attributes(), WRITING].concat()),
        "putAttributes" | "patchAttributes" | "putAttribute" => {
            [&of_attributes(), WRITING].concat()
        }
        "getConversation" => [COMMON, NAMING].concat(),
        "listConversations" => COMMON.to_vec(),
        "searchConversations" => [COMMON, SEARCHING].concat(),
        "getService" => vec![Code::InvalidQuery, Code::NotAcceptable],
        "getTrace" => TRACING.to_vec(),
        "echo" => ECHOING.to_vec(),
        "getProblemPage" | "getDocsFile" => vec![Code::NotFound],
        _ => Vec::new(),
    }
}

/// What can go wrong with a write whose request has no body.
fn without_body(codes: Vec<Code>) -> Vec<Code> {
    let of_bodies =
        [Code::InvalidJson, Code::RequestTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType];
    codes.into_iter().filter(|code| !of_bodies.contains(code)).collect()
}

fn tags() -> Vec<utoipa::openapi::Tag> {
    [
        ("attributes", "Attributes of the participants of a call"),
        ("debugging", "Aids that are off unless `debug.enabled` is set"),
        ("conversations", "Calls, and who is in them"),
        ("operations", "For those who run the gateway"),
        ("documentation", "For those who program against it"),
    ]
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
    .into()
}

/// Adds what every operation of the API has: headers of the request and of good answers, and
/// examples of these.
fn complete(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend([
        header_parameter(
            "Prefer",
            "`wait=N`: answer within N seconds (over 60 counts as 60). `return=minimal`: a write that went well is answered 204. What cannot be used is ignored.",
            "wait=2",
        ),
        header_parameter(
            "X-Request-Id",
            "Names the request in logs; 1 to 128 of `A-Z a-z 0-9 . _ : -`. Made if absent",
            "crm-4711",
        ),
        header_parameter(
            "traceparent",
            "W3C trace context, logged and passed on",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ].map(RefOr::from));
    let name = operation.operation_id.clone().unwrap_or_default();
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        for (header, description) in headers(status) {
            if header == "ETag" && !name.contains("Attribute") {
                continue;
            }
            response.headers.insert(header.to_owned(), described(description).into());
        }
        for (media, content) in &mut response.content {
            let RefOr::T(content) = content else { continue };
            let examples = examples::of(&name, status, media);
            let examples =
                examples.into_iter().map(|(name, value)| (name.to_owned(), example(name, value)));
            content.examples.extend(examples);
        }
    }
}

fn header_parameter(name: &str, description: &str, example: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .example(Some(example.into()))
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

/// Headers of the answers with this status.
fn headers(status: &str) -> Vec<(&'static str, &'static str)> {
    let mut headers = vec![
        ("X-Request-Id", "Id of the request"),
        ("Cache-Control", "`no-store`"),
        (
            "Server-Timing",
            "Milliseconds in `queue`, `token`, `read`, `patch`, `verify`, and `total`",
        ),
        ("Preference-Applied", "The preferences that counted"),
    ];
    match status {
        "200" | "204" | "304" => headers.push((
            "ETag",
            "Of one participant's map as it was just read; absent for `participant=all` and where the last read proves nothing",
        )),
        "405" => headers.push(("Allow", "The methods of the path")),
        "503" => headers.push(("Retry-After", "Whole seconds until it makes sense to come back")),
        _ => {}
    }
    headers
}

/// The problem answers with these codes, by status.
fn problems(codes: &[Code], path: &str) -> BTreeMap<String, Response> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(problem::status(*code).as_u16()).or_default().push(*code);
    }
    by_status
        .into_iter()
        .map(|(status, codes)| (status.to_string(), problem_response(&codes, path)))
        .collect()
}

fn problem_response(codes: &[Code], path: &str) -> Response {
    let titles: Vec<_> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let examples =
        codes.iter().map(|code| (code.as_str(), example(code.title(), example_body(*code, path))));
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ProblemBody::name())))
        .examples_from_iter(examples)
        .build();
    let mut response = ResponseBuilder::new()
        .description(titles.join("; "))
        .content(PROBLEM_JSON, content)
        .build();
    let status = codes.first().map_or(500, |code| problem::status(*code).as_u16());
    for (header, description) in headers(&status.to_string()) {
        if paths::is_api(path) || ["X-Request-Id", "Allow"].contains(&header) {
            response.headers.insert(header.to_owned(), described(description).into());
        }
    }
    response
}

/// The body of the example of a code.
fn example_body(code: Code, path: &str) -> serde_json::Value {
    let path = path
        .replace("{conversationId}", examples::CONVERSATION)
        .replace("{key}", "loyalty_tier")
        .replace("{code}", "no-such-code")
        .replace("{file}", "no-such-file.js");
    let problem = Problem::example(code);
    let about = About {
        instance: &path,
        request_id: "crm-4711",
        correlation_id: called_upstream(code).then_some("2d1f9a52-6f0e-4a61-9a51-2f4c1d7b8e90"),
        upstream_calls: 4,
        total_bytes: LIMIT,
    };
    serde_json::to_value(ProblemBody::new(&problem, &about)).unwrap_or_default()
}

/// Whether a call to Genesys Cloud comes before this problem.
fn called_upstream(code: Code) -> bool {
    matches!(problem::status(code).as_u16(), 404 | 409 | 502 | 504)
        && !matches!(code, Code::NotFound | Code::UpstreamAuthFailed)
}

fn complete_components(components: &mut Components) {
    let mut schemas = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut schemas);
    components.schemas.extend(schemas);
    lend_members(&mut components.schemas);
    for name in WRITE_BODIES {
        if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
            exact::body(body);
        }
    }
    if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut("SearchBody") {
        exact::search(body);
    }
    for (code, name) in OUTSIDE {
        let response = problem_response(&[code], "/nothing-here");
        components.responses.insert(name.to_owned(), response.into());
    }
}

/// A superseded write has the members of the answer to a write in its problem. Other problems do
/// not, so none of them is required there.
fn lend_members(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let Some(RefOr::T(Schema::Object(write))) = schemas.get(&*WriteAnswer::name()) else {
        return;
    };
    let lent = write.properties.clone();
    if let Some(RefOr::T(Schema::Object(members))) = schemas.get_mut(PROBLEM_MEMBERS) {
        members.properties.extend(lent);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.yaml");

    #[test]
    fn openapi_yaml_equals_the_generated_document() {
        let generated = yaml();
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
        let document = json();
        for code in Code::ALL {
            let example = format!("\"code\": \"{}\"", code.as_str());
            assert!(document.contains(&example), "{example}");
        }
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
