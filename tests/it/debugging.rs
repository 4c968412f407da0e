//! The debug aids: the echo, and the trace of a conversation.

use axum::body::Body;
use genesys_simulator::{FaultAction, ScriptedFault};
use serde_json::{Value, json};

use crate::harness::{Answer, Builder, CALL, TestApp, attributes_of, ms, request};

const ECHO: &str = "/v1/debug/echo";
const OTHER: &str = "5eed0000-0000-4000-8000-00000000dead";

fn debugging() -> Builder {
    TestApp::new().with_env("GATEWAY__DEBUG__ENABLED", "true")
}

fn trace_of(conversation: &str) -> String {
    format!("/v1/conversations/{conversation}/trace")
}

async fn echo(app: &TestApp, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut echo = request("POST", &format!("{ECHO}{query}"));
    for (name, value) in headers {
        echo = echo.header(*name, *value);
    }
    app.send(echo.body(Body::from(body.to_vec())).expect("a request")).await
}

/// The members of each attempt that do not vary, in order.
fn attempts(request: &Value) -> Vec<(String, Value, f64, f64, Value)> {
    let number = |attempt: &Value, name: &str| attempt[name].as_f64().unwrap_or(-1.0);
    let attempts = request["attempts"].as_array().expect("a list").iter();
    attempts
        .map(|attempt| {
            let ending =
                if attempt["status"].is_null() { &attempt["failure"] } else { &attempt["status"] };
            let operation = attempt["operation"].as_str().expect("a word").to_owned();
            let correlation = attempt["correlationId"].is_string().into();
            let (wait, took) = (number(attempt, "waitMs"), number(attempt, "tookMs"));
            (operation, ending.clone(), wait, took, correlation)
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn without_being_enabled_the_aids_are_like_any_unknown_path() {
    let app = TestApp::new().start().await;
    app.read(CALL, "").await.assert_status(200);
    echo(&app, "", &[], b"{}").await.assert_problem(404, "not-found", "notApplied");
    app.get(ECHO).await.assert_problem(404, "not-found", "notApplied");
    app.get(&trace_of(CALL)).await.assert_problem(404, "not-found", "notApplied");
    let unknown = app.get("/v1/nothing").await;
    let known = app.get(&trace_of(CALL)).await;
    assert!(unknown.headers.keys().eq(known.headers.keys()), "{:?}", known.headers);
}

#[tokio::test(start_paused = true)]
async fn an_echo_shows_the_values_of_harmless_headers_alone() {
    let app = debugging().start().await;
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer canary"),
        ("cookie", "canary"),
        ("x-api-key", "canary"),
        ("x-two", "canary"),
        ("x-two", "canary2"),
        ("referer", "https://me:canary@crm.example/"),
        ("user-agent", "flow/1"),
    ];
    let query = "?participant=a%20b&access_token=canary&key=canary&%zz=canary&d";
    let answer = echo(&app, query, &headers, br#"{"pin":"canary"}"#).await;
    answer.assert_status(200);
    assert!(!answer.text.contains("canary"), "{}", answer.text);
    assert_eq!((answer.at("/method"), answer.at("/path")), (json!("POST"), json!(ECHO)));
    let pairs = |at: &str| {
        let all: Vec<_> = answer.at(at).as_array().expect("a list").clone();
        let member = |pair: &Value, name: &str| pair.get(name).cloned().unwrap_or_default();
        all.iter().map(|pair| json!([pair["name"], pair["bytes"], member(pair, "value")])).collect()
    };
    let query: Vec<Value> = pairs("/query");
    let expected = [
        json!(["participant", 3, "a b"]),
        json!(["access_token", 6, null]),
        json!(["key", 6, null]),
        json!(["%zz", 6, null]),
        json!(["d", 0, null]),
    ];
    assert_eq!(query, expected);
    let shown: Vec<Value> = pairs("/headers");
    let expected = headers.map(|(name, value)| match name {
        "content-type" | "user-agent" => json!([name, value.len(), value]),
        _ => json!([name, value.len(), null]),
    });
    assert_eq!(shown, expected);
}

#[tokio::test(start_paused = true)]
async fn an_echo_shows_the_structure_of_a_body_without_values() {
    let app = debugging().start().await;
    let body = r#"{"attributes":{"tier":"canary","tier":1,"o":{"p":["canary"]}},"pin":"canary"}"#;
    let answer = echo(&app, "", &[], body.as_bytes()).await;
    answer.assert_status(200);
    let members = [
        "#: an object",
        "#/attributes: an object",
        "#/attributes/tier: a string, 6 bytes",
        "#/attributes/tier: a number",
        "#/attributes/o: an object",
        "#/attributes/o/p: an array",
        "#/pin: a string, 6 bytes",
    ];
    assert_eq!(answer.at("/body"), json!({"bytes": body.len(), "members": members}));
}

#[tokio::test(start_paused = true)]
async fn an_echo_says_why_a_body_is_not_json_and_quotes_nothing() {
    let app = debugging().with_env("GATEWAY__LIMITS__BODY_BYTES", "1 KiB").start().await;
    for (declared, body, error) in [
        ("application/json", "{\"a\": ${input.canary}}", "#/a: expected value at line 1 column 7"),
        ("application/json", "", "#: the body is empty"),
        ("application/xml", "<password>canary</password>", "#: expected value at line 1 column 1"),
        ("text/plain", "canary", "#: expected value at line 1 column 1"),
    ] {
        let answer = echo(&app, "", &[("content-type", declared)], body.as_bytes()).await;
        answer.assert_status(200);
        let expected = json!({"bytes": body.len(), "members": [], "jsonError": error});
        assert_eq!(answer.at("/body"), expected);
    }
    let bytes = echo(&app, "", &[], &[0xff, 0xfe]).await;
    assert_eq!(bytes.at("/body/jsonError"), "#: the body is in UTF-16; send it as UTF-8");
    let large = echo(&app, "", &[], &[b' '; 1025]).await;
    large.assert_problem(413, "body-too-large", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_trace_tells_who_did_what_with_each_call_and_no_value() {
    let app = debugging()
        .with_fault(ScriptedFault::on_patch(FaultAction::Throttle { retry_after: Some(1) }));
    let app = app.start().await;
    let headers = [("user-agent", "flow/1"), ("x-request-id", "crm-1")];
    let body = json!({"attributes": {"tier": "canary-value", "language": "en"}}).to_string();
    app.put(&attributes_of(CALL), &headers, body).await.assert_status(200);
    app.read(CALL, "?keys=tier,nothing").await.assert_status(200);
    app.read(OTHER, "").await.assert_status(404);

    let trace = app.get(&trace_of(CALL)).await;
    trace.assert_status(200);
    assert!(!trace.text.contains("canary-value"), "{}", trace.text);
    assert_eq!(trace.at("/requests").as_array().map(Vec::len), Some(2));
    let read = trace.at("/requests/0");
    assert_eq!((&read["method"], &read["keys"]), (&json!("GET"), &json!(["tier", "nothing"])));
    let write = trace.at("/requests/1");
    assert_eq!(write["requestId"], "crm-1");
    assert_eq!(write["caller"], json!({"userAgent": "flow/1"}));
    assert!(write["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')));
    assert_eq!((&write["status"], &write["effect"]), (&json!(200), &json!("applied")));
    assert_eq!(write["keys"], json!(["language", "tier"]));
    assert_eq!(write["outcomes"], json!({"language": "unchanged", "tier": "verified"}));
    assert_eq!(write["upstreamCalls"], attempts(&write).len());
    let steps = attempts(&write);
    let expected = [
        ("read".to_owned(), json!(200), 0.0, 20.0, json!(true)),
        ("patch".to_owned(), json!(429), 0.0, 20.0, json!(true)),
        ("patch".to_owned(), json!(202), 1000.0, 20.0, json!(true)),
    ];
    assert_eq!(steps[..3], expected);
    assert!(steps[3..].iter().all(|step| step.0 == "read" && step.1 == json!(200)));
    assert_eq!(write["attempts"][2]["atMs"], 1040.0);

    let other = app.get(&trace_of(OTHER)).await;
    let only = other.at("/requests/0");
    assert_eq!((&only["status"], &only["code"]), (&json!(404), &json!("conversation-not-found")));
    let again = app.get(&trace_of(CALL)).await;
    assert_eq!(again.at("/requests").as_array().map(Vec::len), Some(2), "a look is not kept");
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_call_is_in_the_trace_of_its_write() {
    let app = debugging().with_fault(ScriptedFault::on_patch(FaultAction::Hang).always());
    let app = app.allowing_leftovers().start().await;
    let headers = [("prefer", "wait=1")];
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    app.put(&attributes_of(CALL), &headers, body).await.assert_status(504);
    tokio::time::sleep(ms(100)).await;
    let write = app.get(&trace_of(CALL)).await.at("/requests/0");
    assert_eq!((&write["effect"], &write["outcomes"]), (&json!("unknown"), &json!({})));
    let steps = attempts(&write);
    assert_eq!((&steps[1].0[..], &steps[1].1), ("patch", &json!("timeout")));
    assert_eq!(steps[1].4, json!(false));
}

#[tokio::test(start_paused = true)]
async fn what_a_write_does_after_its_caller_hung_up_is_in_its_trace() {
    let app = debugging().start().await;
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let path = attributes_of(CALL);
    let write = app.put(&path, &[], body);
    assert!(tokio::time::timeout(ms(30), write).await.is_err(), "the caller hangs up");
    let then = app.get(&trace_of(CALL)).await.at("/requests/0");
    assert_eq!((&then["status"], &then["outcomes"]), (&json!(499), &json!({})));
    tokio::time::sleep(ms(1000)).await;
    let now = app.get(&trace_of(CALL)).await.at("/requests/0");
    assert_eq!(now["outcomes"], json!({"tier": "verified"}));
    assert!(attempts(&now).iter().any(|step| step.0 == "patch" && step.1 == json!(202)));
}

#[tokio::test(start_paused = true)]
async fn a_shared_call_is_in_the_trace_of_each_who_shared_it() {
    let app = debugging().start().await;
    let (first, second) = tokio::join!(app.read(CALL, ""), app.read(CALL, "?key=tier"));
    first.assert_status(200);
    second.assert_status(200);
    assert_eq!(app.upstream_calls(), 1);
    let trace = app.get(&trace_of(CALL)).await;
    let ids = ["/requests/0", "/requests/1"]
        .map(|request| trace.at(&format!("{request}/attempts/0/correlationId")));
    assert!(ids[0].is_string());
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_bounded_in_requests_and_bytes() {
    let app = debugging().start().await;
    let (method, path) = ("M".repeat(500), attributes_of(CALL));
    for _ in 0..103 {
        app.ask((&method, &path), &[], "").await.assert_status(405);
    }
    let trace = app.get(&trace_of(CALL)).await;
    assert_eq!(trace.at("/requests").as_array().map(Vec::len), Some(100));
    assert_eq!(trace.at("/requestsLeftOut"), 3);
    assert_eq!(trace.at("/requests/0/method"), "M".repeat(32));
    assert!(!app.logs.text().contains(&"M".repeat(33)));
}

#[tokio::test(start_paused = true)]
async fn a_trace_of_what_is_no_conversation_is_refused() {
    let app = debugging().start().await;
    app.get(&trace_of("nope")).await.assert_problem(400, "invalid-conversation-id", "notApplied");
    let query = format!("{}?limit=1", trace_of(CALL));
    app.get(&query).await.assert_problem(400, "invalid-query", "notApplied");
    assert_eq!(app.get(&trace_of(OTHER)).await.at("/requests"), json!([]));
}
