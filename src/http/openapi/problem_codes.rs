//! Which problems each operation can meet.

use crate::error::Code;

/// What can go wrong where one participant is chosen.
const CHOOSING: &[Code] = &[Code::ParticipantNotFound, Code::AmbiguousParticipant];

/// What can go wrong where a conversation is named.
const NAMING: &[Code] =
    &[Code::InvalidConversationId, Code::InvalidParticipant, Code::ConversationNotFound];

/// What can go wrong with every request of the API.
const COMMON: &[Code] = &[
    Code::InvalidQuery,
    Code::Unauthenticated,
    Code::ClientRateLimited,
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

/// What can go wrong where attributes are named.
const TOUCHING: &[Code] = &[Code::AttributeNotAllowed, Code::ParticipantNotAllowed];

/// What can go wrong with a write besides.
const WRITING: &[Code] = &[
    Code::ReadOnlyClient,
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
    Code::AuditUnavailable,
];

/// What can go wrong with a look at what was done.
const TRACING: &[Code] = &[
    Code::InvalidConversationId,
    Code::InvalidQuery,
    Code::Unauthenticated,
    Code::ClientRateLimited,
    Code::NotFound,
    Code::Internal,
    Code::ShuttingDown,
];

/// What can go wrong with an echo.
const ECHOING: &[Code] = &[
    Code::InvalidJson,
    Code::Unauthenticated,
    Code::ClientRateLimited,
    Code::NotFound,
    Code::RequestTimeout,
    Code::BodyTooLarge,
    Code::Internal,
    Code::ShuttingDown,
];

/// What can go wrong with a body that is no write.
const SEARCHING: &[Code] =
    &[Code::InvalidJson, Code::RequestTimeout, Code::BodyTooLarge, Code::UnsupportedMediaType];

/// The answer to any request that meets a defect, as a component.
pub(super) const INTERNAL: &str = "Internal";

/// What can go wrong outside the API, or before a request finds its operation.
pub(super) const OUTSIDE: [(Code, &str); 3] = [
    (Code::NotFound, "NotFound"),
    (Code::MethodNotAllowed, "MethodNotAllowed"),
    (Code::Internal, INTERNAL),
];

/// What can go wrong with an operation, by its id.
pub(super) fn of(operation: &str) -> Vec<Code> {
    let of_attributes = || [COMMON, NAMING, CHOOSING, TOUCHING].concat();
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
        "getConversation" => [COMMON, NAMING, &[Code::AttributeNotAllowed]].concat(),
        "getMetrics" => vec![Code::Unauthenticated],
        "getReadiness" => vec![Code::Unauthenticated, Code::InvalidQuery],
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
