//! Every code of the catalogue, provoked through the whole service.

use std::time::Duration;

use attribute_gateway::audit::Captured;
use attribute_gateway::error::Code;
use attribute_gateway::simulator::{Action, Call, Fault};
use attribute_gateway::telemetry::AccessLog;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::harness::{
    Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, client, defective, ms, request, send,
    shown,
};

/// The value that the provoking writes carry; nothing but `attributes` may ever show it.
pub const CANARY: &str = "canary-sent-2f7c";

/// Code, status, effect, and `Retry-After`.
pub type Row = (Code, u16, &'static str, Option<u64>);

/// What each code has to look like when [`provoke`] has provoked it.
pub const ROWS: [Row; 38] = [
    (Code::InvalidConversationId, 400, "notApplied", None),
    (Code::InvalidParticipant, 400, "notApplied", None),
    (Code::InvalidJson, 400, "notApplied", None),
    (Code::InvalidQuery, 400, "notApplied", None),
    (Code::InvalidHeader, 400, "notApplied", None),
    (Code::Unauthenticated, 401, "notApplied", None),
    (Code::AttributeNotAllowed, 403, "notApplied", None),
    (Code::ParticipantNotAllowed, 403, "notApplied", None),
    (Code::ReadOnlyClient, 403, "notApplied", None),
    (Code::NotFound, 404, "notApplied", None),
    (Code::ConversationNotFound, 404, "notApplied", None),
    (Code::ParticipantNotFound, 404, "notApplied", None),
    (Code::AttributeNotFound, 404, "notApplied", None),
    (Code::MethodNotAllowed, 405, "notApplied", None),
    (Code::NotAcceptable, 406, "notApplied", None),
    (Code::RequestTimeout, 408, "notApplied", None),
    (Code::AmbiguousParticipant, 409, "notApplied", None),
    (Code::ConversationEnded, 409, "notApplied", None),
    (Code::WriteSuperseded, 409, "applied", None),
    (Code::UpstreamConflict, 409, "notApplied", None),
    (Code::PreconditionFailed, 412, "notApplied", None),
    (Code::BodyTooLarge, 413, "notApplied", None),
    (Code::UnsupportedMediaType, 415, "notApplied", None),
    (Code::InvalidAttributes, 422, "notApplied", None),
    (Code::AttributesTooLarge, 422, "notApplied", None),
    (Code::PreconditionRequired, 428, "notApplied", None),
    (Code::ClientRateLimited, 429, "notApplied", Some(60)),
    (Code::Internal, 500, "notApplied", None),
    (Code::UpstreamRejected, 502, "notApplied", None),
    (Code::UpstreamForbidden, 502, "notApplied", None),
    (Code::UpstreamAuthFailed, 502, "notApplied", None),
    (Code::UpstreamInvalidResponse, 502, "notApplied", None),
    (Code::UpstreamRateLimited, 503, "notApplied", Some(30)),
    (Code::UpstreamUnavailable, 503, "notApplied", Some(1)),
    (Code::Overloaded, 503, "notApplied", Some(1)),
    (Code::AuditUnavailable, 503, "notApplied", Some(1)),
    (Code::ShuttingDown, 503, "notApplied", Some(1)),
    (Code::DeadlineExceeded, 504, "unknown", None),
];

/// Makes the service answer with this code. `base` is the platform and the call behind it.
pub async fn provoke(code: Code, base: Builder) -> (TestApp, Answer) {
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

/// A request that is answered with this code whatever the platform does.
fn mistake(code: Code) -> Option<Request<Body>> {
    let ended = "e0000000-0000-4000-8000-000000000009";
    let large = json!({"attributes": {"a": format!("{CANARY}{}", "x".repeat(10_240))}});
    Some(match code {
        Code::InvalidConversationId => put("nope", "", &[]),
        Code::InvalidParticipant => put(CALL, "?participant=a%20b", &[]),
        Code::InvalidJson => put_body(CALL, format!(r#"{{"attributes":{{"a":"{CANARY}""#)),
        Code::InvalidQuery => put(CALL, "?x=1", &[]),
        Code::InvalidHeader => put(CALL, "", &[("if-match", "unquoted")]),
        Code::PreconditionFailed => put(CALL, "", &[("if-match", "\"x\"")]),
        Code::NotFound => request("GET", "/v1/nothing").body(Body::empty()).expect("a request"),
        Code::ConversationNotFound => put(ended, "", &[]),
        Code::ParticipantNotFound => put(CALL, "?participant=supervisor", &[]),
        Code::AttributeNotFound => {
            let path = format!("{}/nothing", attributes_of(CALL));
            request("GET", &path).body(Body::empty()).expect("a request")
        }
        Code::MethodNotAllowed => {
            request("DELETE", &attributes_of(CALL)).body(Body::empty()).expect("a request")
        }
        Code::NotAcceptable => put(CALL, "", &[("accept", "text/html")]),
        Code::RequestTimeout => put_body(CALL, endless()),
        Code::BodyTooLarge => put_body(CALL, CANARY.repeat(10_000)),
        Code::UnsupportedMediaType => put(CALL, "", &[("content-encoding", "gzip")]),
        Code::InvalidAttributes => {
            put_body(CALL, format!(r#"{{"attributes":{{"a":"{CANARY}","b":["{CANARY}"]}}}}"#))
        }
        Code::AttributesTooLarge => put_body(CALL, large.to_string()),
        _ => return None,
    })
}

/// What upstream has to do to a sound write for this code.
fn trouble(code: Code) -> Option<Fault> {
    let status = |code| Action::Status { code, body: None, retry_after: None };
    let other = [("a".to_owned(), Some("canary-foreign".to_owned()))];
    let foreign = Action::ForeignWriteAfter { participant: None, map: other.into() };
    Some(match code {
        Code::WriteSuperseded => Fault::on_patch(foreign),
        Code::UpstreamConflict => Fault::on_patch(status(409)).always(),
        Code::UpstreamRejected => Fault::on_patch(Action::EchoRejection),
        Code::UpstreamForbidden => Fault::on_patch(status(403)),
        Code::UpstreamAuthFailed => Fault::on_read(Action::Unauthorized).always(),
        Code::UpstreamInvalidResponse => Fault::on_read(Action::Html),
        Code::UpstreamRateLimited => Fault::on_patch(Action::Throttle { retry_after: Some(30) }),
        Code::UpstreamUnavailable => Fault::on_read(status(503)).always(),
        Code::DeadlineExceeded => Fault::on_patch(Action::Hang).always(),
        Code::ConversationEnded => Fault::on_read(Action::EndConversation),
        _ => return None,
    })
}

/// What takes more than one request or fault.
async fn special(code: Code, base: Builder) -> (TestApp, Answer) {
    match code {
        Code::AmbiguousParticipant => {
            let two = Call::new(TWO_AGENTS)
                .agent("a0000000-0000-4000-8000-000000000021", [("a", CANARY)])
                .agent("a0000000-0000-4000-8000-000000000022", [("a", CANARY)]);
            let app = base.with_call(two).start().await;
            let answer = app.send(put(TWO_AGENTS, "?participant=agent", &[])).await;
            (app, answer)
        }
        Code::Internal => {
            let app = base.start().await;
            let access = AccessLog::disabled();
            let answer = send(defective(CANARY, &access), put(CALL, "", &[])).await;
            (app, answer)
        }
        Code::Overloaded => {
            let app = base.with_env("GATEWAY__LIMITS__WAITING", "1").start().await;
            let first = tokio::spawn(send(app.router(), put(CALL, "", &[])));
            tokio::time::sleep(ms(1)).await;
            let answer = app.send(put(CALL, "", &[])).await;
            first.await.expect("it does not panic").assert_status(200);
            (app, answer)
        }
        Code::AuditUnavailable => unrecorded(base).await,
        Code::PreconditionRequired => {
            let app = base.with_env("GATEWAY__WRITES__REQUIRE_IF_MATCH", "true").start().await;
            let answer = app.send(put(CALL, "", &[])).await;
            (app, answer)
        }
        Code::ShuttingDown => {
            let app = base.start().await;
            app.service().shutdown().begin(Duration::from_secs(1));
            let answer = app.send(put(CALL, "", &[])).await;
            (app, answer)
        }
        other => panic!("nothing here provokes `{}`", other.as_str()),
    }
}

async fn unrecorded(base: Builder) -> (TestApp, Answer) {
    let records = Captured::default();
    records.fill(true);
    let app = base.recorded_in(&records).start().await;
    let answer = app.send(put(CALL, "", &[])).await;
    (app, answer)
}

/// Rights, and a key, with which a write is refused with this code.
fn rights_without(code: Code) -> Option<(&'static str, &'static str)> {
    Some(match code {
        Code::Unauthenticated => ("", "another"),
        Code::AttributeNotAllowed => ("deny = [\"*\"]", "k"),
        Code::ParticipantNotAllowed => ("participants = [\"agent\"]", "k"),
        Code::ReadOnlyClient => ("access = \"read\"", "k"),
        Code::ClientRateLimited => ("requests_per_minute = 1", "k"),
        _ => return None,
    })
}

async fn refused(code: Code, base: Builder, key: &str) -> (TestApp, Answer) {
    let app = base.start().await;
    if code == Code::ClientRateLimited {
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
async fn every_code_of_the_catalogue_can_be_provoked_and_is_told_in_full() {
    assert_eq!(ROWS.map(|row| row.0), Code::ALL, "a row for each code, in the same order");
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
                && matches!(call.answer, attribute_gateway::simulator::Answer::Status(_))
        });
        // The page in the place of an answer has no such header, and the calls of the write that
        // was not refused are not of this request.
        let none = matches!(code, Code::UpstreamInvalidResponse | Code::Overloaded);
        let told = answered && !none;
        assert_eq!(problem["correlationId"].is_string(), told, "{}", code.as_str());
        let there = app.truth(CUSTOMER).contains_key("a");
        let applied = matches!(code, Code::WriteSuperseded | Code::Overloaded);
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
    let told = async |code| provoke(code, TestApp::new()).await.1.json();
    let ambiguous = told(Code::AmbiguousParticipant).await;
    let candidate = |id: &str| json!({"id": id, "purpose": "agent", "state": "connected"});
    let candidates = [
        candidate("a0000000-0000-4000-8000-000000000021"),
        candidate("a0000000-0000-4000-8000-000000000022"),
    ];
    assert_eq!(ambiguous["candidates"], json!(candidates));
    let unknown = told(Code::ParticipantNotFound).await;
    assert_eq!(unknown["purposes"], json!(["customer", "ivr", "agent"]));
    let large = told(Code::AttributesTooLarge).await;
    let before = r#"{"language":"en","source":"web","tier":"silver"}"#.len();
    let value = CANARY.len() + 10_240;
    assert_eq!(large["bytes"], before + r#","a":"""#.len() + value);
    assert_eq!(large["limitBytes"], 10_240);
    assert_eq!(large["largest"][0], json!({"key": "a", "bytes": value + 6}));
    let rejected = told(Code::UpstreamRejected).await;
    assert_eq!(rejected["upstream"]["status"], 400);
    assert_eq!(rejected["upstream"]["code"], "invalid.value");
    assert_eq!(rejected["upstream"]["message"], "Invalid attribute values: a=[value removed]");
    let forbidden = told(Code::UpstreamForbidden).await;
    let sentence = "the OAuth client may not do this; \
                    it needs the permission `conversation:communication:view`";
    assert_eq!(forbidden["detail"], sentence);
    let superseded = told(Code::WriteSuperseded).await;
    assert_eq!(superseded["outcomes"], json!({"a": "superseded"}));
    assert_eq!(superseded["attributes"]["a"], "canary-foreign");
    assert_eq!(superseded["verification"]["status"], "superseded");
    assert_eq!(superseded["conversationId"], CALL);
    assert_ne!(superseded["upstreamCalls"], Value::Null);
}
