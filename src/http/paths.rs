//! The paths of the service. The parameter names are part of the API contract.

use axum::http::Method;

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

/// The attribute key in an API path, still percent-encoded.
pub(super) fn key_of(path: &str) -> Option<&str> {
    conversation_steps(path)?.1.strip_prefix("attributes/")
}

/// The text of a path segment. Decoding is strict (RFC 3986, section 2.1): a guess could address another
/// key.
pub(super) fn decoded_step(step: &str) -> Option<String> {
    decoded(step, b'+')
}

/// The text of a name or value in a query, where `+` is a space.
pub(super) fn decoded_query(part: &str) -> Option<String> {
    decoded(part, b' ')
}

fn decoded(text: &str, plus: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(plus),
            b'%' => bytes.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fmt::Write as _;

    use proptest::prelude::*;

    #[test]
    fn a_plus_is_a_space_in_queries_alone() {
        assert_eq!(decoded_step("a+b%20%2B%2f%25").as_deref(), Some("a+b +/%"));
        assert_eq!(decoded_query("a+b%20%2B%2f%25").as_deref(), Some("a b +/%"));
        assert_eq!(decoded_step("é%C3%A9").as_deref(), Some("éé"));
    }

    #[test]
    fn malformed_escapes_and_invalid_utf_8_are_refused() {
        for bad in ["%", "%a", "%zz", "a%2", "%ff", "%C3", "%C3+", "%+1", "%e"] {
            assert_eq!((decoded_step(bad), decoded_query(bad)), (None, None), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_encoding_of_a_text_decodes_to_it(
            text in "\\PC{0,24}", which in any::<u64>(), upper in any::<bool>()
        ) {
            let mut encoded = String::new();
            for (index, character) in text.chars().enumerate() {
                if which >> (index % 64) & 1 == 0 && !"%+".contains(character) {
                    encoded.push(character);
                    continue;
                }
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let written = if upper {
                        write!(encoded, "%{byte:02X}")
                    } else {
                        write!(encoded, "%{byte:02x}")
                    };
                    written.expect("memory");
                }
            }
            prop_assert_eq!(decoded_step(&encoded), Some(text.clone()));
            prop_assert_eq!(decoded_query(&encoded), Some(text));
        }

        #[test]
        fn no_text_panics(text in "[%0-9a-fA-F+\\x00-\\xff]{0,40}") {
            let _ = (decoded_step(&text), decoded_query(&text));
        }
    }
}
