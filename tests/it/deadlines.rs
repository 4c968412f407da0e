//! One deadline over everything, clients that leave, drains, and waiting that is bounded.

use std::time::Duration;

use axum::body::Body;
use genesys_simulator::{FaultAction, ScriptedFault};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, ms, request, send};

/// Answers come at most so much after the deadline.
const DEADLINE_MARGIN: Duration = ms(100);

/// A write on a task of its own.
fn writing(app: &TestApp, query: &str, tier: &str) -> JoinHandle<Answer> {
    let request = request("PUT", &format!("{}{query}", attributes_of(CALL)))
        .header("content-type", "application/json")
        .body(Body::from(json!({"attributes": {"tier": tier}}).to_string()));
    tokio::spawn(send(app.router(), request.expect("a request")))
}

fn hanging(fault: ScriptedFault) -> Builder {
    TestApp::new().with_fault(fault.always()).allowing_leftovers()
}

#[tokio::test(start_paused = true)]
async fn whatever_hangs_the_answer_comes_by_the_deadline_and_is_true() {
    let deadline = (504, "deadline-exceeded");
    // A token endpoint that hangs is an outage, not the deadline's fault.
    let token = (503, "upstream-unavailable");
    for (fault, (status, code), effect) in [
        (ScriptedFault::on_token(FaultAction::Hang), token, "notApplied"),
        (ScriptedFault::on_read(FaultAction::Hang), deadline, "notApplied"),
        (ScriptedFault::on_patch(FaultAction::Hang), deadline, "unknown"),
        (ScriptedFault::on_patch(FaultAction::HangAfterApply), deadline, "unknown"),
    ] {
        for seconds in [1, 2, 5] {
            let app = hanging(fault.clone()).with_lag(ms(30_000)).start().await;
            let answer = app.write_within(seconds, "", json!({"tier": "gold"})).await;
            let wait = Duration::from_secs(seconds);
            answer.assert_problem(status, code, effect);
            assert!(
                answer.took <= wait + DEADLINE_MARGIN,
                "{fault:?}: {:?} of {wait:?}",
                answer.took
            );
            assert_eq!(answer.header("preference-applied"), format!("wait={seconds}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_back_that_hangs_leaves_the_write_accepted() {
    let app = hanging(ScriptedFault::on_read(FaultAction::Hang).skip(1)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(202);
    answer.assert_outcomes(&[("tier", "unverified")]);
    assert!(answer.took <= ms(5000) + DEADLINE_MARGIN);
    assert!(!answer.at("/warnings").as_array().expect("warnings").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_answered_by_the_deadline() {
    let app = hanging(ScriptedFault::on_read(FaultAction::Hang)).start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(504, "deadline-exceeded", "notApplied");
    assert!(
        answer.took >= ms(5000) && answer.took <= ms(5000) + DEADLINE_MARGIN,
        "{:?}",
        answer.took
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_the_services_own_unless_the_caller_names_one() {
    let app = hanging(ScriptedFault::on_read(FaultAction::Hang))
        .with_env("GATEWAY__SERVER__DEADLINE", "3s");
    // One attempt a call: many that hang are an upstream in trouble, and refused before a minute is over.
    let app = app.with_env("GATEWAY__GENESYS__ATTEMPT_TIMEOUT", "60s").start().await;
    let slow = app.read(CALL, "").await;
    assert_eq!((slow.took, slow.header("preference-applied")), (ms(3000), ""));
    let quick = app.read_within(1).await;
    assert_eq!((quick.took, quick.header("preference-applied")), (ms(1000), "wait=1"));
    let patient = app.read_within(3600).await;
    assert_eq!((patient.took, patient.header("preference-applied")), (ms(60_000), "wait=60"));
}

#[tokio::test(start_paused = true)]
async fn a_longer_deadline_lets_a_slow_write_be_proved() {
    let app = TestApp::new().with_lag(ms(8000)).start().await;
    let answer = app.write_within(20, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn the_write_of_a_caller_that_hung_up_runs_to_its_end() {
    // The client leaves while the pre-read is under way, before anything was sent.
    let app = TestApp::new().start().await;
    let client = writing(&app, "", "gold");
    tokio::time::sleep(ms(10)).await;
    client.abort();
    assert!(client.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(app.order(), "R");
    tokio::time::sleep(ms(1000)).await;
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
    assert_eq!(app.order(), "RPRRR", "read back until it showed");
    let verified = app.figure(r#"write_outcomes_total{outcome="verified"}"#).await;
    assert!((verified - 1.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn the_write_of_a_caller_that_hung_up_keeps_its_deadline() {
    let app = hanging(ScriptedFault::on_read(FaultAction::Hang)).start().await;
    let client = writing(&app, "", "gold");
    tokio::time::sleep(ms(10)).await;
    client.abort();
    tokio::time::sleep(ms(5100)).await;
    app.simulator.clear_faults();
    tokio::time::sleep(ms(60_000)).await;
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
    assert!(app.figure("writes_in_flight").await < 0.5);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_running_writes_finish_and_takes_no_new_ones() {
    let app = TestApp::new().start().await;
    let running = writing(&app, "", "gold");
    tokio::time::sleep(ms(10)).await;
    app.service().shutdown().begin(Duration::from_secs(25));
    let refused = app.write(CALL, "", json!({"tier": "platinum"})).await;
    refused.assert_problem(503, "shutting-down", "notApplied");
    assert_eq!((refused.took, refused.header("retry-after")), (ms(0), "1"));
    assert_eq!(app.readiness().await.status, 503);
    assert!(app.readiness().await.text.contains("lifecycle: failed: draining"));
    let answer = running.await.expect("no panic");
    answer.assert_outcomes(&[("tier", "verified")]);
    app.service().shutdown().finished(Duration::ZERO).await;
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_a_drain_every_write_is_answered_truly() {
    let drained = async |app: TestApp| {
        let running = writing(&app, "", "gold");
        tokio::time::sleep(ms(500)).await;
        app.service().shutdown().begin(ms(1000));
        let answer = running.await.expect("no panic");
        assert_eq!(answer.took, ms(1500));
        answer
    };
    let unsent = drained(hanging(ScriptedFault::on_read(FaultAction::Hang)).start().await).await;
    unsent.assert_problem(503, "shutting-down", "notApplied");
    let sent = drained(hanging(ScriptedFault::on_patch(FaultAction::Hang)).start().await).await;
    sent.assert_problem(504, "deadline-exceeded", "unknown");
    let accepted = drained(TestApp::new().with_lag(ms(60_000)).start().await).await;
    accepted.assert_status(202);
    accepted.assert_outcomes(&[("tier", "unverified")]);
    assert_eq!(accepted.at("/warnings"), json!(["not verified: the gateway is shutting down"]));
}

#[tokio::test(start_paused = true)]
async fn more_writes_than_may_wait_are_refused_at_once() {
    let app = TestApp::new().with_env("GATEWAY__LIMITS__WAITING", "3").start().await;
    let waiting: Vec<_> = (0..3).map(|n| writing(&app, "", &format!("w{n}"))).collect();
    tokio::time::sleep(ms(10)).await;
    let refused = app.write(CALL, "", json!({"tier": "late"})).await;
    refused.assert_problem(503, "overloaded", "notApplied");
    assert_eq!((refused.took, refused.header("retry-after")), (ms(0), "1"));
    assert_eq!(app.order(), "R", "nothing was sent for it");
    app.read(CALL, "").await.assert_status(200);
    for one in waiting {
        assert!(one.await.expect("no panic").status < 500);
    }
    app.write(CALL, "", json!({"tier": "later"})).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn too_many_waiting_writes_to_one_participant_are_refused() {
    let app = TestApp::new().with_env("GATEWAY__LIMITS__WAITING_PER_PARTICIPANT", "2");
    let app = app.start().await;
    let waiting: Vec<_> = (0..2).map(|n| writing(&app, "", &format!("w{n}"))).collect();
    tokio::time::sleep(ms(30)).await;
    let refused = app.write(CALL, "", json!({"tier": "late"})).await;
    refused.assert_problem(503, "overloaded", "notApplied");
    let other = app.write(CALL, "?participant=agent", json!({"desk": "8"})).await;
    other.assert_outcomes(&[("desk", "verified")]);
    for one in waiting {
        assert!(one.await.expect("no panic").status < 500);
    }
}
