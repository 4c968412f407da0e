//! The problem responses of the operations, which share them as components.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::ToSchema as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, Ref, Response, ResponseBuilder};

use super::headers::add_to_problem;
use super::{add_example, examples, share_response};
use crate::error::{Effect, ErrorCode};
use crate::http::paths;
use crate::http::problem::{self, PROBLEM_JSON, ProblemBody};

/// Adds the responses with these codes to an operation, and to the components.
pub(super) fn add(operation: &mut Operation, components: &mut Components, codes: &[ErrorCode]) {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(problem::status(*code).as_u16()).or_default().push(*code);
    }
    for (status, codes) in by_status {
        let response = response(&codes, components);
        let name = match codes[..] {
            [code] => pascal(code.as_str()),
            _ => {
                format!("{}{status}", pascal(operation.operation_id.as_deref().unwrap_or_default()))
            }
        };
        let shared = share_response(response, components, name);
        operation.responses.responses.insert(status.to_string(), shared);
    }
}

/// Adds a response of any path, or of none.
pub(super) fn add_general(components: &mut Components, code: ErrorCode) {
    let response = response(&[code], components);
    components.responses.insert(pascal(code.as_str()), response.into());
}

/// The response with these codes, which have the same status.
fn response(codes: &[ErrorCode], components: &mut Components) -> Response {
    let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let mut content =
        ContentBuilder::new().schema(Some(Ref::from_schema_name(ProblemBody::name()))).build();
    for code in codes {
        add_example(&mut content, components, code.as_str(), || body(*code));
    }
    let mut response =
        ResponseBuilder::new().description(names.join(", ")).content(PROBLEM_JSON, content).build();
    if let Some(code) = codes.first() {
        add_to_problem(&mut response, problem::status(*code).as_u16());
    }
    response
}

/// `NotFound` for `not-found`.
fn pascal(name: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').filter(|word| !word.is_empty()).map(capital).collect()
}

fn body(code: ErrorCode) -> Value {
    let effect = match code {
        ErrorCode::WriteSuperseded => Effect::Applied,
        ErrorCode::DeadlineExceeded => Effect::Unknown,
        _ => Effect::NotApplied,
    };
    let mut body = json!({
        "type": format!("/problems/{}", code.as_str()),
        "title": code.title(),
        "status": problem::status(code).as_u16(),
        "detail": code.title(),
        "instance": paths::CONVERSATIONS,
        "code": code.as_str(),
        "message": code.title(),
        "requestId": "crm-4711",
        "retryable": code.retryable(),
        "effect": effect.as_str(),
        "hint": code.hint(),
    });
    let is_busy = code == ErrorCode::OperationInProgress;
    if is_busy || matches!(problem::status(code).as_u16(), 429 | 503) {
        body["retryAfterSeconds"] = 12.into();
    }
    examples::with(body, members(code))
}

/// The members that only some codes have.
fn members(code: ErrorCode) -> Value {
    match code {
        ErrorCode::InvalidQuery => json!({"errors": [{
            "pointer": "dryrun",
            "detail": "is not a parameter of this request; did you mean `dryRun`?",
        }]}),
        ErrorCode::InvalidAttributes => json!({"errors": [{
            "pointer": "#/attributes/visits",
            "detail": "the value is a number; it has to be a string",
        }]}),
        ErrorCode::ParticipantNotFound => json!({"purposes": ["customer", "ivr"]}),
        ErrorCode::AmbiguousParticipant => json!({"candidates": [
            {"id": examples::PARTICIPANT, "purpose": "agent", "state": "connected"},
            {"id": examples::OTHER_PARTICIPANT, "purpose": "agent", "state": "connected"},
        ]}),
        ErrorCode::AttributesTooLarge => json!({
            "bytes": 11_264, "limitBytes": 10_240,
            "largest": [{"key": "transcript", "bytes": 9_800}],
        }),
        ErrorCode::UpstreamRejected => json!({"upstream": {
            "status": 400, "code": "bad.request",
            "message": "The request could not be understood by the server.",
        }}),
        ErrorCode::WriteSuperseded => examples::write("superseded"),
        _ => json!({}),
    }
}
