//! Every code of the catalogue, provoked through the whole service.

use std::time::Duration;

use attribute_gateway::error::ErrorCode;
use axum::body::Body;
use genesys_simulator::{FaultAction, ScriptedFault, SimulatedCall};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::harness::{
    Answer, Builder, CALL, CUSTOMER, MemoryOutput, TestApp, attributes_of, client, defective, ms,
    request, send, shown,
};

/// The value that the provoking writes carry; nothing but `attributes` may ever show it.
pub const CANARY: &str = "canary-sent-2f7c";

/// Code, status, effect, and `Retry-After`.
pub type Row = (ErrorCode, u16, &'static str, Option<u64>);

/// What each code has to look like when [`provoke`] has provoked it.
pub const ROWS: [Row; 43] = [
    (ErrorCode::InvalidConversationId, 400, "notApplied", None),
    (ErrorCode::InvalidParticipant, 400, "notApplied", None),
    (ErrorCode::InvalidJson, 400, "notApplied", None),
    (ErrorCode::InvalidQuery, 400, "notApplied", None),
    (ErrorCode::InvalidHeader, 400, "notApplied", None),
    (ErrorCode::Unauthenticated, 401, "notApplied", None),
    (ErrorCode::AttributeNotAllowed, 403, "notApplied", None),
    (ErrorCode::ParticipantNotAllowed, 403, "notApplied", None),
    (ErrorCode::ReadOnlyClient, 403, "notApplied", None),
    (ErrorCode::OperateNotAllowed, 403, "notApplied", None),
    (ErrorCode::NotFound, 404, "notApplied", None),
    (ErrorCode::ConversationNotFound, 404, "notApplied", None),
    (ErrorCode::ParticipantNotFound, 404, "notApplied", None),
    (ErrorCode::AttributeNotFound, 404, "notApplied", None),
    (ErrorCode::OperationNotFound, 404, "notApplied", None),
    (ErrorCode::MethodNotAllowed, 405, "notApplied", None),
    (ErrorCode::NotAcceptable, 406, "notApplied", None),
    (ErrorCode::RequestTimeout, 408, "notApplied", None),
    (ErrorCode::AmbiguousParticipant, 409, "notApplied", None),
    (ErrorCode::ConversationEnded, 409, "notApplied", None),
    (ErrorCode::WriteSuperseded, 409, "applied", None),
    (ErrorCode::UpstreamConflict, 409, "notApplied", None),
    (ErrorCode::OperationInProgress, 409, "unknown", Some(1)),
    (ErrorCode::PreconditionFailed, 412, "notApplied", None),
    (ErrorCode::BodyTooLarge, 413, "notApplied", None),
    (ErrorCode::UnsupportedMediaType, 415, "notApplied", None),
    (ErrorCode::InvalidAttributes, 422, "notApplied", None),
    (ErrorCode::AttributesTooLarge, 422, "notApplied", None),
    (ErrorCode::IdempotencyKeyReused, 422, "notApplied", None),
    (ErrorCode::PreconditionRequired, 428, "notApplied", None),
    (ErrorCode::ClientRateLimited, 429, "notApplied", Some(60)),
    (ErrorCode::Internal, 500, "notApplied", None),
    (ErrorCode::UpstreamRejected, 502, "notApplied", None),
    (ErrorCode::UpstreamForbidden, 502, "notApplied", None),
    (ErrorCode::UpstreamAuthFailed, 502, "notApplied", None),
    (ErrorCode::UpstreamInvalidResponse, 502, "notApplied", None),
    (ErrorCode::UpstreamRateLimited, 503, "notApplied", Some(30)),
    (ErrorCode::UpstreamUnavailable, 503, "notApplied", Some(1)),
    (ErrorCode::Overloaded, 503, "notApplied", Some(1)),
    (ErrorCode::AuditUnavailable, 503, "notApplied", Some(1)),
    (ErrorCode::StoreUnavailable, 503, "notApplied", Some(1)),
    (ErrorCode::ShuttingDown, 503, "notApplied", Some(1)),
    (ErrorCode::DeadlineExceeded, 504, "unknown", None),
];

/// Makes the service answer with this code. `base` is the platform and the call behind it.
pub async fn provoke(code: ErrorCode, base: Builder) -> (TestApp, Answer) {
    if let Some(request) = mistake(code) {
        let app = base.start().await;
        let answer = app.send(request).await;
        return (app, answer);
    }
    if let Some(fault) = trouble(code) {
        let app = base.with_fault(fault).allowing_leftovers().start().await;
        let answer = app.send(put(CALL, "", &[("prefer", "wait=2")])).await;
        return (app, answer);
    }
    match rights_without(code) {
        Some((rights, key)) => {
            refused(code, base.with_clients(&[client("crm", "k", rights)]), key).await
        }
        None => special(code, base).await,
    }
}

/// A request that gets this code independently of the platform.
fn mistake(code: ErrorCode) -> Option<Request<Body>> {
    let ended = "e0000000-0000-4000-8000-000000000009";
    let large = json!({"attributes": {"a": format!("{CANARY}{}", "x".repeat(10_240))}});
    Some(match code {
        ErrorCode::InvalidConversationId => put("nope", "", &[]),
        ErrorCode::InvalidParticipant => put(CALL, "?participant=a%20b", &[]),
        ErrorCode::InvalidJson => put_body(CALL, format!(r#"{{"attributes":{{"a":"{CANARY}""#)),
        ErrorCode::InvalidQuery => put(CALL, "?x=1", &[]),
        ErrorCode::InvalidHeader => put(CALL, "", &[("if-match", "unquoted")]),
        ErrorCode::PreconditionFailed => put(CALL, "", &[("if-match", "\"x\"")]),
        ErrorCode::OperationNotFound => {
            let path = format!("/v1/operations/{CALL}");
            request("GET", &path).body(Body::empty()).expect("a request")
        }
        ErrorCode::NotFound => {
            request("GET", "/v1/nothing").body(Body::empty()).expect("a request")
        }
        ErrorCode::OperateNotAllowed => {
            request("GET", "/v1/live/events").body(Body::empty()).expect("a request")
        }
        ErrorCode::ConversationNotFound => put(ended, "", &[]),
        ErrorCode::ParticipantNotFound => put(CALL, "?participant=supervisor", &[]),
        ErrorCode::AttributeNotFound => {
            let path = format!("{}/nothing", attributes_of(CALL));
            request("GET", &path).body(Body::empty()).expect("a request")
        }
        ErrorCode::MethodNotAllowed => {
            request("DELETE", &attributes_of(CALL)).body(Body::empty()).expect("a request")
        }
        ErrorCode::NotAcceptable => put(CALL, "", &[("accept", "text/html")]),
        ErrorCode::RequestTimeout => put_body(CALL, endless()),
        ErrorCode::BodyTooLarge => put_body(CALL, CANARY.repeat(10_000)),
        ErrorCode::UnsupportedMediaType => put(CALL, "", &[("content-encoding", "gzip")]),
        ErrorCode::InvalidAttributes => {
            put_body(CALL, format!(r#"{{"attributes":{{"a":"{CANARY}","b":["{CANARY}"]}}}}"#))
        }
        ErrorCode::AttributesTooLarge => put_body(CALL, large.to_string()),
        _ => return None,
    })
}

/// What upstream has to do to a sound write for this code.
fn trouble(code: ErrorCode) -> Option<ScriptedFault> {
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    let other = [("a".to_owned(), Some("canary-foreign".to_owned()))];
    let foreign = FaultAction::ForeignWriteAfter { participant: None, map: other.into() };
    Some(match code {
        ErrorCode::WriteSuperseded => ScriptedFault::on_patch(foreign),
        ErrorCode::UpstreamConflict => ScriptedFault::on_patch(status(409)).always(),
        ErrorCode::UpstreamRejected => ScriptedFault::on_patch(FaultAction::EchoRejection),
        ErrorCode::UpstreamForbidden => ScriptedFault::on_patch(status(403)),
        ErrorCode::UpstreamAuthFailed => ScriptedFault::on_read(FaultAction::Unauthorized).always(),
        ErrorCode::UpstreamInvalidResponse => ScriptedFault::on_read(FaultAction::Html),
        ErrorCode::UpstreamRateLimited => {
            ScriptedFault::on_patch(FaultAction::Throttle { retry_after: Some(30) })
        }
        ErrorCode::UpstreamUnavailable => ScriptedFault::on_read(status(503)).always(),
        ErrorCode::DeadlineExceeded => ScriptedFault::on_patch(FaultAction::Hang).always(),
        ErrorCode::ConversationEnded => ScriptedFault::on_read(FaultAction::EndConversation),
        _ => return None,
    })
}

/// What takes more than one request or fault.
#[expect(clippy::too_many_lines, reason = "one scenario, step by step")]
async fn special(code: ErrorCode, base: Builder) -> (TestApp, Answer) {
    match code {
        ErrorCode::AmbiguousParticipant => {
            let two = SimulatedCall::new(TWO_AGENTS)
                .agent("a0000000-0000-4000-8000-000000000021", [("a", CANARY)])
                .agent("a0000000-0000-4000-8000-000000000022", [("a", CANARY)]);
            let app = base.with_call(two).start().await;
            let answer = app.send(put(TWO_AGENTS, "?participant=agent", &[])).await;
            (app, answer)
        }
        ErrorCode::Internal => {
            let app = base.start().await;
            let answer = send(defective(CANARY), put(CALL, "", &[])).await;
            (app, answer)
        }
        ErrorCode::Overloaded => {
            let app = base.with_env("GATEWAY__LIMITS__WAITING", "1").start().await;
            let first = tokio::spawn(send(app.router(), put(CALL, "", &[])));
            tokio::time::sleep(ms(1)).await;
            let answer = app.send(put(CALL, "", &[])).await;
            first.await.expect("it does not panic").assert_status(200);
            (app, answer)
        }
        ErrorCode::AuditUnavailable => unrecorded(base).await,
        ErrorCode::IdempotencyKeyReused | ErrorCode::OperationInProgress => {
            // The store has a thread of its own, which a paused clock does not wait for.
            tokio::time::resume();
            let provoked = keyed(code, base).await;
            tokio::time::pause();
            provoked
        }
        ErrorCode::StoreUnavailable => {
            let app = base.with_broken_store().start().await;
            let answer = app.send(put(CALL, "", &[("idempotency-key", "k")])).await;
            (app, answer)
        }
        ErrorCode::PreconditionRequired => {
            let app = base.with_env("GATEWAY__WRITES__REQUIRE_IF_MATCH", "true").start().await;
            let answer = app.send(put(CALL, "", &[])).await;
            (app, answer)
        }
        ErrorCode::ShuttingDown => {
            let app = base.start().await;
            app.service().shutdown().begin(Duration::from_secs(1));
            let answer = app.send(put(CALL, "", &[])).await;
            (app, answer)
        }
        other => panic!("nothing here provokes `{}`", other.as_str()),
    }
}

/// The second of two requests with the same key.
async fn keyed(code: ErrorCode, base: Builder) -> (TestApp, Answer) {
    let headers = [("idempotency-key", "k"), ("prefer", "wait=1")];
    if code == ErrorCode::OperationInProgress {
        let app = base.with_lag(ms(1_500)).start().await;
        let first = put(CALL, "", &headers[..1]);
        let first = tokio::spawn(send(app.router(), first));
        tokio::time::sleep(ms(100)).await;
        let answer = app.send(put(CALL, "", &headers)).await;
        first.await.expect("it does not panic").assert_status(200);
        return (app, answer);
    }
    let app = base.start().await;
    let mut first = put(CALL, "", &headers);
    *first.body_mut() = json!({"attributes": {"tier": "silver"}}).to_string().into();
    app.send(first).await.assert_status(200);
    let answer = app.send(put(CALL, "", &headers)).await;
    (app, answer)
}

async fn unrecorded(base: Builder) -> (TestApp, Answer) {
    let records = MemoryOutput::default();
    records.fill(true);
    let app = base.recorded_in(&records).start().await;
    let answer = app.send(put(CALL, "", &[])).await;
    (app, answer)
}

/// Rights, and a key, with which a write is refused with this code.
fn rights_without(code: ErrorCode) -> Option<(&'static str, &'static str)> {
    Some(match code {
        ErrorCode::Unauthenticated => ("", "another"),
        ErrorCode::AttributeNotAllowed => ("deny = [\"*\"]", "k"),
        ErrorCode::ParticipantNotAllowed => ("participants = [\"agent\"]", "k"),
        ErrorCode::ReadOnlyClient => ("access = \"read\"", "k"),
        ErrorCode::ClientRateLimited => ("requests_per_minute = 1", "k"),
        _ => return None,
    })
}

async fn refused(code: ErrorCode, base: Builder, key: &str) -> (TestApp, Answer) {
    let app = base.start().await;
    if code == ErrorCode::ClientRateLimited {
        let nowhere = request("GET", "/v1/nothing").header("x-api-key", key);
        app.send(nowhere.body(Body::empty()).expect("a request")).await.assert_status(404);
    }
    let answer = app.send(put(CALL, "", &[shown(key)])).await;
    (app, answer)
}

const TWO_AGENTS: &str = "5eed0000-0000-4000-8000-000000000002";

fn put(conversation: &str, query: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let path = format!("{}{query}", attributes_of(conversation));
    let request = request("PUT", &path).header("content-type", "application/json");
    let add = |request: http::request::Builder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    let request = headers.iter().fold(request, add);
    request.body(json!({"attributes": {"a": CANARY}}).to_string().into()).expect("a request")
}

fn put_body(conversation: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = put(conversation, "", &[]);
    *request.body_mut() = body.into();
    request
}

/// A body that begins and never ends.
pub fn endless() -> Body {
    let end = std::future::pending::<Option<Result<HeaderMap, std::convert::Infallible>>>();
    Body::new(Full::from("{").with_trailers(end))
}

#[tokio::test(start_paused = true)]
async fn every_error_code_can_be_provoked_and_is_complete() {
    assert_eq!(ROWS.map(|row| row.0), ErrorCode::ALL, "a row for each code, in the same order");
    for (code, status, effect, retry_after) in ROWS {
        let (app, answer) = provoke(code, TestApp::new()).await;
        answer.assert_problem(status, code.as_str(), effect);
        let problem = answer.json();
        let hint = problem["hint"].as_str().unwrap_or_default();
        assert!(hint == code.hint() || (hint.len() > 40 && hint.ends_with('.')), "{hint}");
        assert_eq!(problem["title"], code.title());
        assert_eq!(problem["retryable"], code.retryable(), "{}", code.as_str());
        assert_eq!(problem["retryAfterSeconds"], json!(retry_after), "{}", code.as_str());
        let header = retry_after.map(|seconds| seconds.to_string()).unwrap_or_default();
        assert_eq!(answer.header("retry-after"), header, "{}", code.as_str());
        let answered = app.simulator.calls().into_iter().any(|call| {
            call.conversation.is_some()
                && matches!(call.answer, genesys_simulator::RequestOutcome::Status(_))
        });
        // The page in the place of an answer has no such header, and the calls of the write that
        // was not refused are not of this request.
        let none = matches!(
            code,
            ErrorCode::UpstreamInvalidResponse
                | ErrorCode::Overloaded
                | ErrorCode::IdempotencyKeyReused
                | ErrorCode::OperationInProgress
        );
        let problem_of = answered && !none;
        assert_eq!(problem["correlationId"].is_string(), problem_of, "{}", code.as_str());
        let there = app.truth(CUSTOMER).contains_key("a");
        let applied = matches!(
            code,
            ErrorCode::WriteSuperseded | ErrorCode::Overloaded | ErrorCode::OperationInProgress
        );
        assert_eq!(there, applied, "the effect of `{}` is true", code.as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn every_problem_names_a_page_that_explains_it() {
    let app = TestApp::new().start().await;
    for (code, status, ..) in ROWS {
        let page = app.get(&format!("/problems/{}", code.as_str())).await;
        page.assert_status(200);
        assert!(page.header("content-type").starts_with("text/plain"));
        for part in [code.title(), code.hint(), code.as_str(), &status.to_string()] {
            assert!(page.text.contains(part), "no `{part}` in {}", page.text);
        }
    }
    app.get("/problems/no-such-code").await.assert_problem(404, "not-found", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn the_members_of_a_problem_tell_what_its_code_is_about() {
    let problem_of = async |code| provoke(code, TestApp::new()).await.1.json();
    let ambiguous = problem_of(ErrorCode::AmbiguousParticipant).await;
    let candidate = |id: &str| json!({"id": id, "purpose": "agent", "state": "connected"});
    let candidates = [
        candidate("a0000000-0000-4000-8000-000000000021"),
        candidate("a0000000-0000-4000-8000-000000000022"),
    ];
    assert_eq!(ambiguous["candidates"], json!(candidates));
    let unknown = problem_of(ErrorCode::ParticipantNotFound).await;
    assert_eq!(unknown["purposes"], json!(["customer", "ivr", "agent"]));
    let large = problem_of(ErrorCode::AttributesTooLarge).await;
    let before = r#"{"language":"en","source":"web","tier":"silver"}"#.len();
    let value = CANARY.len() + 10_240;
    assert_eq!(large["bytes"], before + r#","a":"""#.len() + value);
    assert_eq!(large["limitBytes"], 10_240);
    assert_eq!(large["largest"][0], json!({"key": "a", "bytes": value + 6}));
    let rejected = problem_of(ErrorCode::UpstreamRejected).await;
    assert_eq!(rejected["upstream"]["status"], 400);
    assert_eq!(rejected["upstream"]["code"], "invalid.value");
    assert_eq!(rejected["upstream"]["message"], Value::Null, "it repeats a value");
    let forbidden = problem_of(ErrorCode::UpstreamForbidden).await;
    let sentence = "the OAuth client may not do this; \
                    it needs the permission `conversation:communication:view`";
    assert_eq!(forbidden["detail"], sentence);
    let superseded = problem_of(ErrorCode::WriteSuperseded).await;
    assert_eq!(superseded["outcomes"], json!({"a": "superseded"}));
    assert_eq!(superseded["attributes"]["a"], "canary-foreign");
    assert_eq!(superseded["verification"]["status"], "superseded");
    assert_eq!(superseded["conversationId"], CALL);
    assert_ne!(superseded["upstreamCalls"], Value::Null);
}
