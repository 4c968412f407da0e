//! The paths of the service. The parameter names are part of the API contract.

use axum::http::Method;

use super::percent::decoded_step;
use crate::domain::ConversationId;

/// The description of the service.
pub const ROOT: &str = "/";
/// The list of live conversations.
pub const CONVERSATIONS: &str = "/v1/conversations";
/// The search for live conversations, with filters in the body.
pub const SEARCH: &str = "/v1/conversations/search";
/// One conversation.
pub const CONVERSATION: &str = "/v1/conversations/{conversationId}";
/// Attributes of one or all participants.
pub const ATTRIBUTES: &str = "/v1/conversations/{conversationId}/attributes";
/// One attribute of one participant.
pub const ATTRIBUTE: &str = "/v1/conversations/{conversationId}/attributes/{key}";
/// The liveness check.
pub const LIVEZ: &str = "/livez";
/// The readiness check.
pub const READYZ: &str = "/readyz";
/// The metrics.
pub const METRICS: &str = "/metrics";
/// The `OpenAPI` document, as YAML.
pub const OPENAPI_YAML: &str = "/openapi.yaml";
/// The `OpenAPI` document, as JSON.
pub const OPENAPI_JSON: &str = "/openapi.json";
/// The documentation page.
pub const DOCS: &str = "/docs";
/// The stylesheet of the pages, a file of [`DOCS_FILE`].
pub const STYLESHEET: &str = "/docs/style.css";
/// The files of the documentation page.
pub const DOCS_FILE: &str = "/docs/{file}";
/// The echo of a request; only with `debug.enabled`.
pub const ECHO: &str = "/v1/debug/echo";
/// Recent requests about a conversation; only with `debug.enabled`.
pub const TRACE: &str = "/v1/conversations/{conversationId}/trace";
/// The page about a problem code; the `type` of a problem links to it.
pub const PROBLEM: &str = "/problems/{code}";

/// Every path, for the labels of metrics.
pub const ALL: &[&str] = &[
    ROOT,
    CONVERSATIONS,
    SEARCH,
    CONVERSATION,
    ATTRIBUTES,
    ATTRIBUTE,
    TRACE,
    ECHO,
    LIVEZ,
    READYZ,
    METRICS,
    OPENAPI_YAML,
    OPENAPI_JSON,
    DOCS,
    DOCS_FILE,
    PROBLEM,
];

/// Prefix of the paths of the API. Operations and documentation do not have it.
const API: &str = "/v1/";

/// Whether this path or pattern belongs to the API.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with(API)
}

/// Whether monitoring programs request this pattern regularly.
pub(super) fn is_probed(pattern: &str) -> bool {
    [LIVEZ, READYZ, METRICS].contains(&pattern)
}

/// Patterns whose responses have several formats, selected by `Accept`.
const NEGOTIATED: [&str; 7] =
    [ROOT, PROBLEM, CONVERSATIONS, SEARCH, CONVERSATION, ATTRIBUTES, ATTRIBUTE];

/// Whether `Accept` selects the format of a response on this pattern. Responses to writes have only
/// one format.
pub(super) fn is_negotiated(pattern: &str, method: &Method) -> bool {
    NEGOTIATED.contains(&pattern) && (method.is_safe() || pattern == SEARCH)
}

/// Whether responses on this pattern are compressed: documents, and lists of conversations.
pub(super) fn is_compressed(pattern: &str) -> bool {
    [CONVERSATIONS, SEARCH, OPENAPI_YAML, OPENAPI_JSON].contains(&pattern)
}

/// Whether an unsafe method on this pattern writes attributes.
pub(super) fn is_of_attributes(pattern: &str) -> bool {
    pattern == ATTRIBUTES || pattern == ATTRIBUTE
}

/// The conversation id in an API path, percent-decoded; `None` if it is not an id.
pub(super) fn conversation_of(path: &str) -> Option<ConversationId> {
    let step = path.strip_prefix("/v1/conversations/")?.split('/').next()?;
    // Ids need no encoding, so decoding is rarely necessary.
    if step.contains('%') { decoded_step(step)?.parse().ok() } else { step.parse().ok() }
}

/// Whether this is the path of all attributes of a conversation.
pub(super) fn is_attributes(path: &str) -> bool {
    let rest = path.strip_prefix("/v1/conversations/").and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(_, rest)| rest == "attributes")
}

/// Whether this is the path of one attribute, without its key.
pub(super) fn lacks_key(path: &str) -> bool {
    path.strip_suffix('/').is_some_and(is_attributes)
}

/// The attribute key in an API path, still percent-encoded.
pub(super) fn key_of(path: &str) -> Option<&str> {
    let (_, key) = path.strip_prefix("/v1/conversations/")?.split_once("/attributes/")?;
    Some(key)
}
