//! Reading: which participant is meant, and what is shown of it.

use genesys_simulator::{NO_ATTRIBUTES, RequestKind, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{AGENT, CALL, CUSTOMER, IVR, TestApp, ms};

/// A call in addition to the usual one.
const OTHER: &str = "5eed0000-0000-4000-8000-000000000002";
const FIRST: &str = "b0000000-0000-4000-8000-000000000001";
const SECOND: &str = "b0000000-0000-4000-8000-000000000002";
const THIRD: &str = "b0000000-0000-4000-8000-000000000003";

/// A service that knows this call alone.
async fn over(call: SimulatedCall) -> TestApp {
    TestApp::new().without_calls().with_call(call).start().await
}

/// Id of the chosen participant, and the rule that chose it.
async fn chosen(app: &TestApp, query: &str) -> (Value, Value) {
    let answer = app.read(OTHER, query).await;
    answer.assert_status(200);
    (answer.at("/participant/id"), answer.at("/participant/chosenBy"))
}

#[tokio::test(start_paused = true)]
async fn a_read_shows_the_customer_in_one_call() {
    let app = TestApp::new().start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_status(200);
    let map = json!({"language": "en", "source": "web", "tier": "silver"});
    let expected = json!({
        "conversationId": CALL,
        "participant": {
            "id": CUSTOMER, "purpose": "customer", "state": "connected", "chosenBy": "purpose"
        },
        "attributes": map,
        "size": {"bytes": map.to_string().len(), "limitBytes": 10_240},
    });
    assert_eq!(answer.json(), expected);
    assert_eq!((answer.took, app.order().as_str()), (ms(20), "R"));
}

#[tokio::test(start_paused = true)]
async fn the_customer_is_the_caller_also_before_it_reaches_a_queue() {
    let call = SimulatedCall::new(OTHER).ivr(FIRST, NO_ATTRIBUTES).external(SECOND, [("a", "1")]);
    let app = over(call).await;
    assert_eq!(chosen(&app, "").await, (json!(SECOND), json!("external")));
    // Once both are there, the true customer wins.
    let call =
        SimulatedCall::new(OTHER).external(FIRST, NO_ATTRIBUTES).customer(SECOND, NO_ATTRIBUTES);
    let app = over(call).await;
    assert_eq!(chosen(&app, "").await, (json!(SECOND), json!("purpose")));
}

#[tokio::test(start_paused = true)]
async fn without_a_customer_reads_take_the_first_participant() {
    let app =
        over(SimulatedCall::new(OTHER).agent(FIRST, [("a", "1")]).ivr(SECOND, NO_ATTRIBUTES)).await;
    assert_eq!(chosen(&app, "").await, (json!(FIRST), json!("first")));
    let answer = app.write(OTHER, "", json!({"a": "2"})).await;
    answer.assert_problem(404, "participant-not-found", "notApplied");
    assert_eq!(answer.at("/purposes"), json!(["agent", "ivr"]));
    let detail = answer.at("/detail").to_string();
    assert!(detail.contains("participant=first"), "{detail}");
    let answer = app.write(OTHER, "?participant=first", json!({"a": "2"})).await;
    answer.assert_outcomes(&[("a", "verified")]);
    assert_eq!(answer.at("/participant/chosenBy"), "first");
}

#[tokio::test(start_paused = true)]
async fn of_several_live_agents_none_is_guessed() {
    let call = SimulatedCall::new(OTHER)
        .customer(FIRST, NO_ATTRIBUTES)
        .agent(SECOND, NO_ATTRIBUTES)
        .participant("Agent", THIRD, "alerting", NO_ATTRIBUTES);
    let app = over(call).await;
    let answer = app.read(OTHER, "?participant=agent").await;
    answer.assert_problem(409, "ambiguous-participant", "notApplied");
    let candidates = json!([
        {"id": SECOND, "purpose": "agent", "state": "connected"},
        {"id": THIRD, "purpose": "Agent", "state": "alerting"},
    ]);
    assert_eq!(answer.at("/candidates"), candidates);
    let by_position = |id: &str| (json!(id), json!("position"));
    assert_eq!(chosen(&app, "?participant=agent:first").await, by_position(SECOND));
    assert_eq!(chosen(&app, "?participant=agent:last").await, by_position(THIRD));
    assert_eq!(chosen(&app, &format!("?participant={SECOND}")).await.1, "id");
    let answer = app.write(OTHER, "?participant=agent", json!({"a": "2"})).await;
    answer.assert_problem(409, "ambiguous-participant", "notApplied");
    assert_eq!(app.simulator.count(RequestKind::Patch), 0);
}

#[tokio::test(start_paused = true)]
async fn a_live_participant_wins_over_those_that_left() {
    let call = SimulatedCall::new(OTHER)
        .agent(FIRST, NO_ATTRIBUTES)
        .participant("agent", SECOND, "terminated", NO_ATTRIBUTES)
        .participant("ivr", THIRD, "terminated", NO_ATTRIBUTES)
        .participant("ivr", IVR, "disconnected", NO_ATTRIBUTES);
    let app = over(call).await;
    assert_eq!(chosen(&app, "?participant=agent").await, (json!(FIRST), json!("purpose")));
    assert_eq!(chosen(&app, "?participant=agent:last").await.0, FIRST);
    assert_eq!(chosen(&app, "?participant=IVR").await, (json!(IVR), json!("purpose")));
    assert_eq!(chosen(&app, "?participant=ivr:first").await.0, THIRD);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_participant_lists_the_purposes_there() {
    let app = TestApp::new().start().await;
    for nobody in ["dialer", "dialer:last", "b0000000-0000-4000-8000-00000000dead"] {
        let answer = app.read(CALL, &format!("?participant={nobody}")).await;
        answer.assert_problem(404, "participant-not-found", "notApplied");
        assert_eq!(answer.at("/purposes"), json!(["customer", "ivr", "agent"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_without_participants_says_so() {
    let app = over(SimulatedCall::new(OTHER)).await;
    for query in ["", "?participant=first", "?participant=agent"] {
        let answer = app.read(OTHER, query).await;
        answer.assert_problem(404, "participant-not-found", "notApplied");
        assert_eq!(answer.at("/detail"), "the conversation has no participants");
    }
    assert_eq!(app.read(OTHER, "?participant=all").await.at("/participants"), json!([]));
}

#[tokio::test(start_paused = true)]
async fn everybody_is_read_in_one_call() {
    let app = TestApp::new().start().await;
    let answer = app.read(CALL, "?participant=all&key=menu&key=desk").await;
    answer.assert_status(200);
    let expected = json!({"conversationId": CALL, "participants": [
        {"id": CUSTOMER, "purpose": "customer", "state": "connected", "attributes": {}},
        {"id": IVR, "purpose": "ivr", "state": "terminated", "attributes": {"menu": "2"}},
        {"id": AGENT, "purpose": "agent", "state": "connected", "attributes": {"desk": "7"}},
    ]});
    assert_eq!(answer.json(), expected);
    assert_eq!(app.order(), "R");
    let answer = app.write(CALL, "?participant=all", json!({"a": "2"})).await;
    answer.assert_problem(400, "invalid-participant", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn attributes_that_are_null_missing_or_blank_are_no_attributes() {
    // The simulator makes a map of everything it receives, so these bodies are scripted.
    for (attributes, bytes) in
        [(json!({}), 2), (json!({"attributes": null}), 2), (json!({"attributes": {"a": ""}}), 8)]
    {
        let mut person = attributes;
        person["id"] = json!(FIRST);
        person["purpose"] = json!("customer");
        let body =
            json!({"id": CALL, "startTime": "2026-01-01T00:00:00Z", "participants": [person]});
        let app = TestApp::new().with_fault(answering(body)).start().await;
        let answer = app.read(CALL, "").await;
        answer.assert_status(200);
        assert_eq!(answer.at("/attributes"), json!({}));
        assert_eq!(answer.at("/size/bytes"), bytes);
    }
}

fn answering(body: Value) -> genesys_simulator::ScriptedFault {
    use genesys_simulator::{FaultAction, ScriptedFault};
    ScriptedFault::on_read(FaultAction::Status { code: 200, body: Some(body), retry_after: None })
}

#[tokio::test(start_paused = true)]
async fn an_unknown_conversation_is_not_found_in_one_call() {
    let app = TestApp::new().start().await;
    let read = app.read(OTHER, "").await;
    read.assert_problem(404, "conversation-not-found", "notApplied");
    let write = app.write(OTHER, "", json!({"a": "1"})).await;
    write.assert_problem(404, "conversation-not-found", "notApplied");
    assert_eq!(app.order(), "RR");
}

#[tokio::test(start_paused = true)]
async fn an_ended_conversation_can_be_read() {
    let app = TestApp::new().start().await;
    app.simulator.end_conversation(CALL);
    let answer = app.read(CALL, "").await;
    answer.assert_status(200);
    assert_eq!(answer.at("/participant/state"), "terminated");
    assert_eq!(answer.at("/attributes/tier"), "silver");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_of_200_participants_is_read_and_written() {
    let app = over(SimulatedCall::crowded(OTHER, FIRST)).await;
    assert_eq!(app.read(OTHER, "").await.at("/attributes"), json!({"segment": "gold"}));
    let all = app.read(OTHER, "?participant=all").await;
    assert_eq!(all.at("/participants").as_array().map(Vec::len), Some(200));
    let answer = app.write(OTHER, "", json!({"segment": "silver"})).await;
    answer.assert_outcomes(&[("segment", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn only_requested_keys_are_shown_with_the_size_of_the_map() {
    let call = SimulatedCall::new(OTHER)
        .customer(FIRST, [("a", "1"), ("b,c", "2"), (" d", "3"), ("A", "4")]);
    let app = over(call).await;
    let whole = app.read(OTHER, "").await.at("/size");
    for (query, shown) in [
        ("?keys=a,nobody", json!({"a": "1"})),
        ("?key=b%2Cc&key=%20d", json!({"b,c": "2", " d": "3"})),
        ("?keys=A&key=a", json!({"A": "4", "a": "1"})),
    ] {
        let answer = app.read(OTHER, query).await;
        assert_eq!(answer.at("/attributes"), shown, "{query}");
        assert_eq!(answer.at("/size"), whole, "{query}");
    }
}
