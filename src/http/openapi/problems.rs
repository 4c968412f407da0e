//! The problem responses of the operations, which share them as components.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Value, json};
use utoipa::ToSchema as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::{Components, Ref, Response, ResponseBuilder};

use crate::error::{Effect, ErrorCode};
use crate::http::openapi::headers::add_to_problem;
use crate::http::openapi::{add_example, examples, share_response};
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

/// The codes of the operation at this path pattern.
pub(super) fn codes_for(path: &str, method: &Method) -> Vec<ErrorCode> {
    ErrorCode::ALL.into_iter().filter(|code| can_return(path, method, *code)).collect()
}

#[expect(clippy::too_many_lines, reason = "one arm for each group of codes")]
fn can_return(path: &str, method: &Method, code: ErrorCode) -> bool {
    let is_attributes = paths::is_of_attributes(path);
    let is_write = is_attributes && !method.is_safe();
    let has_body = !method.is_safe() && method != Method::DELETE && path != paths::TRACE;
    let is_api = paths::is_api(path);
    let is_for_operators = [paths::LIVE, paths::LIVE_EVENTS, paths::TRACE].contains(&path);
    let calls_upstream =
        is_api && !is_for_operators && path != paths::ECHO && path != paths::OPERATION;
    let names_conversation = path.contains("{conversationId}");
    let is_operation = path == paths::OPERATION;
    match code {
        ErrorCode::Internal => true,
        ErrorCode::Unauthenticated => {
            is_api || [paths::METRICS, paths::READYZ, paths::LIVE].contains(&path)
        }
        ErrorCode::OperateNotAllowed => is_for_operators,
        ErrorCode::ClientRateLimited | ErrorCode::ShuttingDown => is_api,
        ErrorCode::InvalidQuery => {
            is_api && path != paths::ECHO && !is_operation
                || [paths::ROOT, paths::READYZ].contains(&path)
        }
        ErrorCode::InvalidConversationId => names_conversation,
        ErrorCode::NotFound => {
            [paths::ECHO, paths::PROBLEM, paths::RUNBOOK, paths::DOCS_FILE].contains(&path)
                || path == paths::TRACE && method.is_safe()
        }
        ErrorCode::Overloaded => {
            is_write || path == paths::LIVE_EVENTS || path == paths::TRACE && !method.is_safe()
        }
        ErrorCode::NotAcceptable => calls_upstream || path == paths::ROOT,
        ErrorCode::InvalidParticipant | ErrorCode::ConversationNotFound => {
            calls_upstream && names_conversation
        }
        ErrorCode::UpstreamRejected
        | ErrorCode::UpstreamForbidden
        | ErrorCode::UpstreamAuthFailed
        | ErrorCode::UpstreamInvalidResponse
        | ErrorCode::UpstreamRateLimited
        | ErrorCode::UpstreamUnavailable
        | ErrorCode::DeadlineExceeded => calls_upstream,
        ErrorCode::AttributeNotAllowed => is_attributes || path == paths::CONVERSATION,
        ErrorCode::ParticipantNotAllowed
        | ErrorCode::ParticipantNotFound
        | ErrorCode::AmbiguousParticipant => is_attributes,
        ErrorCode::OperationNotFound => is_operation,
        ErrorCode::OperationInProgress => is_write || is_operation && method == Method::DELETE,
        ErrorCode::StoreUnavailable => is_write || is_operation,
        ErrorCode::AttributeNotFound => path == paths::ATTRIBUTE && method == Method::GET,
        ErrorCode::InvalidAttributes => is_write || path == paths::ATTRIBUTE,
        ErrorCode::ReadOnlyClient
        | ErrorCode::InvalidHeader
        | ErrorCode::ConversationEnded
        | ErrorCode::WriteSuperseded
        | ErrorCode::UpstreamConflict
        | ErrorCode::PreconditionFailed
        | ErrorCode::PreconditionRequired
        | ErrorCode::AttributesTooLarge
        | ErrorCode::IdempotencyKeyReused
        | ErrorCode::AuditUnavailable => is_write,
        ErrorCode::InvalidJson | ErrorCode::RequestTimeout | ErrorCode::BodyTooLarge => has_body,
        ErrorCode::UnsupportedMediaType => has_body && path != paths::ECHO,
        // Before a request is routed to its operation.
        ErrorCode::MethodNotAllowed => false,
    }
}
