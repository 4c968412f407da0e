//! What upstream does wrong, what the service makes of it, and that `effect` is true.
//!
//! Every answer of upstream takes 20 ms: the pre-read arrives at 0, the first PATCH at 20.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{Answer, Builder, CALL, CUSTOMER, TestApp, ms};

const BASE: std::time::Duration = ms(100);

fn status(code: u16) -> FaultAction {
    FaultAction::Status { code, body: None, retry_after: None }
}

/// Another writer writes before a request is handled.
fn foreign(key: &str, value: &str) -> FaultAction {
    let map = BTreeMap::from([(key.to_owned(), Some(value.to_owned()))]);
    FaultAction::ForeignWrite { participant: Some(CUSTOMER.to_owned()), map }
}

fn failing_patch(action: FaultAction) -> Builder {
    TestApp::new().with_fault(ScriptedFault::on_patch(action))
}

async fn gold(app: &TestApp) -> Answer {
    app.write(CALL, "", json!({"tier": "gold"})).await
}

#[tokio::test(start_paused = true)]
async fn after_409_everything_is_read_and_merged_and_sent_anew() {
    let app = failing_patch(status(409))
        .with_fault(ScriptedFault::on_read(foreign("note", "ours")).skip(1));
    let app = app.start().await;
    app.simulator.inject(ScriptedFault::on_patch(foreign("queue", "theirs")));
    let answer = app.write(CALL, "", json!({"tier": "gold", "note": "ours"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("note", "unchanged"), ("tier", "verified")]);
    let bodies = [
        json!({"attributes": {"note": "ours", "tier": "gold"}}),
        json!({"attributes": {"tier": "gold"}}),
    ];
    assert_eq!(app.patches(), bodies, "the body is fresh, not the stale one");
    assert_eq!(app.truth(CUSTOMER)["queue"], "theirs");
    let [wait] = app.backoffs(BASE);
    assert_eq!(app.sent(RequestKind::Patch), [20, 40 + wait + 20]);
}

#[tokio::test(start_paused = true)]
async fn after_409_a_full_body_holds_what_another_writer_added() {
    let app = failing_patch(status(409)).with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app =
        app.with_fault(ScriptedFault::on_read(foreign("queue", "theirs")).skip(1)).start().await;
    gold(&app).await.assert_status(200);
    assert_eq!(app.patches()[0]["attributes"].get("queue"), None);
    assert_eq!(app.patches()[1]["attributes"]["queue"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn after_409_keys_of_another_writer_are_not_sent() {
    let app = failing_patch(status(409))
        .with_fault(ScriptedFault::on_read(foreign("tier", "gold")).skip(1));
    let app = app.start().await;
    let answer = gold(&app).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "unchanged")]);
    assert_eq!((app.order().as_str(), answer.at("/upstreamCalls")), ("RPR", json!(3)));
}

#[tokio::test(start_paused = true)]
async fn a_lasting_409_is_a_conflict_that_changed_nothing() {
    let app =
        TestApp::new().with_fault(ScriptedFault::on_patch(status(409)).times(4)).start().await;
    let answer = gold(&app).await;
    answer.assert_problem(409, "upstream-conflict", "notApplied");
    assert_eq!((app.order().as_str(), answer.at("/retryable")), ("RPRPRPRP", json!(true)));
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_out_for_exactly_as_long_as_it_says() {
    let app = failing_patch(FaultAction::Throttle { retry_after: Some(3) }).start().await;
    gold(&app).await.assert_status(200);
    assert_eq!(app.sent(RequestKind::Patch), [20, 40 + 3000]);
    let throttled = ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(2) });
    let app = TestApp::new().with_fault(throttled).start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_status(200);
    assert_eq!(answer.took, ms(2040));
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_time_waits_three_seconds() {
    let throttled = || ScriptedFault::on_patch(FaultAction::Throttle { retry_after: None });
    let app = TestApp::new().with_fault(throttled()).start().await;
    gold(&app).await.assert_status(200);
    assert_eq!(app.sent(RequestKind::Patch), [20, 40 + 3000]);
    let app = TestApp::new().with_fault(throttled().times(2)).start().await;
    let answer = gold(&app).await;
    answer.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!((answer.header("retry-after"), answer.took), ("3", ms(60 + 3000)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_does_not_fit_is_answered_at_once_and_passed_on() {
    let app = failing_patch(FaultAction::Throttle { retry_after: Some(42) }).start().await;
    let answer = gold(&app).await;
    answer.assert_problem(503, "upstream-rate-limited", "notApplied");
    assert_eq!((answer.header("retry-after"), answer.took), ("42", ms(40)));
    assert_eq!((answer.at("/retryAfterSeconds"), app.order().as_str()), (json!(42), "RP"));
    let busy = FaultAction::Status { code: 503, body: None, retry_after: Some(42) };
    let app = TestApp::new().with_fault(ScriptedFault::on_read(busy)).start().await;
    let answer = app.read(CALL, "").await;
    answer.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!((answer.header("retry-after"), answer.took), ("42", ms(20)));
}

#[tokio::test(start_paused = true)]
async fn an_absurd_retry_after_does_no_harm() {
    let absurd = FaultAction::Throttle { retry_after: Some(u64::MAX) };
    let app = failing_patch(absurd.clone()).start().await;
    gold(&app).await.assert_problem(503, "upstream-rate-limited", "notApplied");
    let app = TestApp::new().with_fault(ScriptedFault::on_token(absurd).skip(1)).start().await;
    app.simulator.kill_tokens();
    gold(&app).await.assert_problem(503, "upstream-rate-limited", "notApplied");
}

/// Every way in which the fate of a PATCH can be unknown: applied, or not.
fn ambiguous() -> [(FaultAction, bool); 11] {
    [
        (status(408), false),
        (status(503), false),
        (FaultAction::Empty { status: 503, applied: true }, true),
        (status(502), false),
        (status(504), false),
        (status(500), false),
        (FaultAction::Hang, false),
        (FaultAction::ResetBefore, false),
        (FaultAction::HangAfterApply, true),
        (FaultAction::ResetAfter, true),
        (FaultAction::WrongLength, true),
    ]
}

#[tokio::test(start_paused = true)]
async fn after_an_unknown_patch_a_read_decides_about_a_retry() {
    for (action, applied) in ambiguous() {
        let app = failing_patch(action.clone()).with_lag(ms(1)).start().await;
        let answer = gold(&app).await;
        answer.assert_status(200);
        answer.assert_outcomes(&[("tier", "verified")]);
        // Applied: the read shows it, and is the proof. Not applied: sent again, and read back.
        let order = if applied { "RPR" } else { "RPRPR" };
        assert_eq!(app.order(), order, "{action:?}");
        let [wait] = app.backoffs(BASE);
        let given_up = if matches!(action, FaultAction::Hang | FaultAction::HangAfterApply) {
            2000
        } else {
            0
        };
        let answers = matches!(
            action,
            FaultAction::Status { .. } | FaultAction::WrongLength | FaultAction::Empty { .. }
        );
        let answered = if answers { 20 } else { 0 };
        assert_eq!(app.sent(RequestKind::Read)[1], 20 + given_up + answered + wait, "{action:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_value_after_an_unknown_patch_is_kept() {
    for (action, _) in ambiguous() {
        for settle in ["1s", "10s"] {
            let app = failing_patch(action.clone()).with_lag(ms(1));
            let app = app.with_env("GATEWAY__VERIFY__SETTLE", settle);
            let theirs = ScriptedFault::on_read(foreign("tier", "bronze")).skip(1);
            let app = app.with_fault(theirs).start().await;
            let answer = gold(&app).await;
            if settle == "1s" {
                answer.assert_problem(409, "write-superseded", "unknown");
                answer.assert_outcomes(&[("tier", "superseded")]);
            } else {
                answer.assert_problem(503, "upstream-unavailable", "unknown");
            }
            assert_eq!(app.simulator.count(RequestKind::Patch), 1, "{action:?}");
            assert_eq!(app.truth(CUSTOMER)["tier"], "bronze");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_unknown_attempt_makes_the_effect_unknown() {
    for after in
        [status(400), status(403), status(409), FaultAction::Throttle { retry_after: Some(60) }]
    {
        let app = failing_patch(FaultAction::ResetAfter).with_lag(ms(30_000));
        let app =
            app.with_fault(ScriptedFault::on_patch(after.clone()).times(4)).allowing_leftovers();
        let app = app.start().await;
        let answer = gold(&app).await;
        assert!(answer.status >= 400, "{}", answer.text);
        assert_eq!(answer.at("/effect"), "unknown", "{after:?}");
        assert_eq!(
            app.truth(CUSTOMER)["tier"],
            "gold",
            "it was applied, although no read shows it"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_lands_late_was_never_said_not_to_be_applied() {
    let app = failing_patch(FaultAction::ApplyLate { after: ms(3000) })
        .with_fault(ScriptedFault::on_patch(status(400)));
    let app = app.start().await;
    gold(&app).await.assert_problem(502, "upstream-rejected", "unknown");
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
    tokio::time::sleep(ms(1000)).await;
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
    let app = failing_patch(FaultAction::ApplyLate { after: ms(3000) }).start().await;
    let answer = app.write_within(1, "", json!({"tier": "gold"})).await;
    answer.assert_problem(504, "deadline-exceeded", "unknown");
}

#[tokio::test(start_paused = true)]
async fn an_ended_conversation_settles_an_unknown_patch() {
    let ends = || ScriptedFault::on_read(FaultAction::EndConversation).skip(1);
    let app =
        failing_patch(FaultAction::ResetAfter).with_lag(ms(1)).with_fault(ends()).start().await;
    let answer = gold(&app).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    // Not applied as far as can be seen, and nothing is sent to an ended conversation.
    let app =
        failing_patch(FaultAction::ResetBefore).with_lag(ms(1)).with_fault(ends()).start().await;
    gold(&app).await.assert_problem(409, "conversation-ended", "unknown");
    assert_eq!(app.simulator.count(RequestKind::Patch), 1);
}

#[tokio::test(start_paused = true)]
async fn a_500_is_worth_one_more_try_and_no_more() {
    let app = TestApp::new().with_fault(ScriptedFault::on_read(status(500)).times(2)).start().await;
    app.read(CALL, "").await.assert_problem(503, "upstream-unavailable", "notApplied");
    assert_eq!(app.order(), "RR");
    app.read(CALL, "").await.assert_status(200);
    let app = failing_patch(status(500)).with_fault(ScriptedFault::on_patch(status(500)));
    let app = app.start().await;
    gold(&app).await.assert_problem(503, "upstream-unavailable", "unknown");
    assert_eq!(app.order(), "RPRPR", "the last read could have shown that it was applied");
}

#[tokio::test(start_paused = true)]
async fn other_refusals_are_passed_on_without_a_retry() {
    let app = failing_patch(status(415)).start().await;
    let answer = gold(&app).await;
    answer.assert_problem(502, "upstream-rejected", "notApplied");
    let expected = json!({
        "status": 415, "code": "unsupported.media.type", "message": "Unsupported Media Type"
    });
    assert_eq!(answer.at("/upstream"), expected);
    let calls = app.simulator.calls();
    let last = &calls.last().expect("a call").correlation_id;
    assert_eq!(answer.at("/correlationId"), json!(last));
    assert_eq!(app.order(), "RP");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_repeats_a_value_is_not_passed_on() {
    let app = failing_patch(FaultAction::EchoRejection).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold-canary", "note": "7 \"quoted\""})).await;
    answer.assert_problem(502, "upstream-rejected", "notApplied");
    assert_eq!(answer.at("/upstream"), json!({"status": 400, "code": "invalid.value"}));
    assert!(!answer.text.contains("canary") && !answer.text.contains("quoted"));
}

#[tokio::test(start_paused = true)]
async fn a_403_names_the_permission_that_is_missing() {
    for (fault, effect) in [
        (ScriptedFault::on_read(status(403)), "notApplied"),
        (ScriptedFault::on_patch(status(403)), "notApplied"),
    ] {
        let app = TestApp::new().with_fault(fault).start().await;
        let answer = gold(&app).await;
        answer.assert_problem(502, "upstream-forbidden", effect);
        let detail = answer.at("/detail").to_string();
        assert!(detail.contains("`conversation:communication:view`"), "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lasting_failure_of_unknown_fate_is_told_by_the_deadline() {
    for (action, code, problem) in [
        (status(502), 503, "upstream-unavailable"),
        (status(504), 503, "upstream-unavailable"),
        (FaultAction::ResetBefore, 503, "upstream-unavailable"),
        (FaultAction::Html, 502, "upstream-invalid-response"),
    ] {
        let app = TestApp::new().with_fault(ScriptedFault::on_patch(action.clone()).always());
        let app = app.allowing_leftovers().start().await;
        let answer = gold(&app).await;
        answer.assert_problem(code, problem, "unknown");
        assert!(answer.took <= ms(5100), "{action:?}: {:?}", answer.took);
    }
}

#[tokio::test(start_paused = true)]
async fn proxy_statuses_say_nothing_about_what_was_applied() {
    for code in [520, 599] {
        let applied = ScriptedFault::on_patch(FaultAction::Empty { status: code, applied: true });
        let app = TestApp::new().with_lag(ms(1)).with_fault(applied).start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
        assert_eq!(app.simulator.count(RequestKind::Patch), 1, "looked for, and found");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_read_error_is_not_a_write_error() {
    for code in [409, 413] {
        let fault =
            ScriptedFault::on_read(FaultAction::Status { code, body: None, retry_after: None });
        let app = TestApp::new().with_fault(fault).start().await;
        app.read(CALL, "").await.assert_problem(502, "upstream-rejected", "notApplied");
    }
}
