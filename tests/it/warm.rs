//! Writes that are based on what an earlier read showed: they go to the participant that the client
//! means, what is remembered refuses nothing, and repeated writes create nothing.
//!
//! Every answer of upstream takes 20 ms.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, NO_ATTRIBUTES, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::json;

use crate::harness::{AGENT, CALL, CUSTOMER, IVR, TestApp, attributes_of, ms};

const NEXT_AGENT: &str = "a0000000-0000-4000-8000-000000000002";

async fn read(app: &TestApp) {
    app.read(CALL, "").await.assert_status(200);
    app.simulator.clear_calls();
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_may_have_moved_needs_a_fresh_read() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    read(&app).await;
    let transferred = SimulatedCall::new(CALL)
        .customer(CUSTOMER, [("tier", "silver")])
        .participant("agent", AGENT, "disconnected", NO_ATTRIBUTES)
        .agent(NEXT_AGENT, NO_ATTRIBUTES);
    app.simulator.replace_call(transferred).expect("a sound call");
    let answer = app.write(CALL, "?participant=agent", json!({"note": "x"})).await;
    answer.assert_status(200);
    assert_eq!(answer.at("/participant/id"), NEXT_AGENT);
    // A UUID and `customer` go without.
    app.simulator.clear_calls();
    app.write(CALL, "", json!({"a": "1"})).await.assert_status(200);
    let by_id = format!("?participant={NEXT_AGENT}");
    app.write(CALL, &by_id, json!({"a": "1"})).await.assert_status(200);
    assert_eq!(app.order(), "PRPR");
}

#[tokio::test(start_paused = true)]
async fn a_customer_that_joined_later_is_written_to() {
    let before = SimulatedCall::new(CALL).external(IVR, NO_ATTRIBUTES);
    let app = TestApp::new().without_calls().with_call(before).with_lag(ms(10)).start().await;
    read(&app).await;
    let joined =
        SimulatedCall::new(CALL).external(IVR, NO_ATTRIBUTES).customer(CUSTOMER, NO_ATTRIBUTES);
    app.simulator.replace_call(joined).expect("a sound call");
    let answer = app.write(CALL, "", json!({"note": "x"})).await;
    answer.assert_status(200);
    assert_eq!(answer.at("/participant/id"), CUSTOMER);
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_is_gone_is_chosen_again_after_the_404() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    read(&app).await;
    // The next customer has the same attributes: only the id tells that it is another.
    let same = [("language", "en"), ("source", "web"), ("tier", "silver")];
    let other = SimulatedCall::new(CALL).customer(NEXT_AGENT, same);
    app.simulator.replace_call(other).expect("a sound call");
    let answer = app.write(CALL, "", json!({"note": "x"})).await;
    answer.assert_status(200).assert_outcomes(&[("note", "verified")]);
    assert_eq!((answer.at("/participant/id"), app.order().as_str()), (json!(NEXT_AGENT), "PRPR"));
}

#[tokio::test(start_paused = true)]
async fn a_cached_size_near_the_limit_decides_nothing() {
    let large = |bytes: usize| "x".repeat(bytes);
    let call =
        |bytes| SimulatedCall::new(CALL).customer(CUSTOMER, [("big", large(bytes).as_str())]);
    let app = TestApp::new().without_calls().with_call(call(9_900)).with_lag(ms(1)).start().await;
    read(&app).await;
    // Another writer has made room.
    app.simulator.write_as_other(CALL, CUSTOMER, [("big", "small")]);
    tokio::time::sleep(ms(10)).await;
    let answer = app.write(CALL, "", json!({"note": large(5_000)})).await;
    answer.assert_status(200).assert_outcomes(&[("note", "verified")]);
    // Another writer has filled the map: what is remembered of it does not let this through.
    let app = TestApp::new().without_calls().with_call(call(4_000)).with_lag(ms(1));
    let app = app.with_settings(|settings| settings.size_limit = None).start().await;
    read(&app).await;
    app.simulator.write_as_other(CALL, CUSTOMER, [("other", large(2_000))]);
    tokio::time::sleep(ms(10)).await;
    let answer = app.write(CALL, "", json!({"note": large(5_300)})).await;
    answer.assert_problem(422, "attributes-too-large", "notApplied");
    assert_eq!(app.order(), "R");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_ended_meanwhile_is_told_as_it_is() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    read(&app).await;
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, "", json!({"note": "x"})).await;
    answer.assert_status(200);
    let warnings = answer.at("/warnings").to_string();
    assert!(warnings.contains("the conversation has ended"), "{warnings}");
    assert_ne!(answer.at("/participant/state"), "connected", "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_write_to_a_customer_that_left_has_a_warning() {
    let wrap_up = SimulatedCall::new(CALL)
        .participant("customer", CUSTOMER, "disconnected", NO_ATTRIBUTES)
        .agent(AGENT, NO_ATTRIBUTES);
    let app = TestApp::new().without_calls().with_call(wrap_up).with_lag(ms(10)).start().await;
    let answer = app.write(CALL, "", json!({"note": "x"})).await;
    answer.assert_status(200).assert_outcomes(&[("note", "verified")]);
    let warnings = answer.at("/warnings").to_string();
    assert!(warnings.contains("the customer has left the conversation"), "{warnings}");
}

