//! The paths of the service, once. The parameter names are those of the contract.

use axum::http::Method;

use super::percent::decoded_step;
use crate::domain::ConversationId;

/// What this is.
pub const ROOT: &str = "/";
/// The list of live conversations.
pub const CONVERSATIONS: &str = "/v1/conversations";
/// The same, narrowed by a body.
pub const SEARCH: &str = "/v1/conversations/search";
/// One conversation.
pub const CONVERSATION: &str = "/v1/conversations/{conversationId}";
/// Attributes of one participant, or of all.
pub const ATTRIBUTES: &str = "/v1/conversations/{conversationId}/attributes";
/// One attribute of one participant.
pub const ATTRIBUTE: &str = "/v1/conversations/{conversationId}/attributes/{key}";
/// Whether the process lives.
pub const LIVEZ: &str = "/livez";
/// Whether it wants requests.
pub const READYZ: &str = "/readyz";
/// The metrics.
pub const METRICS: &str = "/metrics";
/// The `OpenAPI` document, as YAML.
pub const OPENAPI_YAML: &str = "/openapi.yaml";
/// The `OpenAPI` document, as JSON.
pub const OPENAPI_JSON: &str = "/openapi.json";
/// The documentation as a page.
pub const DOCS: &str = "/docs";
/// The files of that page.
pub const DOCS_FILE: &str = "/docs/{file}";
/// What has just arrived; with `debug.enabled` only.
pub const ECHO: &str = "/v1/debug/echo";
/// The last operations on a conversation; with `debug.enabled` only.
pub const TRACE: &str = "/v1/conversations/{conversationId}/trace";
/// The page about a problem code; problems name it as their `type`.
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

/// What the paths of the API start with, as opposed to operations and documentation.
const API: &str = "/v1/";

/// Whether this path or pattern belongs to the API.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with(API)
}

/// Whether this pattern is one that programs ask for again and again.
pub(super) fn is_probed(pattern: &str) -> bool {
    [LIVEZ, READYZ, METRICS].contains(&pattern)
}

/// Patterns whose answers come in several forms, by what the client accepts.
const NEGOTIATED: [&str; 7] =
    [ROOT, PROBLEM, CONVERSATIONS, SEARCH, CONVERSATION, ATTRIBUTES, ATTRIBUTE];

/// Whether an answer on this pattern takes its form from what the client accepts. Writes are answered
/// in one form alone.
pub(super) fn is_negotiated(pattern: &str, method: &Method) -> bool {
    NEGOTIATED.contains(&pattern) && (method.is_safe() || pattern == SEARCH)
}

/// Whether what is not safe on this pattern is a write of attributes.
pub(super) fn is_of_attributes(pattern: &str) -> bool {
    pattern == ATTRIBUTES || pattern == ATTRIBUTE
}

/// The conversation that an API path names, percent-decoded; `None` if what stands there is no id.
pub(super) fn conversation_of(path: &str) -> Option<ConversationId> {
    let step = path.strip_prefix("/v1/conversations/")?.split('/').next()?;
    // Hardly anybody encodes what has no need of it.
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

/// The step of an API path that names the attribute, as it stands there.
pub(super) fn key_of(path: &str) -> Option<&str> {
    let (_, key) = path.strip_prefix("/v1/conversations/")?.split_once("/attributes/")?;
    Some(key)
}
