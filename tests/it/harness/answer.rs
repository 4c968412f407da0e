//! An answer of the service, with assertions that fail at the line of the test.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;

/// What came back.
#[must_use]
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub text: String,
    /// How long it took, on tokio's clock.
    pub took: Duration,
}

impl Answer {
    pub(super) async fn read(answer: Response<Body>, took: Duration) -> Self {
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let mut text = String::new();
        if head.headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
            flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).expect("gzip");
        } else {
            (&body[..]).read_to_string(&mut text).expect("text");
        }
        Self { status: head.status.as_u16(), headers: head.headers, text, took }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// A member of the body, by JSON pointer.
    #[track_caller]
    pub fn at(&self, pointer: &str) -> Value {
        let json = self.json();
        json.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {json:#}")).clone()
    }

    /// A header as text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Fails unless the status is this.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Fails unless it is a problem with this status, code and effect, whole in every member.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str, effect: &str) -> &Self {
        self.assert_status(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem:#}");
        assert_eq!(problem["effect"], effect, "{problem:#}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/problems/{code}"));
        for member in ["title", "detail", "message", "instance", "requestId", "hint"] {
            assert!(problem[member].is_string(), "no {member} in {problem:#}");
        }
        assert_eq!(problem["detail"], problem["message"]);
        assert_eq!(problem["requestId"], self.header("x-request-id"));
        assert!(problem["retryable"].is_boolean());
        self
    }

    /// Fails unless the outcomes of all keys are these.
    #[track_caller]
    pub fn assert_outcomes(&self, outcomes: &[(&str, &str)]) -> &Self {
        let expected: Value = outcomes
            .iter()
            .map(|(key, outcome)| ((*key).to_owned(), Value::from(*outcome)))
            .collect();
        assert_eq!(self.at("/outcomes"), expected, "{}", self.text);
        self
    }
}
