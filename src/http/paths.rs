//! The paths of the service. The parameter names are part of the API contract.

use axum::http::Method;

use super::percent::decoded_step;
use crate::domain::ConversationId;

pub(crate) const ROOT: &str = "/";
pub(crate) const CONVERSATIONS: &str = "/v1/conversations";
pub(crate) const SEARCH: &str = "/v1/conversations/search";
pub(crate) const CONVERSATION: &str = "/v1/conversations/{conversationId}";
pub(crate) const ATTRIBUTES: &str = "/v1/conversations/{conversationId}/attributes";
pub(crate) const ATTRIBUTE: &str = "/v1/conversations/{conversationId}/attributes/{key}";
pub(crate) const LIVE: &str = "/live";
pub(crate) const LIVE_EVENTS: &str = "/v1/live/events";
/// A write that was accepted and is carried out later.
pub(crate) const OPERATION: &str = "/v1/operations/{operationId}";
pub(crate) const LIVEZ: &str = "/livez";
/// The readiness check.
pub const READYZ: &str = "/readyz";
pub(crate) const METRICS: &str = "/metrics";
pub(crate) const OPENAPI_YAML: &str = "/openapi.yaml";
pub(crate) const OPENAPI_JSON: &str = "/openapi.json";
pub(crate) const DOCS: &str = "/docs";
/// The stylesheet of the pages, a file of [`DOCS_FILE`].
pub(crate) const STYLESHEET: &str = "/docs/style.css";
pub(crate) const DOCS_FILE: &str = "/docs/{file}";
/// Only with `debug.enabled`.
pub(crate) const ECHO: &str = "/v1/debug/echo";
pub(crate) const TRACE: &str = "/v1/conversations/{conversationId}/trace";
/// The page about a problem code; the `type` of a problem links to it.
pub(crate) const PROBLEM: &str = "/problems/{code}";

/// What to do about an alert. The `runbook_url` of each alerting rule leads there.
pub(crate) const RUNBOOK: &str = "/docs/runbooks/{alert}";

/// Every path, for the labels of metrics.
pub const ALL: &[&str] = &[
    ROOT,
    CONVERSATIONS,
    SEARCH,
    CONVERSATION,
    ATTRIBUTES,
    ATTRIBUTE,
    OPERATION,
    TRACE,
    ECHO,
    LIVE,
    LIVE_EVENTS,
    LIVEZ,
    READYZ,
    METRICS,
    OPENAPI_YAML,
    OPENAPI_JSON,
    DOCS,
    DOCS_FILE,
    PROBLEM,
    RUNBOOK,
];

/// Whether this path or pattern belongs to the API. Operations and documentation do not.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/v1/")
}

/// Whether monitoring programs request this pattern regularly.
pub(super) fn is_probed(pattern: &str) -> bool {
    [LIVEZ, READYZ, METRICS].contains(&pattern)
}

/// Patterns whose responses have several formats, selected by `Accept`.
const NEGOTIATED: [&str; 8] =
    [ROOT, PROBLEM, RUNBOOK, CONVERSATIONS, SEARCH, CONVERSATION, ATTRIBUTES, ATTRIBUTE];

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

fn conversation_steps(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v1/conversations/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// The conversation id in an API path, percent-decoded; `None` if it is not an id.
pub(super) fn conversation_of(path: &str) -> Option<ConversationId> {
    let (step, _) = conversation_steps(path)?;
    // Ids need no encoding, so decoding is rarely necessary.
    if step.contains('%') { decoded_step(step)?.parse().ok() } else { step.parse().ok() }
}

pub(super) fn is_attributes(path: &str) -> bool {
    conversation_steps(path).is_some_and(|(_, rest)| rest == "attributes")
}

/// Whether this is the path of one attribute, without its key.
pub(super) fn lacks_key(path: &str) -> bool {
    key_of(path) == Some("")
}

/// The attribute key in an API path, still percent-encoded.
pub(super) fn key_of(path: &str) -> Option<&str> {
    conversation_steps(path)?.1.strip_prefix("attributes/")
}
