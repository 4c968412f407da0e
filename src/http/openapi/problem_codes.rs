//! Which problems each operation can meet.

use crate::error::ErrorCode;

/// What can go wrong where one participant is chosen.
const CHOOSING: &[ErrorCode] = &[ErrorCode::ParticipantNotFound, ErrorCode::AmbiguousParticipant];

/// What can go wrong where a conversation is named.
const NAMING: &[ErrorCode] = &[
    ErrorCode::InvalidConversationId,
    ErrorCode::InvalidParticipant,
    ErrorCode::ConversationNotFound,
];

/// What can go wrong with every request of the API.
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

/// What can go wrong where attributes are named.
const TOUCHING: &[ErrorCode] = &[ErrorCode::AttributeNotAllowed, ErrorCode::ParticipantNotAllowed];

/// What can go wrong with a write besides.
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

/// What can go wrong with a look at what was done.
const TRACING: &[ErrorCode] = &[
    ErrorCode::InvalidConversationId,
    ErrorCode::InvalidQuery,
    ErrorCode::Unauthenticated,
    ErrorCode::ClientRateLimited,
    ErrorCode::NotFound,
    ErrorCode::Internal,
    ErrorCode::ShuttingDown,
];

/// What can go wrong with an echo.
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

/// What can go wrong with a body that is no write.
const SEARCHING: &[ErrorCode] = &[
    ErrorCode::InvalidJson,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
];

/// The answer to any request that meets a defect, as a component.
pub(super) const INTERNAL: &str = "Internal";

/// What can go wrong outside the API, or before a request finds its operation.
pub(super) const OUTSIDE: [(ErrorCode, &str); 3] = [
    (ErrorCode::NotFound, "NotFound"),
    (ErrorCode::MethodNotAllowed, "MethodNotAllowed"),
    (ErrorCode::Internal, INTERNAL),
];

/// What can go wrong with an operation, by its id.
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

/// What can go wrong with a write whose request has no body.
fn without_body(codes: Vec<ErrorCode>) -> Vec<ErrorCode> {
    let of_bodies = [
        ErrorCode::InvalidJson,
        ErrorCode::RequestTimeout,
        ErrorCode::BodyTooLarge,
        ErrorCode::UnsupportedMediaType,
    ];
    codes.into_iter().filter(|code| !of_bodies.contains(code)).collect()
}
