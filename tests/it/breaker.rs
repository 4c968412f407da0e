//! The circuit breaker: while upstream fails nothing is sent, and everybody is told at once.

use attribute_gateway::simulator::{Action, Fault};
use axum::body::Body;
use serde_json::json;

use crate::harness::{Answer, Builder, CALL, TestApp, attributes_of, ms, request, send};

fn failing() -> Fault {
    Fault::on_read(Action::Status { code: 503, body: None, retry_after: Some(60) }).always()
}

/// Failures that are answered at once, because they ask for a wait that fits no deadline.
fn out_of_order() -> Builder {
    TestApp::new().with_fault(failing()).allowing_leftovers()
}

async fn fail(app: &TestApp, calls: usize) {
    for _ in 0..calls {
        app.read(CALL, "").await.assert_problem(503, "upstream-unavailable", "notApplied");
    }
}

#[tokio::test(start_paused = true)]
async fn after_twenty_failures_calls_are_refused_at_once_until_a_probe_succeeds() {
    let app = out_of_order().start().await;
    fail(&app, 20).await;
    assert_eq!(app.order().len(), 20, "up to here every call was made");
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!((answer.header("retry-after"), answer.took), ("2", ms(0)));
    assert_eq!(answer.at("/retryAfterSeconds"), 2);
    assert_eq!(app.order().len(), 20, "and none from here on");
    app.simulator.clear_faults();
    tokio::time::sleep(ms(1999)).await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!(answer.header("retry-after"), "1");
    tokio::time::sleep(ms(1)).await;
    app.read(CALL, "").await.assert_status(200);
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_out_and_its_failure_opens_the_breaker_again() {
    let app = out_of_order().start().await;
    fail(&app, 20).await;
    tokio::time::sleep(ms(2000)).await;
    let other = "5eed0000-0000-4000-8000-0000000000ff";
    let both = tokio::join!(app.read(CALL, ""), app.read(other, ""));
    assert_eq!((both.0.took, both.1.took), (ms(20), ms(0)), "one probe, one refusal");
    assert_eq!(app.order().len(), 21);
    let answer = app.read(CALL, "").await;
    assert_eq!((answer.header("retry-after"), answer.took), ("2", ms(0)));
}

#[tokio::test(start_paused = true)]
async fn it_shows_in_readiness_and_figures_but_does_not_make_the_service_unready() {
    const STATE: &str = r#"breaker_state{upstream="conversations"}"#;
    let app = out_of_order().start().await;
    assert!(app.readiness().await.text.contains("upstream.conversations: ok"));
    fail(&app, 20).await;
    let readiness = app.readiness().await;
    assert_eq!(readiness.status, 200);
    let line = "upstream.conversations: failed: circuit breaker open";
    assert!(readiness.text.contains(line), "{}", readiness.text);
    assert!(readiness.text.contains("upstream.token: ok"), "each upstream has its own");
    let budget = "upstream.retry_budget: ok: 0 of 10 retries made in the last ten seconds";
    assert!(readiness.text.contains(budget), "{}", readiness.text);
    assert!((app.figure(STATE).await - 2.0).abs() < 0.1);
    app.simulator.clear_faults();
    tokio::time::sleep(ms(2000)).await;
    app.read(CALL, "").await.assert_status(200);
    assert!(app.figure(STATE).await.abs() < 0.1);
    assert!(app.readiness().await.text.contains("upstream.conversations: ok"));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_answers_and_open_nothing() {
    let refused = Action::Status { code: 403, body: None, retry_after: None };
    let throttled = Action::Throttle { retry_after: Some(60) };
    for action in [refused, throttled] {
        let app = TestApp::new().with_fault(Fault::on_read(action).times(40)).start().await;
        // Side by side: after the first 429 no other call would leave.
        for answer in side_by_side(&app, 40, 5).await {
            assert!(answer.status >= 500, "{}", answer.text);
        }
        tokio::time::sleep(ms(60_000)).await;
        app.read(CALL, "").await.assert_status(200);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_open_it() {
    let app = TestApp::new().with_fault(Fault::on_read(Action::Hang).always());
    let app = app.allowing_leftovers().start().await;
    for answer in side_by_side(&app, 20, 5).await {
        answer.assert_problem(503, "upstream-unavailable", "notApplied");
        // The first attempt ran into its time-out, and no second one was made.
        assert!(answer.took >= ms(2000) && answer.took <= ms(2100), "{:?}", answer.took);
    }
    let answer = app.read(CALL, "").await;
    assert_eq!((answer.status, answer.took, app.order().len()), (503, ms(0), 20));
}

#[tokio::test(start_paused = true)]
async fn calls_that_impatient_callers_cut_short_neither_open_nor_close_it() {
    let app = TestApp::new().with_fault(Fault::on_read(Action::Hang).times(20)).start().await;
    for answer in side_by_side(&app, 20, 1).await {
        answer.assert_problem(504, "deadline-exceeded", "notApplied");
    }
    app.read(CALL, "").await.assert_status(200);
    let app = out_of_order().start().await;
    fail(&app, 20).await;
    tokio::time::sleep(ms(2000)).await;
    app.simulator.clear_faults();
    app.simulator.inject(Fault::on_read(Action::Hang));
    app.read_within(1).await.assert_problem(504, "deadline-exceeded", "notApplied");
    assert!(app.readiness().await.text.contains("circuit breaker open"));
    // The next call is the probe.
    app.read(CALL, "").await.assert_status(200);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_reached_upstream_proves_nothing() {
    let app = out_of_order().start().await;
    fail(&app, 20).await;
    tokio::time::sleep(ms(2000)).await;
    // The token is refused, and there is no other one.
    app.simulator.clear_faults();
    app.simulator.inject(Fault::on_read(Action::Unauthorized));
    app.simulator.inject(Fault::on_token(Action::Hang));
    app.read_within(1).await.assert_problem(504, "deadline-exceeded", "notApplied");
    let readiness = app.readiness().await;
    assert!(readiness.text.contains("circuit breaker open"), "{}", readiness.text);
    assert_eq!(readiness.status, 200, "a token that is being replaced is no reason to be unready");
}

/// So many reads at once, each of another conversation and under a deadline of so many seconds.
async fn side_by_side(app: &TestApp, readers: usize, seconds: u64) -> Vec<Answer> {
    let read = |number: usize| {
        let conversation = format!("5eed0000-0000-4000-8000-{number:012}");
        let request = request("GET", &attributes_of(&conversation));
        let request = request.header("prefer", format!("wait={seconds}"));
        tokio::spawn(send(app.router(), request.body(Body::empty()).expect("a request")))
    };
    let tasks: Vec<_> = (1..=readers).map(read).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("a caller does not panic"));
    }
    answers
}
