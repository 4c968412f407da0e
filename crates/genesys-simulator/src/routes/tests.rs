//! The course of requests over the router: answers word for word, times to the millisecond.

use std::time::Duration;

use axum::{body::Body, http::HeaderMap};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use super::*;
use crate::{
    AfterEnd, PatchSemantics, ScriptedFault, SimulatedCall, SimulatorSettings, WriteSource,
};

const GENERIC: &str = "/api/v2/conversations/c/participants/p/attributes";
const CALLS: &str = "/api/v2/conversations/calls/c/participants/p/attributes";
const READ: &str = "/api/v2/conversations/c";

struct ControlResult {
    status: u16,
    headers: HeaderMap,
    /// The text of the body; `None` if the connection broke.
    body: Option<String>,
}

impl ControlResult {
    fn json(&self) -> Value {
        serde_json::from_str(self.body.as_deref().unwrap_or_default()).unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn code(&self) -> Value {
        self.json()["code"].clone()
    }
}

/// A simulator with one live call, and a client with a token.
struct Client {
    simulator: Simulator,
    token: String,
}

impl Client {
    async fn new(settings: SimulatorSettings) -> Self {
        let simulator = Simulator::new(settings);
        simulator.add_call(SimulatedCall::new("c").customer("p", [("a", "0")])).expect("the first");
        let mut client = Self { simulator, token: String::new() };
        client.sign_in().await;
        client
    }

    async fn sign_in(&mut self) {
        let answer = self.token_with("demo-secret").await;
        self.token = answer.json()["access_token"].as_str().unwrap_or_default().to_owned();
    }

    async fn token_with(&self, secret: &str) -> ControlResult {
        let basic = BASE64_STANDARD.encode(format!("demo:{secret}"));
        let request = Request::post("/oauth/token")
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from("grant_type=client_credentials"));
        self.send(request.expect("well formed")).await
    }

