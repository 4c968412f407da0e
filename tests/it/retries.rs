//! The retry budget: an outage is met with a fraction more load, not with a multiple of it.

use attribute_gateway::simulator::{Action, Fault, Kind};
use serde_json::json;

use crate::harness::{CALL, TestApp, ms};

fn unavailable() -> Action {
    Action::Status { code: 503, body: None, retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn in_ten_seconds_a_quiet_service_makes_ten_retries_and_no_more() {
    // Below the twenty calls at which the breaker would take over.
    let app = TestApp::new().with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms");
    let app = app.with_fault(Fault::on_read(unavailable()).always()).allowing_leftovers();
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").start().await;
    let first = app.read(CALL, "").await;
    first.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!(app.order().len(), 11, "one call and ten retries");
    let second = app.read(CALL, "").await;
    second.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!((app.order().len(), second.took), (12, ms(20)));
    assert!((app.figure(r#"upstream_retries_total{operation="read"}"#).await - 10.0).abs() < 0.5);
    let refused = app.figure(r#"retry_budget_exhausted_total{operation="read"}"#).await;
    assert!((refused - 2.0).abs() < 0.5, "{refused}");
    // Ten seconds later there is budget again, and upstream is back.
    app.simulator.clear_faults();
    app.simulator.inject(Fault::on_read(unavailable()));
    tokio::time::sleep(ms(10_000)).await;
    app.read(CALL, "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_busy_service_retries_a_fifth_of_its_calls() {
    let app = TestApp::new().with_budget(100_000);
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms");
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").start().await;
    for _ in 0..200 {
        app.read(CALL, "").await.assert_status(200);
    }
    app.simulator.clear_calls();
    app.simulator.inject(Fault::on_read(unavailable()).times(60));
    for _ in 0..10 {
        let _ = app.read(CALL, "").await;
    }
    // 210 calls in less than ten seconds; the failures stay below the half that opens the breaker.
    assert_eq!(app.order().len(), 10 + 42);
    app.simulator.clear_faults();
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_is_sent_again_after_a_look_is_paid_for_like_any_other_retry() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms").quiet();
    // A page of HTML leaves its fate unknown, and is no failure that would open the breaker.
    let app = app.with_fault(Fault::on_patch(Action::Html).always()).allowing_leftovers();
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(503, "upstream-unavailable", "unknown");
    assert_eq!(app.simulator.count(Kind::Patch), 11, "one, and ten repetitions");
    let detail = answer.at("/detail").to_string();
    assert!(detail.contains("too many calls failed lately, this one is not repeated"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn read_backs_have_a_schedule_of_their_own_and_no_retries() {
    let app = TestApp::new().with_fault(Fault::on_read(unavailable()).skip(1)).with_lag(ms(1));
    let app = app.start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    // The next one comes 50 ms after the failure, not after a backoff.
    assert_eq!(app.sent(Kind::Read), [0, 40, 110]);
    assert!(app.figure(r#"upstream_retries_total{operation="read"}"#).await < 0.5);
}