#[tokio::test(start_paused = true)]
async fn one_transient_failure_of_a_warm_write_is_no_other_writer() {
    let busy = FaultAction::Status { code: 502, body: None, retry_after: None };
    let app =
        TestApp::new().with_lag(ms(10)).with_fault(ScriptedFault::on_patch(busy)).start().await;
    read(&app).await;
    app.simulator.write_as_other(CALL, CUSTOMER, [("tier", "bronze")]);
    tokio::time::sleep(ms(20)).await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    // That value might also have come after the first try.
    let warnings = answer.at("/warnings").to_string();
    assert!(warnings.contains("another value stood at `tier`"), "{warnings}");
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
}

/// The PATCH was applied, but the gateway cannot know it. When reads work again, another writer has
/// replaced the value.
#[tokio::test(start_paused = true)]
async fn a_warm_write_of_unknown_fate_overwrites_no_later_value() {
    let applied = FaultAction::Empty { status: 503, applied: true };
    let slow = FaultAction::Delay { by: ms(500), after_apply: false };
    for verify in ["", "?verify=none"] {
        let app = TestApp::new().with_lag(ms(1));
        let app = app.with_fault(ScriptedFault::on_patch(applied.clone())).start().await;
        read(&app).await;
        app.simulator.inject(ScriptedFault::on_read(slow.clone()));
        let ((), answer) = tokio::join!(
            async {
                while app.simulator.count(RequestKind::Patch) == 0 {
                    tokio::time::sleep(ms(1)).await;
                }
                tokio::time::sleep(ms(20)).await;
                app.simulator.write_as_other(CALL, CUSTOMER, [("tier", "bronze")]);
            },
            app.write(CALL, verify, json!({"tier": "gold"})),
        );
        answer.assert_problem(503, "upstream-unavailable", "unknown");
        assert!(answer.text.contains("another value stands at `tier` now"), "{}", answer.text);
        assert_eq!(app.truth(CUSTOMER)["tier"], "bronze");
        assert_eq!(app.simulator.count(RequestKind::Patch), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_that_stood_before_a_warm_write_is_no_later_one() {
    let app = TestApp::new().with_lag(ms(10)).with_env("GATEWAY__VERIFY__SETTLE", "10s");
    let app = app.with_budget(100_000).start().await;
    for number in 0..30 {
        let tier = json!({"tier": format!("{number}")});
        app.write(CALL, "", tier).await.assert_status(200);
    }
    // A third value stands for a second now before it counts.
    app.simulator.write_as_other(CALL, CUSTOMER, [("tier", "bronze")]);
    tokio::time::sleep(ms(20)).await;
    app.simulator.set_settings(|settings| settings.lag = ms(3_000));
    let answer = app.write_within(8, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_write_costs_one_read() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    read(&app).await;
    let same = app.write(CALL, "", json!({"tier": "silver", "absent": ""})).await;
    same.assert_status(200).assert_outcomes(&[("absent", "unchanged"), ("tier", "unchanged")]);
    assert_eq!((app.order().as_str(), same.at("/upstreamCalls")), ("R", json!(1)));
    let path = format!("{}/absent", attributes_of(CALL));
    app.ask(("DELETE", &path), &[], "").await.assert_status(200);
    assert_eq!(app.order(), "RR");
    assert!(!app.truth(CUSTOMER).contains_key("absent"));
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_remembered_as_wanted_are_not_sent_but_watched() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    read(&app).await;
    let both = json!({"tier": "gold", "language": "en", "absent": ""});
    let answer = app.write(CALL, "", both.clone()).await;
    answer.assert_status(200);
    let outcomes = [("absent", "unchanged"), ("language", "unchanged"), ("tier", "verified")];
    answer.assert_outcomes(&outcomes);
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold"}})]);
    assert_eq!(app.order(), "PR");
    // Another writer has changed it since: the read-back shows that, and it is sent.
    app.simulator.write_as_other(CALL, CUSTOMER, [("language", "fr")]);
    tokio::time::sleep(ms(20)).await;
    app.simulator.clear_calls();
    let both = json!({"tier": "platinum", "language": "en"});
    let answer = app.write(CALL, "", both).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("language", "verified"), ("tier", "verified")]);
    let sent =
        [json!({"attributes": {"tier": "platinum"}}), json!({"attributes": {"language": "en"}})];
    assert_eq!(app.patches(), sent);
    assert_eq!(app.truth(CUSTOMER)["language"], "en");
    // Without a read-back nothing would show the one that is not sent.
    app.simulator.clear_calls();
    let third = app.write(CALL, "?verify=none", json!({"tier": "x", "language": "en"})).await;
    third.assert_status(202).assert_outcomes(&[("language", "unchanged"), ("tier", "unverified")]);
    assert_eq!(app.order(), "RP");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_the_size_that_would_result() {
    let app = TestApp::new().start().await;
    let dry = app.write(CALL, "?dryRun=true", json!({"note": "12345"})).await;
    dry.assert_status(200);
    let bytes = r#"{"language":"en","note":"12345","source":"web","tier":"silver"}"#.len();
    assert_eq!(dry.at("/size/bytes"), bytes);
    assert!(!dry.at("/attributes").to_string().contains("note"), "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn many_first_writes_at_once_learn_the_lag_from_one_of_them() {
    let id = |number: usize| format!("5eed0000-0000-4000-8000-1000000000{number:02}");
    let mut app = TestApp::new().with_lag(ms(300)).with_budget(100_000);
    for number in 0..50 {
        app = app.with_call(SimulatedCall::new(id(number)).customer(id(number), NO_ATTRIBUTES));
    }
    let app = app.start().await;
    let mut tasks = Vec::new();
    for number in 0..50 {
        let path = attributes_of(&id(number));
        let request = crate::harness::request("PUT", &path)
            .header("content-type", "application/json")
            .body(r#"{"attributes":{"tier":"gold"}}"#.into());
        tasks.push(tokio::spawn(crate::harness::send(app.router(), request.expect("sound"))));
    }
    let mut calls = Vec::new();
    for task in tasks {
        let answer = task.await.expect("no panic");
        answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
        calls.push(answer.at("/upstreamCalls").as_u64().expect("a number"));
    }
    let dear = calls.iter().filter(|calls| **calls > 4).count();
    assert!(dear <= 1, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_upstream_does_not_fail_writes_that_have_time() {
    let slow = FaultAction::Delay { by: ms(2_200), after_apply: false };
    let app = TestApp::new().with_lag(ms(10)).with_fault(ScriptedFault::on_read(slow).always());
    let app = app.allowing_leftovers().start().await;
    for tier in ["gold", "platinum"] {
        let answer =
            app.write_within(10, "?participant=customer:last", json!({"tier": tier})).await;
        answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    }
    assert_eq!(app.simulator.count(RequestKind::Read), 4, "{}", app.order());
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_and_shows_late_is_no_later_value() {
    let map = BTreeMap::from([("tier".to_owned(), Some("bronze".to_owned()))]);
    let foreign = || {
        let map = BTreeMap::clone(&map);
        ScriptedFault::on_patch(FaultAction::ForeignWrite { participant: None, map })
    };
    let app = TestApp::new().with_lag(ms(4_000)).with_env("GATEWAY__VERIFY__SETTLE", "10s");
    let app = app.reading_first().with_fault(foreign()).start().await;
    // Another writer comes between the pre-read and the PATCH; reads show ours four seconds later.
    let answer = app.write_within(15, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    // Where there is no time for it, that is said.
    app.simulator.inject(foreign());
    let answer = app.write_within(3, "", json!({"tier": "third"})).await;
    answer.assert_status(202).assert_outcomes(&[("tier", "unverified")]);
    let warnings = answer.at("/warnings").to_string();
    assert!(warnings.contains("another value stands at `tier`"), "{warnings}");
}