    async fn send(&self, request: Request) -> ControlResult {
        let response = self.simulator.router().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.ok();
        let body = body.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        ControlResult { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> ControlResult {
        let token = format!("Bearer {}", self.token);
        let request = Request::get(path).header("authorization", token).body(Body::empty());
        self.send(request.expect("well formed")).await
    }

    async fn patch(&self, path: &str, attributes: Value) -> ControlResult {
        let request = Request::patch(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("x-request-id", "r-1")
            .body(Body::from(json!({"attributes": attributes}).to_string()));
        self.send(request.expect("well formed")).await
    }

    /// What a read shows of the participant.
    async fn seen(&self) -> Value {
        self.get(READ).await.json()["participants"][0]["attributes"].clone()
    }

    /// What is true of it.
    fn truth(&self) -> Value {
        json!(self.simulator.attributes("c", "p"))
    }

    fn answers(&self) -> Vec<RequestOutcome> {
        self.simulator.calls().iter().skip(1).map(|call| call.answer).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn both_reads_and_both_patches_answer_in_their_own_shape() {
    let client = Client::new(SimulatorSettings::default()).await;
    let generic = client.patch(GENERIC, json!({"b": "1"})).await;
    assert_eq!((generic.status, generic.body.as_deref()), (202, Some("")));
    let calls = client.patch(CALLS, json!({"c": true})).await;
    assert_eq!((calls.status, calls.json()), (202, json!({"attributes": {"c": "true"}})));
    let expected = json!({"a": "0", "b": "1", "c": "true"});
    let generic = client.get(READ).await;
    assert_eq!(generic.json()["participants"][0]["attributes"], expected);
    assert_eq!(generic.json()["participants"][0].get("state"), None);
    assert!(generic.json()["startTime"].is_string());
    let calls = client.get("/api/v2/conversations/calls/c").await;
    assert_eq!(calls.json()["participants"][0]["attributes"], expected);
    assert_eq!(calls.json()["participants"][0]["state"], "connected");
    assert_eq!(calls.json().get("startTime"), None);
    let record = client.simulator.calls().into_iter().next_back().expect("the last read");
    assert_eq!((record.kind, record.token), (RequestKind::Read, Some(1)));
    assert_eq!(record.correlation_id, calls.header("inin-correlation-id"));
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_and_missing_tokens_get_the_platforms_error_body() {
    let mut client = Client::new(SimulatorSettings::default()).await;
    let answer = client.get("/api/v2/conversations/x").await;
    let expected = json!({
        "message": "The requested resource was not found.", "code": "not.found", "status": 404,
        "messageParams": {}, "contextId": answer.header("inin-correlation-id"),
        "details": [], "errors": [],
    });
    assert_eq!(answer.json(), expected);
    let code = client.get("/api/v2/conversations/calls/x").await.code();
    assert_eq!(code, "conversation.error.conversation.not.found");
    let stranger = GENERIC.replace("/p/", "/q/");
    assert_eq!(client.patch(&stranger, json!({})).await.status, 404);
    assert_eq!(client.get("/api/v2/conversations/calls").await.code(), "not.a.user");
    "dead".clone_into(&mut client.token);
    assert_eq!(client.get(READ).await.code(), "bad.credentials");
    let bare = Request::get(READ).body(Body::empty()).expect("well formed");
    let answer = client.send(bare).await;
    assert_eq!((answer.status, answer.code()), (401, json!("authentication.required")));
}

#[tokio::test(start_paused = true)]
async fn reads_lag_behind_writes_by_exactly_the_lag() {
    let lag = Duration::from_secs(2);
    let client = Client::new(SimulatorSettings { lag, ..SimulatorSettings::default() }).await;
    client.patch(GENERIC, json!({"a": "1"})).await;
    assert_eq!(client.truth(), json!({"a": "1"}));
    sleep(Duration::from_millis(1_999)).await;
    assert_eq!(client.seen().await, json!({"a": "0"}));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(client.seen().await, json!({"a": "1"}));
    let ledger = client.simulator.ledger();
    assert_eq!(ledger[0].visible_at - ledger[0].at, lag);
    assert_eq!(
        (ledger[0].writer, ledger[0].request_id.as_deref()),
        (WriteSource::Gateway, Some("r-1"))
    );
}

#[tokio::test(start_paused = true)]
async fn latency_is_added_to_answers_of_the_api() {
    let latency = Duration::from_millis(120);
    let client = Client::new(SimulatorSettings { latency, ..SimulatorSettings::default() }).await;
    let start = Instant::now();
    client.get(READ).await;
    assert_eq!(start.elapsed(), latency);
}

#[tokio::test(start_paused = true)]
async fn the_budget_of_a_token_is_a_window_that_slides() {
    let settings =
        SimulatorSettings { requests_per_minute: Some(2), ..SimulatorSettings::default() };
    let mut client = Client::new(settings).await;
    let first = client.get(READ).await;
    assert_eq!(first.header("inin-ratelimit-count"), "1");
    assert_eq!(first.header("inin-ratelimit-allowed"), "2");
    sleep(Duration::from_millis(18_500)).await;
    client.get(READ).await;
    let third = client.get(READ).await;
    assert_eq!((third.status, third.header("retry-after")), (429, "42"));
    assert_eq!(third.header("inin-ratelimit-reset"), "42");
    sleep(Duration::from_millis(41_500)).await;
    assert_eq!(client.get(READ).await.status, 200, "the first has left, the second has not");
    assert_eq!(client.get(READ).await.header("retry-after"), "19");
    client.sign_in().await;
    assert_eq!(client.get(READ).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn settings_decide_what_is_not_documented() {
    let client = Client::new(SimulatorSettings::default()).await;
    client.simulator.set_settings(|settings| {
        settings.semantics = PatchSemantics::Replace;
        settings.size_limit = Some(20);
        settings.after_end = AfterEnd::Reject;
    });
    client.patch(GENERIC, json!({"b": "1"})).await;
    assert_eq!(client.truth(), json!({"b": "1"}));
    let large = client.patch(GENERIC, json!({"b": "x".repeat(20)})).await;
    assert_eq!(large.status, 400);
    assert!(large.json()["message"].as_str().is_some_and(|m| m.contains("size exceeds limit")));
    client.simulator.end_conversation("c");
    assert_eq!(client.patch(GENERIC, json!({"b": "2"})).await.code(), "bad.request");
    assert!(client.get(READ).await.json()["endTime"].is_string());
    let voice = "/api/v2/conversations/voice/c/participants/p";
    assert_eq!(client.get(voice).await.status, 404);
    client.simulator.set_settings(|settings| {
        settings.voice_paths = true;
        settings.after_end = AfterEnd::Accept;
    });
    let patched = client.patch(voice, json!({"b": "3"})).await;
    assert_eq!((patched.status, &patched.json()["attributes"]), (200, &json!({"b": "3"})));
    assert_eq!(client.get(voice).await.json()["id"], "p");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_patch_is_refused_before_anything_is_written() {
    let client = Client::new(SimulatorSettings::default()).await;
    let request = |kind: &str, body: String| {
        let builder = Request::patch(GENERIC).header("content-type", kind);
        let builder = builder.header("authorization", format!("Bearer {}", client.token));
        builder.body(Body::from(body)).expect("well formed")
    };
    let plain = client.send(request("text/plain", String::new())).await;
    assert_eq!((plain.status, plain.code()), (415, json!("unsupported.media.type")));
    let large = client.send(request("application/json", " ".repeat(MAX_BODY_BYTES + 1))).await;
    assert_eq!((large.status, large.code()), (413, json!("request.entity.too.large")));
    assert_eq!(client.patch(GENERIC, json!({"a": []})).await.code(), "bad.request");
    assert!(client.simulator.ledger().is_empty());
}

#[tokio::test(start_paused = true)]
async fn faults_that_answer_keep_the_write_from_landing() {
    let client = Client::new(SimulatorSettings::default()).await;
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    for (action, expected) in [
        (FaultAction::Throttle { retry_after: Some(7) }, 429),
        (FaultAction::Throttle { retry_after: None }, 429),
        (status(403), 403),
        (status(409), 409),
        (status(503), 503),
        (FaultAction::SizeRejection, 400),
        (FaultAction::EchoRejection, 400),
        (FaultAction::Html, 200),
        (FaultAction::Empty { status: 204, applied: false }, 204),
    ] {
        client.simulator.inject(ScriptedFault::on_patch(action.clone()));
        assert_eq!(client.patch(GENERIC, json!({"a": "1"})).await.status, expected, "{action:?}");
    }
    assert_eq!(client.truth(), json!({"a": "0"}));
    assert_eq!(client.simulator.faults_left(), 0);
}

#[tokio::test(start_paused = true)]
async fn scripted_errors_speak_as_the_platform_does() {
    let client = Client::new(SimulatorSettings::default()).await;
    client.simulator.inject(ScriptedFault::new(FaultAction::Throttle { retry_after: Some(7) }));
    let throttled = client.get(READ).await;
    assert_eq!(throttled.header("retry-after"), "7");
    assert_eq!(throttled.json()["contextId"], throttled.header("inin-correlation-id"));
    let own = json!({"own": 1});
    for (code, body) in [(403, None), (503, Some(own.clone()))] {
        client.simulator.inject(ScriptedFault::new(FaultAction::Status {
            code,
            body,
            retry_after: Some(1),
        }));
    }
    let forbidden = client.get(READ).await;
    assert_eq!(forbidden.code(), "missing.any.permissions");
    let message = forbidden.json()["message"].to_string();
    assert!(message.contains("[conversation:communication:view]"), "{message}");
    assert_eq!(client.get(READ).await.json(), own);
    client.simulator.inject(ScriptedFault::new(FaultAction::EchoRejection));
    let echo = client.patch(GENERIC, json!({"a": "private"})).await.json();
    assert_eq!(echo["message"], "Invalid attribute values: a=private");
}

#[tokio::test(start_paused = true)]
async fn resets_break_the_connection_before_or_after_the_write() {
    let client = Client::new(SimulatorSettings::default()).await;
    client.simulator.inject(ScriptedFault::on_patch(FaultAction::ResetBefore));
    client.simulator.inject(ScriptedFault::on_patch(FaultAction::ResetAfter));
    assert_eq!(client.patch(GENERIC, json!({"a": "1"})).await.body, None);
    assert_eq!(client.truth(), json!({"a": "0"}));
    assert_eq!(client.patch(GENERIC, json!({"a": "1"})).await.body, None);
    assert_eq!(client.truth(), json!({"a": "1"}));
    assert_eq!(client.answers(), [RequestOutcome::Reset, RequestOutcome::Reset]);
}

#[tokio::test(start_paused = true)]
async fn a_hang_ends_with_the_client_timeout_and_the_write_lands() {
    let client = Client::new(SimulatorSettings::default()).await;
    let after = Duration::from_secs(3);
    let actions =
        [FaultAction::Hang, FaultAction::ApplyLate { after }, FaultAction::HangAfterApply];
    for action in actions {
        client.simulator.inject(ScriptedFault::on_patch(action));
    }
    let patience = Duration::from_secs(1);
    let write = async |value: &str| {
        assert!(timeout(patience, client.patch(GENERIC, json!({"a": value}))).await.is_err());
    };
    write("1").await;
    write("2").await;
    assert_eq!(client.truth(), json!({"a": "0"}));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(client.truth(), json!({"a": "2"}));
    write("3").await;
    assert_eq!(client.truth(), json!({"a": "3"}));
    let at: Vec<_> = client.simulator.ledger().iter().map(|entry| entry.at).collect();
    assert_eq!(at[1] - at[0], Duration::ZERO);
    assert_eq!(client.answers(), [RequestOutcome::Hang; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_during_the_latency_has_written() {
    let latency = Duration::from_secs(2);
    let client = Client::new(SimulatorSettings { latency, ..SimulatorSettings::default() }).await;
    let left = timeout(Duration::from_secs(1), client.patch(GENERIC, json!({"a": "1"}))).await;
    assert!(left.is_err());
    assert_eq!(client.truth(), json!({"a": "1"}));
    assert_eq!(client.answers(), [RequestOutcome::Pending]);
}

#[tokio::test(start_paused = true)]
async fn spoilt_answers_are_those_of_an_applied_write() {
    let client = Client::new(SimulatorSettings::default()).await;
    let spoilt = [
        FaultAction::Truncated,
        FaultAction::WrongLength,
        FaultAction::Empty { status: 200, applied: true },
    ];
    for action in spoilt {
        client.simulator.inject(ScriptedFault::on_patch(action));
    }
    let truncated = client.patch(CALLS, json!({"a": "1"})).await;
    assert_eq!(truncated.body.as_deref(), Some(r#"{"attributes"#));
    assert_eq!(client.patch(CALLS, json!({"a": "2"})).await.body, None);
    let empty = client.patch(CALLS, json!({"a": "3"})).await;
    assert_eq!((empty.status, empty.body.as_deref()), (200, Some("")));
    assert_eq!(client.simulator.ledger().len(), 3);
    client.simulator.inject(ScriptedFault::on_read(FaultAction::Oversized { bytes: 5000 }));
    assert_eq!(client.get(READ).await.body.map(|body| body.len()), Some(5000));
    client.simulator.inject(ScriptedFault::on_read(FaultAction::GarbageJson));
    assert_eq!(client.get(READ).await.json(), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn other_writers_come_between_before_and_after() {
    let lag = Duration::from_secs(9);
    let client = Client::new(SimulatorSettings { lag, ..SimulatorSettings::default() }).await;
    let map = |value: &str| [("a".to_owned(), Some(value.to_owned()))].into();
    let before = FaultAction::ForeignWrite { participant: None, map: map("before") };
    let after = FaultAction::ForeignWriteAfter { participant: None, map: map("after") };
    client.simulator.inject(ScriptedFault::on_patch(before));
    client.simulator.inject(ScriptedFault::on_read(after));
    client.patch(GENERIC, json!({"a": "ours"})).await;
    assert_eq!(client.truth(), json!({"a": "ours"}));
    assert_eq!(client.seen().await, json!({"a": "before"}));
    assert_eq!(client.seen().await, json!({"a": "after"}));
    let writers: Vec<_> = client.simulator.ledger().iter().map(|entry| entry.writer).collect();
    assert_eq!(writers, [WriteSource::Other, WriteSource::Gateway, WriteSource::Other]);
}

#[tokio::test(start_paused = true)]
async fn tokens_die_early_lie_about_their_age_and_are_refused() {
    let mut client = Client::new(SimulatorSettings::default()).await;
    client.simulator.inject(ScriptedFault::on_read(FaultAction::Unauthorized));
    assert_eq!(client.get(READ).await.status, 401);
    assert_eq!(client.get(READ).await.code(), "bad.credentials");
    client.sign_in().await;
    assert_eq!(client.get(READ).await.status, 200);
    assert_eq!(client.simulator.kill_tokens(), 1);
    assert_eq!(client.get(READ).await.status, 401);
    client.simulator.inject(ScriptedFault::on_token(FaultAction::TokenThrottle));
    client
        .simulator
        .inject(ScriptedFault::on_token(FaultAction::TokenExpiresIn { value: json!("soon") }));
    assert_eq!(client.token_with("demo-secret").await.json()["error"], "invalid_request");
    assert_eq!(client.token_with("demo-secret").await.json()["expires_in"], "soon");
    assert_eq!(client.token_with("wrong").await.json()["error"], "invalid_client");
}

#[tokio::test(start_paused = true)]
async fn delays_hold_a_request_before_or_after_it_is_handled() {
    let client = Client::new(SimulatorSettings::default()).await;
    let by = Duration::from_secs(4);
    client.simulator.inject(ScriptedFault::on_patch(FaultAction::Delay { by, after_apply: false }));
    client.simulator.inject(ScriptedFault::on_patch(FaultAction::Delay { by, after_apply: true }));
    client.simulator.inject(ScriptedFault::on_read(FaultAction::EndConversation));
    let start = Instant::now();
    client.patch(GENERIC, json!({"a": "1"})).await;
    client.patch(GENERIC, json!({"a": "2"})).await;
    assert_eq!(start.elapsed(), by * 2);
    let applied: Vec<_> = client.simulator.ledger().iter().map(|w| w.at - start).collect();
    assert_eq!(applied, [by, by]);
    assert!(client.get(READ).await.json()["endTime"].is_string());
}
