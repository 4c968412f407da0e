//! The problem codes that each operation can return.

use axum::http::Method;

use crate::error::ErrorCode;
use crate::http::paths;

/// The codes of the operation at this path pattern.
pub(super) fn codes_for(path: &str, method: &Method) -> Vec<ErrorCode> {
    ErrorCode::ALL.into_iter().filter(|code| can_return(path, method, *code)).collect()
}

#[expect(clippy::too_many_lines, reason = "one arm for each group of codes")]
fn can_return(path: &str, method: &Method, code: ErrorCode) -> bool {
    let is_attributes = paths::is_of_attributes(path);
    let is_write = is_attributes && !method.is_safe();
    let has_body = !method.is_safe() && method != Method::DELETE;
    let is_api = paths::is_api(path);
    let is_debugging = [paths::TRACE, paths::ECHO].contains(&path);
    let calls_upstream = is_api && !is_debugging && path != paths::OPERATION;
    let names_conversation = path.contains("{conversationId}");
    let is_operation = path == paths::OPERATION;
    match code {
        ErrorCode::Internal => true,
        ErrorCode::Unauthenticated => is_api || [paths::METRICS, paths::READYZ].contains(&path),
        ErrorCode::ClientRateLimited | ErrorCode::ShuttingDown => is_api,
        ErrorCode::InvalidQuery => {
            is_api && path != paths::ECHO && !is_operation
                || [paths::ROOT, paths::READYZ].contains(&path)
        }
        ErrorCode::InvalidConversationId => names_conversation,
        ErrorCode::NotFound => is_debugging || [paths::PROBLEM, paths::DOCS_FILE].contains(&path),
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
        | ErrorCode::Overloaded
        | ErrorCode::IdempotencyKeyReused
        | ErrorCode::AuditUnavailable => is_write,
        ErrorCode::InvalidJson | ErrorCode::RequestTimeout | ErrorCode::BodyTooLarge => has_body,
        ErrorCode::UnsupportedMediaType => has_body && path != paths::ECHO,
        // Before a request is routed to its operation.
        ErrorCode::MethodNotAllowed => false,
    }
}
