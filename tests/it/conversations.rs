//! One conversation as a whole: its participants, and the words that select them.

use genesys_simulator::{FaultAction, NO_ATTRIBUTES, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{AGENT, CALL, CUSTOMER, IVR, TestApp, ms};

const OTHER: &str = "5eed0000-0000-4000-8000-000000000002";
const FIRST: &str = "b0000000-0000-4000-8000-000000000001";
const SECOND: &str = "b0000000-0000-4000-8000-000000000002";

fn of(conversation: &str) -> String {
    format!("/v1/conversations/{conversation}")
}

#[tokio::test(start_paused = true)]
async fn a_live_call_is_shown_in_one_call_with_a_row_a_participant() {
    let app = TestApp::new().start().await;
    let answer = app.get(&of(CALL)).await;
    answer.assert_status(200);
    assert_eq!((answer.took, app.order().as_str()), (ms(20), "R"));
    assert_eq!(answer.header("cache-control"), "no-store");
    let seen = answer.json();
    assert_eq!((&seen["conversationId"], &seen["state"]), (&json!(CALL), &json!("live")));
    assert_eq!(seen["endTime"], Value::Null);
    assert!(seen["startTime"].as_str().is_some_and(|time| time.ends_with('Z')), "{seen:#}");
    let ids: Vec<_> = (0..3).map(|n| seen["participants"][n]["id"].clone()).collect();
    assert_eq!(ids, [CUSTOMER, IVR, AGENT]);
    let customer = &seen["participants"][0];
    assert_eq!((&customer["attributeCount"], &customer["state"]), (&json!(3), &json!("connected")));
    assert_eq!((&customer["startTime"], &customer["endTime"]), (&seen["startTime"], &Value::Null));
    let words = json!(["customer", "first", "customer:first", "customer:last"]);
    assert_eq!(customer["selectors"], words);
    let ivr = &seen["participants"][1];
    assert_eq!((ivr["state"].clone(), ivr["endTime"].is_string()), (json!("terminated"), true));
    assert!(!answer.text.contains("silver"), "no values: {}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn every_word_that_is_told_reads_and_writes_that_participant() {
    let call = SimulatedCall::new(OTHER)
        .external(FIRST, [("a", "1")])
        .agent(SECOND, NO_ATTRIBUTES)
        .participant("Agent", AGENT, "alerting", NO_ATTRIBUTES)
        .participant("voice mail", CUSTOMER, "connected", NO_ATTRIBUTES);
    let app = TestApp::new().without_calls().with_call(call).start().await;
    let seen = app.get(&of(OTHER)).await.json();
    let mut words = 0;
    for participant in seen["participants"].as_array().expect("a list") {
        for word in participant["selectors"].as_array().expect("a list") {
            let query = format!("?participant={}", word.as_str().expect("a word"));
            let read = app.read(OTHER, &query).await;
            assert_eq!(read.assert_status(200).at("/participant/id"), participant["id"], "{word}");
            let wrote = app.write(OTHER, &format!("{query}&dryRun=true"), json!({"a": "2"})).await;
            assert_eq!(wrote.assert_status(200).at("/participant/id"), participant["id"], "{word}");
            words += 1;
        }
    }
    assert_eq!(seen["participants"][1]["selectors"], json!(["agent:first"]));
    assert_eq!(seen["participants"][2]["selectors"], json!(["agent:last"]));
    assert_eq!(seen["participants"][3]["selectors"], json!([]));
    assert_eq!(words, 3 + 1 + 2 + 2 + 1 + 1 - 1, "{seen:#}");
}

#[tokio::test(start_paused = true)]
async fn an_ended_call_shows_its_end_time() {
    let app = TestApp::new().start().await;
    app.simulator.end_conversation(CALL);
    let seen = app.get(&of(CALL)).await.json();
    assert_eq!((&seen["state"], seen["endTime"].is_string()), (&json!("ended"), true));
    let app = TestApp::new().with_env("GATEWAY__GENESYS__ROUTE", "calls").start().await;
    let seen = app.get(&of(CALL)).await.json();
    assert_eq!((&seen["state"], &seen["startTime"]), (&json!("live"), &Value::Null));
    assert_eq!(seen["participants"][0]["state"], "connected");
}

#[tokio::test(start_paused = true)]
async fn conversation_views_share_reads_with_attribute_reads() {
    let app = TestApp::new().start().await;
    let path = of(CALL);
    let (one, two, three) = tokio::join!(app.get(&path), app.get(&path), app.read(CALL, ""));
    assert_eq!([one.status, two.status, three.status], [200; 3]);
    assert_eq!(app.order(), "R");
}

#[tokio::test(start_paused = true)]
async fn mistakes_and_failures_are_told_as_everywhere() {
    let app = TestApp::new().start().await;
    app.get("/v1/conversations/nope").await.assert_problem(
        400,
        "invalid-conversation-id",
        "notApplied",
    );
    let answer = app.get(&format!("{}?formt=text", of(CALL))).await;
    answer.assert_problem(400, "invalid-query", "notApplied");
    assert!(answer.at("/detail").to_string().contains("did you mean `format`?"));
    let answer = app.get(&format!("{}?format=html", of(CALL))).await;
    answer.assert_problem(400, "invalid-query", "notApplied");
    app.get_as("text/html", &of(CALL)).await.assert_problem(406, "not-acceptable", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
    app.get(&of(OTHER)).await.assert_problem(404, "conversation-not-found", "notApplied");
    let status = FaultAction::Status { code: 503, body: None, retry_after: None };
    let app = TestApp::new()
        .with_fault(ScriptedFault::on_read(status).always())
        .allowing_leftovers()
        .start()
        .await;
    app.get(&of(CALL)).await.assert_problem(503, "upstream-unavailable", "notApplied");
}
