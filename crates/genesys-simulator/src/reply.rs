//! What goes back: the platform's answers and error bodies, and the broken answers that faults ask
//! for. Knows HTTP but neither the state nor why an answer is given.

use std::io;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

/// An answer before it is sent, so that a fault can still change it.
#[derive(Clone, Debug)]
pub(super) struct SimulatedReply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl SimulatedReply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::empty(status).with_body("application/json", body.to_string())
    }

    pub(super) fn with_body(mut self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        self.body = body.into();
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// The platform's error body. `correlation` is also in the header, which the caller adds.
    pub(super) fn error(status: u16, code: &str, message: &str, correlation: &str) -> Self {
        let body = json!({
            "message": message,
            "code": code,
            "status": status,
            "messageParams": {},
            "contextId": correlation,
            "details": [],
            "errors": [],
        });
        Self::json(StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT), &body)
    }

    /// The platform's usual error body for a status.
    pub(super) fn usual(status: u16, correlation: &str) -> Self {
        let (code, message) = usual_error(status);
        Self::error(status, code, message, correlation)
    }

    /// The platform's refusal for lack of a permission.
    pub(super) fn forbidden(permission: &str, correlation: &str) -> Self {
        let message = format!(
            "Unable to perform the requested action. You must have at least one of the following \
             permissions assigned: [{permission}]"
        );
        Self::error(403, "missing.any.permissions", &message, correlation)
    }

    /// 429 as all APIs of the platform phrase it.
    pub(super) fn throttled(retry_after: Option<u64>, correlation: &str) -> Self {
        let (code, message) = match retry_after {
            Some(seconds) => (
                "too.many.requests.retry.after",
                format!(
                    "Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds"
                ),
            ),
            None => ("too.many.requests", "Rate limit exceeded the maximum.".to_owned()),
        };
        let body = json!({
            "message": message,
            "code": code,
            "status": 429,
            "contextId": correlation,
            "details": [],
            "errors": [],
        });
        let reply = Self::json(StatusCode::TOO_MANY_REQUESTS, &body);
        match retry_after {
            Some(seconds) => reply.with_header(header::RETRY_AFTER, seconds),
            None => reply,
        }
    }

    /// An error of the token endpoint, which has a form of its own.
    pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Self {
        let body = json!({
            "error": error,
            "description": description,
            "error_description": description,
        });
        Self::json(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &body)
    }

    /// Refusal of a map that has grown too large.
    pub(super) fn too_large(correlation: &str) -> Self {
        let message = "Participant attributes size exceeds limit";
        Self::error(400, "bad.request", message, correlation)
    }

    /// The first half of the body, as a complete HTTP message.
    pub(super) fn halved(mut self) -> Self {
        self.never_empty();
        self.body.truncate(self.body.len().div_ceil(2));
        self
    }

    /// The first half of the body under a `Content-Length` of all of it, then a broken connection.
    pub(super) fn cut_short(mut self) -> Response {
        self.never_empty();
        let length = self.body.len();
        let first = self.body.slice(..length.div_ceil(2));
        let body = breaking(first, io::ErrorKind::UnexpectedEof);
        let mut response = self.with_header(header::CONTENT_LENGTH, length).respond();
        *response.body_mut() = body;
        response
    }

    fn never_empty(&mut self) {
        if self.body.len() < 2 {
            *self = self.clone().with_body("application/json", r#"{"attributes":{}}"#);
        }
    }

    pub(super) fn respond(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A connection that breaks without a usable answer. Over a socket the server drops it before the
/// head is sent; a caller in the same process gets the error on reading the body.
pub(super) fn reset() -> Response {
    Response::new(breaking(Bytes::from_static(b" "), io::ErrorKind::ConnectionReset))
}

/// A body that fails after `first`.
fn breaking(first: Bytes, kind: io::ErrorKind) -> Body {
    let failure = async move {
        if kind == io::ErrorKind::UnexpectedEof {
            // Gives the server the chance to send what it has before it learns of the failure.
            tokio::task::yield_now().await;
        }
        Some(Err(io::Error::new(kind, "broken by the simulator")))
    };
    let body = Full::new(first).map_err(|never| match never {}).with_trailers(failure);
    // `map_frame` forgets the exact size, which the server would take for the end of the body.
    Body::new(body.map_frame(|frame| frame))
}

fn usual_error(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => (
            "bad.request",
            "The request could not be understood by the server due to malformed syntax.",
        ),
        401 => ("bad.credentials", "Invalid login credentials."),
        403 => (
            "missing.any.permissions",
            "Unable to perform the requested action. You must have at least one of the following \
             permissions assigned: [conversation:communication:view]",
        ),
        404 => ("not.found", "The requested resource was not found."),
        408 => (
            "client.timeout",
            "The client did not produce a request within the server timeout limit.",
        ),
        409 => ("conflict", "The request conflicts with the current state of the target resource."),
        413 => (
            "request.entity.too.large",
            "The request is over the size limit. Maximum bytes: 512000",
        ),
        415 => ("unsupported.media.type", "Unsupported Media Type"),
        429 => ("too.many.requests", "Rate limit exceeded the maximum."),
        500 => ("internal.server.error", "Internal Server Error"),
        502 => ("bad.gateway", "Bad Gateway"),
        503 => ("service.unavailable", "Service Unavailable"),
        504 => ("request.timeout", "The request timed out."),
        _ => ("error", "The request failed."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response) -> Result<Bytes, axum::Error> {
        axum::body::to_bytes(response.into_body(), usize::MAX).await
    }

    #[tokio::test]
    async fn the_429_is_word_for_word_that_of_the_platform() {
        let response = SimulatedReply::throttled(Some(42), "abc").respond();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "42");
        assert_eq!(response.headers()["content-type"], "application/json");
        let parsed: Value =
            serde_json::from_slice(&body(response).await.expect("whole")).expect("it is JSON");
        let expected = json!({
            "message": "Rate limit exceeded the maximum. Retry the request in [42] seconds",
            "code": "too.many.requests.retry.after", "status": 429, "contextId": "abc",
            "details": [], "errors": [],
        });
        assert_eq!(parsed, expected);
    }

    #[tokio::test]
    async fn broken_answers_fail_when_their_body_is_read() {
        assert!(body(reset()).await.is_err());
        let whole = SimulatedReply::json(StatusCode::OK, &json!({"a": "12345"}));
        let response = whole.clone().cut_short();
        assert_eq!(response.headers()["content-length"], "13");
        assert!(body(response).await.is_err());
        assert_eq!(&body(whole.halved().respond()).await.expect("whole")[..], br#"{"a":"1"#);
    }

    #[tokio::test]
    async fn an_empty_answer_can_be_spoilt_too() {
        let response = SimulatedReply::empty(StatusCode::ACCEPTED).halved().respond();
        assert_eq!(&body(response).await.expect("whole")[..], br#"{"attribu"#);
    }
}
