//! The retry budget: an outage is met with a fraction more load, not with a multiple of it.

use genesys_simulator::{FaultAction, FaultScope, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{CALL, TestApp, ms};

/// A failure that is retried, and no sign of an upstream in trouble.
fn slow() -> FaultAction {
    FaultAction::Status { code: 408, body: None, retry_after: None }
}

fn unavailable() -> FaultAction {
    FaultAction::Status { code: 503, body: None, retry_after: None }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_service_makes_three_retries_a_second() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms");
    let app = app.with_fault(ScriptedFault::on_read(slow()).always()).allowing_leftovers();
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").start().await;
    let first = app.read(CALL, "").await;
    first.assert_problem(503, "upstream-unavailable", "notApplied");
    // The last three are made in the fifth second; there is no budget before the deadline any more.
    assert_eq!(app.order().len(), 1 + 15, "{:?}", app.sent(RequestKind::Read));
    assert!(first.took > ms(4000) && first.took < ms(4200), "{:?}", first.took);
    assert!((app.figure(r#"upstream_retries_total{operation="read"}"#).await - 15.0).abs() < 0.5);
    let refused = app.figure(r#"retry_budget_exhausted_total{operation="read"}"#).await;
    assert!((refused - 1.0).abs() < 0.5, "{refused}");
    let readiness = app.readiness().await.text;
    let spent = "upstream.retry_budget: failed: 15 retries made in the last ten seconds";
    assert!(readiness.contains(spent), "{readiness}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_the_budget_spent_waits_for_the_next_second() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms");
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").start().await;
    app.simulator.inject(ScriptedFault::on_read(slow()).times(5));
    let answer = app.read(CALL, "").await;
    answer.assert_status(200);
    let sent = app.sent(RequestKind::Read);
    assert_eq!(sent.len(), 6);
    assert!(sent[3] < 100 && (1000..1010).contains(&sent[4]), "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_service_retries_half_of_its_calls() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms");
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").with_budget(100_000);
    let app = app.allowing_leftovers().start().await;
    for _ in 0..200 {
        app.read(CALL, "").await.assert_status(200);
    }
    app.simulator.clear_calls();
    app.simulator.inject(ScriptedFault::on_read(slow()).always());
    let _ = app.read(CALL, "").await;
    // Half of 201 calls, in two seconds; then three in each of the two seconds that are left.
    let retries = app.order().len() - 1;
    assert!((101..=110).contains(&retries), "{retries}");
}

#[tokio::test(start_paused = true)]
async fn light_traffic_has_enough_retry_budget() {
    for seed in 0..10 {
        let among = vec![unavailable(), slow(), FaultAction::ResetBefore];
        let fault = ScriptedFault::new(FaultAction::Random { percent: 25, seed, among }).always();
        let mut app = TestApp::new().with_seed(seed).allowing_leftovers();
        for on in [FaultScope::Read, FaultScope::Patch] {
            app = app.with_fault(fault.clone().on(on));
        }
        let app = app.start().await;
        for number in 0..60 {
            let _ = app.write(CALL, "", json!({"tier": number.to_string()})).await;
            let _ = app.read(CALL, "").await;
            app.until(ms(1000 * (number + 1))).await;
        }
        for operation in ["read", "patch"] {
            let series = format!("retry_budget_exhausted_total{{operation=\"{operation}\"}}");
            assert!(app.figure(&series).await < 0.5, "seed {seed}, {operation}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_sent_again_counts_in_the_retry_budget() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__BACKOFF_BASE", "1ms");
    // A page of HTML leaves its fate unknown, and is no failure to the adaptive throttle.
    let app =
        app.with_fault(ScriptedFault::on_patch(FaultAction::Html).always()).allowing_leftovers();
    let app = app.with_env("GATEWAY__GENESYS__BACKOFF_CAP", "1ms").start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(503, "upstream-unavailable", "unknown");
    assert_eq!(app.simulator.count(RequestKind::Patch), 16, "one, and three repetitions a second");
    let detail = answer.at("/detail").to_string();
    assert!(detail.contains("too many calls failed lately, this one is not repeated"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn read_backs_have_a_schedule_of_their_own_and_no_retries() {
    let app =
        TestApp::new().with_fault(ScriptedFault::on_read(unavailable()).skip(1)).with_lag(ms(1));
    let app = app.start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    // The next one comes 50 ms after the failure, not after a backoff.
    assert_eq!(app.sent(RequestKind::Read), [0, 40, 110]);
    assert!(app.figure(r#"upstream_retries_total{operation="read"}"#).await < 0.5);
}
