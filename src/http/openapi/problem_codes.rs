//! The problem codes that each operation can return.

use crate::error::ErrorCode;

/// Codes of operations that choose one participant.
const CHOOSING: &[ErrorCode] = &[ErrorCode::ParticipantNotFound, ErrorCode::AmbiguousParticipant];

/// Codes of operations that name a conversation.
const NAMING: &[ErrorCode] = &[
    ErrorCode::InvalidConversationId,
    ErrorCode::InvalidParticipant,
    ErrorCode::ConversationNotFound,
];

/// Codes of every operation of the API.
const COMMON: &[ErrorCode] = &[
    ErrorCode::InvalidQuery,
    ErrorCode::Unauthenticated,
    ErrorCode::ClientRateLimited,
    ErrorCode::NotAcceptable,
    ErrorCode::Internal,
    ErrorCode::UpstreamRejected,
    ErrorCode::UpstreamForbidden,
    ErrorCode::UpstreamAuthFailed,
    ErrorCode::UpstreamInvalidResponse,
    ErrorCode::UpstreamRateLimited,
    ErrorCode::UpstreamUnavailable,
    ErrorCode::ShuttingDown,
    ErrorCode::DeadlineExceeded,
];

/// Codes of operations that name attributes.
const TOUCHING: &[ErrorCode] = &[ErrorCode::AttributeNotAllowed, ErrorCode::ParticipantNotAllowed];

/// Additional codes of writes.
const WRITING: &[ErrorCode] = &[
    ErrorCode::ReadOnlyClient,
    ErrorCode::InvalidJson,
    ErrorCode::InvalidHeader,
    ErrorCode::RequestTimeout,
    ErrorCode::ConversationEnded,
    ErrorCode::WriteSuperseded,
    ErrorCode::UpstreamConflict,
    ErrorCode::PreconditionFailed,
    ErrorCode::PreconditionRequired,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::InvalidAttributes,
    ErrorCode::AttributesTooLarge,
    ErrorCode::Overloaded,
    ErrorCode::AuditUnavailable,
];

/// Codes of the trace.
const TRACING: &[ErrorCode] = &[
    ErrorCode::InvalidConversationId,
    ErrorCode::InvalidQuery,
    ErrorCode::Unauthenticated,
    ErrorCode::ClientRateLimited,
    ErrorCode::NotFound,
    ErrorCode::Internal,
    ErrorCode::ShuttingDown,
];

/// Codes of the echo.
const ECHOING: &[ErrorCode] = &[
    ErrorCode::InvalidJson,
    ErrorCode::Unauthenticated,
    ErrorCode::ClientRateLimited,
    ErrorCode::NotFound,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::Internal,
    ErrorCode::ShuttingDown,
];

/// Additional codes of a search.
const SEARCHING: &[ErrorCode] = &[
    ErrorCode::InvalidJson,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
];

/// Name of the component for the response to an internal error.
pub(super) const INTERNAL: &str = "Internal";

/// Codes outside the API, or before a request is routed to its operation.
pub(super) const OUTSIDE: [(ErrorCode, &str); 3] = [
    (ErrorCode::NotFound, "NotFound"),
    (ErrorCode::MethodNotAllowed, "MethodNotAllowed"),
    (ErrorCode::Internal, INTERNAL),
];

/// The codes of an operation, by its id.
pub(super) fn codes_for(operation: &str) -> Vec<ErrorCode> {
    let of_attributes = || [COMMON, NAMING, CHOOSING, TOUCHING].concat();
    match operation {
        "getAttributes" => of_attributes(),
        "getAttribute" => [
            &of_attributes(),
            [ErrorCode::AttributeNotFound, ErrorCode::InvalidAttributes].as_slice(),
        ]
        .concat(),
        "deleteAttribute" => without_body([&of_attributes(), WRITING].concat()),
        "putAttributes" | "patchAttributes" | "putAttribute" => {
            [&of_attributes(), WRITING].concat()
        }
        "getConversation" => [COMMON, NAMING, &[ErrorCode::AttributeNotAllowed]].concat(),
        "getMetrics" => vec![ErrorCode::Unauthenticated],
        "getReadiness" => vec![ErrorCode::Unauthenticated, ErrorCode::InvalidQuery],
        "listConversations" => COMMON.to_vec(),
        "searchConversations" => [COMMON, SEARCHING].concat(),
        "getService" => vec![ErrorCode::InvalidQuery, ErrorCode::NotAcceptable],
        "getTrace" => TRACING.to_vec(),
        "echo" => ECHOING.to_vec(),
        "getProblemPage" | "getDocsFile" => vec![ErrorCode::NotFound],
        _ => Vec::new(),
    }
}

/// The codes without those that need a request body.
fn without_body(codes: Vec<ErrorCode>) -> Vec<ErrorCode> {
    let of_bodies = [
        ErrorCode::InvalidJson,
        ErrorCode::RequestTimeout,
        ErrorCode::BodyTooLarge,
        ErrorCode::UnsupportedMediaType,
    ];
    codes.into_iter().filter(|code| !of_bodies.contains(code)).collect()
}
