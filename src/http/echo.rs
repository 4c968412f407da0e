//! `POST /v1/debug/echo`: returns the request as it arrived. It shows what a data action, or a proxy in
//! front of the gateway, really sends.
//!
//! Likely secrets in headers, query and body are masked, since users paste responses into tickets. For a
//! body in which secrets cannot be recognised, such as XML or multipart, only the length is returned. The
//! gateway stores nothing. The path exists only with `debug.enabled`.

mod masking;

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use utoipa::ToSchema;

use super::extract::{read_body, request_context};
use super::negotiate::{JSON, declared};
use super::paths;
use super::percent::decoded_query;
use super::problem::Problem;
use super::request_context::X_REQUEST_ID;
use super::state::HttpSettings;

/// Why a response contains only the length of a body.
const NOT_SHOWN: &str = "the body is neither JSON nor a form nor plain text without names, so secrets in it \
cannot be recognised";

/// Media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";

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
    query: Vec<EchoPairDto>,
    /// Header fields in order of arrival; fields with the same name are grouped.
    headers: Vec<EchoPairDto>,
    /// Total length of the header names and values in bytes.
    header_bytes: usize,
    /// The body.
    body: EchoBodyDto,
}

/// A name and a value.
#[derive(Serialize, ToSchema)]
#[schema(as = EchoedPair)]
struct EchoPairDto {
    /// The name.
    name: String,
    /// The value; for a secret, only its scheme and length.
    value: String,
}

/// A body.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EchoedBody)]
struct EchoBodyDto {
    /// Length of the body in bytes.
    bytes: usize,
    /// Why the content of the body is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    not_shown: Option<&'static str>,
    /// The body as text with secrets masked; absent if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<String>,
    /// The body in base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    base64: Option<String>,
    /// The body as JSON, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    json: Option<Value>,
    /// The parse error, if the body is declared as JSON but is not valid JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    json_error: Option<String>,
}

/// Echo a request
///
/// Returns the request as it arrived, with secrets masked. Available only with `debug.enabled`;
/// otherwise the response is 404 `not-found`.
#[utoipa::path(post, path = paths::ECHO, operation_id = "echo", tag = "debugging",
    request_body(content((Value = "application/json", example = json!({"attributes": {"tier": "gold"}})), (String = "text/plain")), description = "Any body"),
    responses((status = 200, body = EchoResponse, description = "The request as it arrived")))]
pub(super) async fn echo(
    State(settings): State<Arc<HttpSettings>>,
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
        headers: parts.headers.iter().map(header).collect(),
        header_bytes: parts
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum(),
        body: EchoBodyDto::from_content(&content, |types| declared(&parts.headers, types).is_ok()),
    }))
}

fn query(raw: &str) -> Vec<EchoPairDto> {
    let parts = raw.split('&').filter(|part| !part.is_empty());
    let parts = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    parts
        .map(|(name, value)| {
            let (known, value) =
                (decoded_query(name), decoded_query(value).unwrap_or(value.into()));
            let value = masking::parameter(known.as_deref(), &value);
            EchoPairDto { name: known.unwrap_or_else(|| name.to_owned()), value }
        })
        .collect()
}

fn header((name, value): (&HeaderName, &HeaderValue)) -> EchoPairDto {
    let value = String::from_utf8_lossy(value.as_bytes());
    EchoPairDto { name: name.to_string(), value: masking::header(name.as_str(), &value) }
}

impl EchoBodyDto {
    /// `declares` returns whether the Content-Type is one of these media types.
    fn from_content(content: &[u8], declares: impl Fn(&'static [&'static str]) -> bool) -> Self {
        let json_error = match serde_json::from_slice::<IgnoredAny>(content) {
            Err(error) if declares(&[JSON]) => Some(error.to_string()),
            Ok(_) | Err(_) => None,
        };
        let text = String::from_utf8_lossy(content);
        let Some(masked) = masking::body(&text, declares(&[FORM])) else {
            let not_shown = Some(NOT_SHOWN);
            return Self { bytes: content.len(), not_shown, json_error, ..Self::default() };
        };
        let is_text = matches!(text, Cow::Borrowed(_));
        let json = is_text.then(|| serde_json::from_str(&masked).ok()).flatten();
        let (text, base64) = match text {
            Cow::Borrowed(_) => (Some(masked), None),
            // Without a secret, the body is returned byte for byte.
            Cow::Owned(text) if text == masked => (None, Some(STANDARD.encode(content))),
            Cow::Owned(_) => (None, Some(STANDARD.encode(masked))),
        };
        Self { bytes: content.len(), not_shown: None, text, base64, json, json_error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(content: &[u8], declared: &str) -> EchoBodyDto {
        EchoBodyDto::from_content(content, |types| types.contains(&declared))
    }

    #[test]
    fn a_body_is_shown_as_text_json_or_base64() {
        let json = describe(b"{\"a\": [1]}", JSON);
        assert_eq!((json.bytes, json.json), (10, Some(serde_json::json!({"a": [1]}))));
        let broken = describe(b"{\"a\":", JSON);
        assert_eq!(broken.text.as_deref(), Some("{\"a\":"));
        assert!(broken.json_error.is_some_and(|error| error.contains("line 1 column 5")));
        let bytes = describe(&[0xff, 0x00], "");
        assert_eq!((bytes.text, bytes.base64.as_deref()), (None, Some("/wA=")));
        assert_eq!((bytes.json_error, bytes.not_shown), (None, None));
        let markup = describe(b"<pin>canary</pin>", JSON);
        assert_eq!((markup.bytes, markup.text, markup.base64), (17, None, None));
        assert!(markup.json_error.is_some() && markup.not_shown.is_some());
        let secret = describe(b"{\"token\": \"canary\xff\"}", JSON);
        assert_eq!((secret.text, secret.json), (None, None));
        let shown = STANDARD.decode(secret.base64.expect("no text")).expect("base64");
        assert_eq!(shown, b"{\"token\": \"[masked, 9 bytes]\"}");
    }
}
