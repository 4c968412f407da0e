//! `POST /v1/debug/echo`: describes the request as it arrived, behind data actions and proxies.
//!
//! Users paste responses into tickets, so the response has no value that could be a secret: of the body only
//! its structure, and the values of headers and parameters that are known to be harmless.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::body_parser::json_tree::JsonTree;
use super::body_parser::parse_body;
use super::extract::{read_body, request_context};
use super::paths::{self, decoded_query};
use super::problem::Problem;
use super::request_context::X_REQUEST_ID;
use super::state::AppState;
use crate::domain::json_pointer;

const SHOWN_HEADERS: [&str; 20] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-match",
    "if-none-match",
    "prefer",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// Query parameters whose values are shown. `key` is not one of them: elsewhere it means an API key.
const SHOWN_PARAMETERS: [&str; 7] =
    ["participant", "keys", "verify", "dryRun", "allowEnded", "view", "format"];

/// Bytes after which a response lists no further members. Each pointer repeats the names above it, so the
/// list can be far longer than the body.
const MAX_LIST_BYTES: usize = 100_000;

/// A request as it arrived.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Echo)]
pub(super) struct EchoResponse {
    /// HTTP method.
    method: String,
    /// Path without query.
    path: String,
    /// HTTP version used by the client or the last proxy.
    http_version: String,
    /// Query parameters, decoded.
    query: Vec<EchoedPair>,
    /// Header fields in order of arrival; fields with the same name are grouped.
    headers: Vec<EchoedPair>,
    /// The body.
    body: EchoedBody,
}

/// A name and a value.
#[derive(Serialize, ToSchema)]
struct EchoedPair {
    /// The name.
    name: String,
    /// Length of the value in bytes.
    bytes: usize,
    /// The value, if this name is known to have harmless values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<String>,
}

/// The structure of a body.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EchoedBody {
    /// Length of the body in bytes.
    bytes: usize,
    /// Pointer, type and length of each member of a JSON body, up to 100,000 bytes of them.
    #[schema(example = json!(["#: an object", "#/tier: a string, 4 bytes"]))]
    members: Vec<String>,
    /// Why the body is not JSON, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    json_error: Option<String>,
}

/// Describe a request
///
/// Returns the structure of the request as it arrived, and the values of a few headers. Available only with
/// `debug.enabled`; otherwise the response is 404 `not-found`.
#[utoipa::path(post, path = paths::ECHO, operation_id = "echo", tag = "debugging",
    request_body(content((serde_json::Value = "application/json", example = json!({"attributes": {"tier": "gold"}})), (String = "text/plain")), description = "Any body"),
    responses((status = 200, body = EchoResponse, description = "The request as it arrived")))]
pub(super) async fn echo(
    State(AppState { settings, .. }): State<AppState>,
    request: Request,
) -> Result<Json<EchoResponse>, Problem> {
    let (mut parts, content) = request.into_parts();
    let request_context = request_context(&parts)?;
    // The middleware may have generated this id. The response has it as a header in any case.
    parts.headers.remove(X_REQUEST_ID);
    let content = read_body(&parts, content, &request_context, &settings).await?;
    Ok(Json(EchoResponse {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        http_version: format!("{:?}", parts.version),
        query: query(parts.uri.query().unwrap_or_default()),
        headers: headers(&parts.headers),
        body: EchoedBody::from_content(&content),
    }))
}

fn query(raw: &str) -> Vec<EchoedPair> {
    let parts = raw.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decoded = |text: &str| decoded_query(text).unwrap_or_else(|| text.to_owned());
        let (name, value) = (decoded(name), decoded(value));
        let is_shown = SHOWN_PARAMETERS.contains(&name.as_str());
        EchoedPair { name, bytes: value.len(), value: is_shown.then_some(value) }
    };
    parts.map(pair).collect()
}

fn headers(headers: &HeaderMap) -> Vec<EchoedPair> {
    let pairs = headers.iter().map(|(name, value)| EchoedPair {
        name: name.to_string(),
        bytes: value.len(),
        value: SHOWN_HEADERS
            .contains(&name.as_str())
            .then(|| String::from_utf8_lossy(value.as_bytes()).into_owned()),
    });
    pairs.collect()
}

impl EchoedBody {
    fn from_content(content: &[u8]) -> Self {
        let (mut members, mut json_error) = (Vec::new(), None);
        match parse_body(content, "") {
            Ok(tree) => list_members(&tree, &mut Vec::new(), &mut members, &mut { MAX_LIST_BYTES }),
            Err(problem) => json_error = Some(problem.detail().to_owned()),
        }
        Self { bytes: content.len(), members, json_error }
    }
}

/// Lists a value and the members below it, until no bytes are left.
fn list_members<'a>(
    tree: &'a JsonTree,
    path: &mut Vec<&'a str>,
    list: &mut Vec<String>,
    left: &mut usize,
) {
    if *left == 0 {
        return;
    }
    let line = format!("{}: {}", json_pointer(path), tree.kind());
    *left = left.saturating_sub(line.len());
    list.push(match tree {
        JsonTree::Text(text) => format!("{line}, {} bytes", text.text.len()),
        _ => line,
    });
    let JsonTree::Object(members) = tree else { return };
    for (name, value) in members {
        path.push(&name.text);
        list_members(value, path, list, left);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_members_below_a_long_name_are_not_all_listed() {
        let members = vec!["\"a\":1"; 1000].join(",");
        let body = format!("{{\"{}\":{{{members}}}}}", "x".repeat(60_000));
        let listed = EchoedBody::from_content(body.as_bytes()).members;
        assert_eq!(listed.len(), 3);
    }
}
