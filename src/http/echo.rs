//! `POST /v1/debug/echo`: what has just arrived, so that nobody needs a tunnel to see what a data
//! action, or a proxy before the gateway, really sends.
//!
//! What looks like a secret is masked, in headers and in the query, since answers get pasted into
//! tickets. Nothing is kept. There is such a path only with `debug.enabled`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::extract::{exchange, read_body};
use super::percent::decoded_query;
use super::problem::Problem;
use super::state::HttpSettings;
use super::{negotiate, paths};

/// Parts of names of headers and parameters whose values nobody should see.
const SECRET: [&str; 12] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "credential",
    "session",
    "signature",
    "api-key",
    "api_key",
    "apikey",
    "access-key",
];

/// A request as it arrived.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Echo)]
pub(super) struct EchoAnswer {
    /// HTTP method.
    method: String,
    /// Path without query.
    path: String,
    /// Version of HTTP that the last proxy spoke.
    http_version: String,
    /// Parameters of the query, decoded.
    query: Vec<PairView>,
    /// Header fields in the order of arrival; those of one name stand together.
    headers: Vec<PairView>,
    /// Bytes of the names and values of the headers.
    header_bytes: usize,
    /// The body.
    body: BodyView,
}

/// A name and a value.
#[derive(Serialize, ToSchema)]
#[schema(as = EchoedPair)]
struct PairView {
    /// The name.
    name: String,
    /// The value; of a secret, its scheme and length alone.
    value: String,
}

/// A body.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EchoedBody)]
struct BodyView {
    /// Its length.
    bytes: usize,
    /// The body as text; absent if it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<String>,
    /// The body in base64, if it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    base64: Option<String>,
    /// The body as JSON, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    json: Option<Value>,
    /// Why it is no JSON, if it is declared as such.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    json_error: Option<String>,
}

/// See what arrives
///
/// Answers with the request itself, secrets masked. Only with `debug.enabled`; 404 `not-found`
/// otherwise.
#[utoipa::path(post, path = paths::ECHO, operation_id = "echo", tag = "debugging",
    request_body(content((Value = "application/json", example = json!({"attributes": {"tier": "gold"}})), (String = "text/plain")), description = "Anything"),
    responses((status = 200, body = EchoAnswer, description = "What arrived")))]
pub(super) async fn echo(
    State(settings): State<Arc<HttpSettings>>,
    request: Request,
) -> Result<Json<EchoAnswer>, Problem> {
    let (parts, content) = request.into_parts();
    let exchange = exchange(&parts)?;
    let content = read_body(&parts, content, &exchange, &settings).await?;
    Ok(Json(EchoAnswer {
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
        body: BodyView::of(
            content,
            negotiate::declared(&parts.headers, &[negotiate::JSON]).is_ok(),
        ),
    }))
}

fn query(raw: &str) -> Vec<PairView> {
    let plain = |text: &str| decoded_query(text).unwrap_or_else(|| text.to_owned());
    let parts = raw.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            PairView::masked(plain(name), &plain(value))
        })
        .collect()
}

fn header((name, value): (&HeaderName, &HeaderValue)) -> PairView {
    PairView::masked(name.to_string(), &String::from_utf8_lossy(value.as_bytes()))
}

impl PairView {
    fn masked(name: String, value: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let secret = SECRET.iter().any(|part| lower.contains(part));
        let value = if secret { masked(value) } else { value.to_owned() };
        Self { name, value }
    }
}

/// The scheme stays (`Basic` where `Bearer` is wanted is a common mistake), and the length.
fn masked(value: &str) -> String {
    let scheme =
        |text: &str| text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    match value.split_once(' ') {
        Some((word, rest)) if scheme(word) => format!("{word} [masked, {} bytes]", rest.len()),
        _ => format!("[masked, {} bytes]", value.len()),
    }
}

impl BodyView {
    fn of(content: Vec<u8>, declared: bool) -> Self {
        let parsed = serde_json::from_slice::<Value>(&content);
        let json_error = match &parsed {
            Err(error) if declared => Some(error.to_string()),
            Ok(_) | Err(_) => None,
        };
        let (bytes, json) = (content.len(), parsed.ok());
        match String::from_utf8(content) {
            Ok(text) => Self { bytes, text: Some(text), base64: None, json, json_error },
            Err(error) => {
                let base64 = Some(STANDARD.encode(error.as_bytes()));
                Self { bytes, text: None, base64, json, json_error }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_by_name_and_their_scheme_and_length_stay() {
        let shown = |name: &str, value: &str| PairView::masked(name.to_owned(), value).value;
        assert_eq!(shown("authorization", "Bearer abc.def"), "Bearer [masked, 7 bytes]");
        assert_eq!(shown("Proxy-Authorization", "secret"), "[masked, 6 bytes]");
        for name in ["cookie", "X-API-Key", "x-apikey", "access_token", "client_secret"] {
            assert_eq!(shown(name, "my value"), shown("cookie", "my value"), "{name}");
            assert!(!shown(name, "canary=1; b=2").contains("canary"), "{name}");
        }
        assert_eq!(shown("content-type", "application/json"), "application/json");
    }

    #[test]
    fn a_body_is_told_as_what_it_is() {
        let json = BodyView::of(b"{\"a\": [1]}".to_vec(), true);
        assert_eq!((json.bytes, json.json), (10, Some(serde_json::json!({"a": [1]}))));
        let broken = BodyView::of(b"{\"a\":".to_vec(), true);
        assert_eq!(broken.text.as_deref(), Some("{\"a\":"));
        assert!(broken.json_error.is_some_and(|error| error.contains("line 1 column 5")));
        let bytes = BodyView::of(vec![0xff, 0x00], false);
        assert_eq!((bytes.text, bytes.base64.as_deref()), (None, Some("/wA=")));
        assert_eq!(bytes.json_error, None);
    }
}
