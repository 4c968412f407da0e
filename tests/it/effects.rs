//! `effect` is true on every path on which a PATCH has left and a later step decides the answer.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{CALL, CUSTOMER, TestApp, ms};

/// Answered with this status, after it was applied.
fn applied(status: u16) -> FaultAction {
    FaultAction::Empty { status, applied: true }
}

/// Another writer writes just before a request is handled.
fn foreign(tier: &str) -> FaultAction {
    let map = BTreeMap::from([("tier".to_owned(), Some(tier.to_owned()))]);
    FaultAction::ForeignWrite { participant: Some(CUSTOMER.to_owned()), map }
}

#[tokio::test(start_paused = true)]
async fn each_status_says_whether_the_patch_may_have_been_applied() {
    for status in 300..600_u16 {
        let may_be = status == 408 || status >= 500 && status != 501;
        let answered = FaultAction::Empty { status, applied: may_be };
        // It was applied, and no read shows it.
        let later = FaultAction::Throttle { retry_after: Some(60) };
        let app = TestApp::new().with_lag(ms(60_000)).with_env("RUST_LOG", "off");
        let app = app.with_fault(ScriptedFault::on_patch(answered)).allowing_leftovers();
        let app = app.with_fault(ScriptedFault::on_patch(later).always()).start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        assert!(answer.status >= 400, "{status}: {}", answer.text);
        let expected = if may_be { "unknown" } else { "notApplied" };
        assert_eq!(answer.at("/effect"), expected, "{status}: {}", answer.text);
        assert_eq!(app.truth(CUSTOMER)["tier"] == "gold", may_be, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_later_attempts_meet_the_effect_stays_unknown() {
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    let busy = FaultAction::Status { code: 503, body: None, retry_after: Some(60) };
    for later in [
        status(400),
        status(403),
        status(404),
        status(409),
        status(413),
        FaultAction::Unauthorized,
        FaultAction::SizeRejection,
        FaultAction::Throttle { retry_after: Some(60) },
        busy,
        FaultAction::Hang,
        FaultAction::ResetBefore,
    ] {
        let app = TestApp::new().with_lag(ms(60_000)).allowing_leftovers();
        let app = app.with_fault(ScriptedFault::on_patch(applied(503)));
        let app = app.with_fault(ScriptedFault::on_patch(later.clone()).always()).start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        assert!(answer.status >= 400, "{later:?}: {}", answer.text);
        assert_eq!(answer.at("/effect"), "unknown", "{later:?}: {}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_503_from_a_proxy_does_not_overwrite_another_writer() {
    for status in [408, 503] {
        let app =
            TestApp::new().with_lag(ms(1)).with_fault(ScriptedFault::on_patch(applied(status)));
        let app = app.with_fault(ScriptedFault::on_read(foreign("bronze")).skip(1)).start().await;
        let answer = app.write_within(1, "", json!({"tier": "gold"})).await;
        answer.assert_problem(503, "upstream-unavailable", "unknown");
        assert!(answer.text.contains("another value stands at `tier` now"), "{}", answer.text);
        assert_eq!(
            (app.truth(CUSTOMER)["tier"].as_str(), app.order().contains("PP")),
            ("bronze", false)
        );
        assert_eq!(app.simulator.count(RequestKind::Patch), 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_not_unchanged_while_an_earlier_one_is_unknown() {
    let app = TestApp::new().reading_first().with_lag(ms(3_000)).allowing_leftovers();
    let app = app.with_fault(ScriptedFault::on_patch(applied(503)).times(20)).start().await;
    let first = app.write_within(1, "", json!({"tier": "gold"})).await;
    assert_eq!((first.status, first.at("/effect")), (503, json!("unknown")), "{}", first.text);
    app.simulator.clear_faults();
    // Reads still show silver, which is what this one wants.
    let second = app.write_within(20, "", json!({"tier": "silver"})).await;
    assert_ne!(second.at("/outcomes/tier"), "unchanged", "{}", second.text);
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
}

#[tokio::test(start_paused = true)]
async fn a_503_to_a_patch_is_retried_after_a_read_of_the_old_state() {
    let busy = FaultAction::Status { code: 503, body: None, retry_after: Some(2) };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(busy)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert!(app.order().starts_with("RPRP"), "{}", app.order());
    assert_eq!(app.sent(RequestKind::Patch), [20, 40 + 2000]);
    let later = FaultAction::Status { code: 503, body: None, retry_after: Some(42) };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(later)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(503, "upstream-unavailable", "unknown");
    assert_eq!((answer.header("retry-after"), app.order().as_str()), ("42", "RPR"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_superseded_by_a_single_read_or_without_read_backs() {
    for action in [FaultAction::ResetAfter, FaultAction::HangAfterApply, applied(504)] {
        let app =
            TestApp::new().with_lag(ms(1)).with_fault(ScriptedFault::on_patch(action.clone()));
        let app = app.with_fault(ScriptedFault::on_read(foreign("bronze")).skip(1)).start().await;
        let answer = app.write(CALL, "?verify=none", json!({"tier": "gold"})).await;
        answer.assert_problem(503, "upstream-unavailable", "unknown");
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_to_the_patch_names_the_participant() {
    let app = TestApp::new();
    let gone = FaultAction::Status { code: 404, body: None, retry_after: None };
    let app = app.with_fault(ScriptedFault::on_patch(gone)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(404, "participant-not-found", "notApplied");
    let detail = answer.at("/detail").to_string();
    assert!(detail.contains(CUSTOMER) && detail.contains("may have left"), "{detail}");
    let hint = answer.at("/hint").to_string();
    assert!(!hint.contains("`purposes`"), "the answer has none: {hint}");
    assert_eq!(answer.at("/upstream/status"), 404, "{}", answer.text);
    assert_eq!(answer.at("/upstream/code"), "not.found", "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_503_to_a_patch_that_was_applied_is_settled_by_the_read() {
    // Answered 503 after it was applied: a read shows it, and nothing is sent again.
    let app = TestApp::new().with_lag(ms(1)).with_fault(ScriptedFault::on_patch(applied(503)));
    let app = app.start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert!(answer.took < ms(500), "{:?}", answer.took);
}
