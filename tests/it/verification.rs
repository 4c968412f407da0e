//! Read-backs: when they are made, what they prove, and that they never make an error of a write
//! that upstream has accepted.
//!
//! Every answer of upstream takes 20 ms. The pre-read arrives at 0 and the PATCH at 20; that is
//! answered at 40, and reads show it `lag` after it arrived.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{Builder, CALL, CUSTOMER, TestApp, ms};

/// Another writer sets the tier, before or after a request.
fn foreign(tier: &str, after: bool) -> FaultAction {
    let (participant, map) =
        (Some(CUSTOMER.to_owned()), BTreeMap::from([("tier".to_owned(), Some(tier.to_owned()))]));
    if after {
        FaultAction::ForeignWriteAfter { participant, map }
    } else {
        FaultAction::ForeignWrite { participant, map }
    }
}

/// A platform that shows no write within a test.
fn never_visible() -> Builder {
    TestApp::new().with_lag(ms(60_000))
}

#[tokio::test(start_paused = true)]
async fn read_backs_start_at_once_and_double_from_50_ms() {
    let app = TestApp::new().with_lag(ms(300)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    // At once, and 50, 100 and 200 ms after the answer before; visible from 320 on.
    assert_eq!(app.sent(RequestKind::Read), [0, 40, 110, 230, 450]);
    let proof = json!({"status": "verified", "reads": 4, "elapsedMs": 430});
    assert_eq!(answer.at("/verification"), proof);
    assert_eq!((answer.at("/upstreamCalls"), answer.took), (json!(6), ms(470)));
}

#[tokio::test(start_paused = true)]
async fn the_first_read_back_waits_for_the_median_of_the_lags_seen() {
    let app = TestApp::new().reading_first().with_lag(ms(300)).start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    app.simulator.clear_calls();
    // The first write was shown by the read sent at 450, 410 ms after its PATCH was answered.
    let answer = app.write(CALL, "", json!({"tier": "platinum"})).await;
    assert_eq!(app.sent(RequestKind::Read), [470, 470 + 40 + 410]);
    assert_eq!((answer.at("/upstreamCalls"), answer.took), (json!(3), ms(40 + 410 + 20)));
}

#[tokio::test(start_paused = true)]
async fn the_first_read_back_is_earlier_when_upstream_is_faster() {
    let app = TestApp::new().reading_first().with_lag(ms(900)).start().await;
    app.write(CALL, "", json!({"tier": "slow"})).await.assert_status(200);
    app.simulator.set_settings(|settings| settings.lag = ms(30));
    // A lag that was only bounded from above counts a little less each time.
    for number in 0..80 {
        app.write(CALL, "", json!({"tier": format!("{number}")})).await.assert_status(200);
    }
    let last = app.write(CALL, "", json!({"tier": "quick"})).await;
    assert_eq!(last.at("/upstreamCalls"), 3);
    assert!(last.took < ms(800), "{:?}", last.took);
}

#[tokio::test(start_paused = true)]
async fn without_lag_the_first_read_back_is_sent_at_once() {
    let app = TestApp::new().with_budget(100_000).with_lag(ms(30)).start().await;
    for number in 0..5 {
        app.write(CALL, "", json!({"tier": format!("slow {number}")})).await.assert_status(200);
    }
    app.simulator.set_settings(|settings| settings.lag = ms(0));
    for number in 0..1_500 {
        app.write(CALL, "", json!({"tier": format!("{number}")})).await.assert_status(200);
    }
    // Timers wait whole milliseconds, and that must not be taken for upstream's lag.
    assert_eq!(app.write(CALL, "", json!({"tier": "last"})).await.took, ms(40));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_show_by_the_deadline_is_unverified_and_says_so() {
    let app = never_visible().start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold", "language": "en"})).await;
    answer.assert_status(202);
    answer.assert_outcomes(&[("language", "unchanged"), ("tier", "unverified")]);
    assert_eq!(answer.at("/verification/status"), "unverified");
    assert_eq!(answer.at("/attributes/tier"), "silver");
    assert_eq!(answer.header("etag"), "", "only a proved state has a tag");
    // A read is taken to cost a quarter more than the last one, and 5 ms: 30 ms.
    assert_eq!(
        app.sent(RequestKind::Read),
        [0, 40, 110, 230, 450, 870, 1690, 2710, 3730, 4750, 4970]
    );
    assert_eq!(answer.took, ms(4990));
}

#[tokio::test(start_paused = true)]
async fn reads_are_limited_and_the_last_one_is_kept_for_the_end() {
    let app = never_visible().with_env("GATEWAY__VERIFY__MAX_READS", "3").start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(202);
    assert_eq!(app.sent(RequestKind::Read), [0, 40, 110, 4970]);
    assert_eq!(answer.took, ms(4990));
}

#[tokio::test(start_paused = true)]
async fn the_last_read_back_ends_before_the_deadline() {
    let app = never_visible().with_settings(|settings| settings.latency = ms(400)).start().await;
    let answer = app.write_within(3, "", json!({"tier": "gold"})).await;
    answer.assert_status(202);
    // After the one at 2350 there is no time for another, which would take 400 ms.
    assert_eq!(app.sent(RequestKind::Read), [0, 800, 1250, 1750, 2350]);
    assert_eq!(answer.took, ms(2750));
}

#[tokio::test(start_paused = true)]
async fn a_seen_and_replaced_value_is_superseded_at_once() {
    // The other key keeps the read-backs going; it shows a third value, which has no time to settle.
    let note = BTreeMap::from([("note".to_owned(), Some("foreign".to_owned()))]);
    let note = FaultAction::ForeignWriteAfter { participant: None, map: note };
    let app = TestApp::new().with_lag(ms(10)).with_fault(ScriptedFault::on_patch(note));
    let app =
        app.with_fault(ScriptedFault::on_read(foreign("bronze", false)).skip(2)).start().await;
    let answer = app.write_within(1, "", json!({"tier": "gold", "note": "ours"})).await;
    answer.assert_problem(409, "write-superseded", "applied");
    answer.assert_outcomes(&[("note", "unverified"), ("tier", "superseded")]);
    assert_eq!(
        (answer.at("/retryable"), answer.at("/attributes/tier")),
        (false.into(), "bronze".into())
    );
    assert_eq!(app.truth(CUSTOMER)["tier"], "bronze", "it is not written over");
}

#[tokio::test(start_paused = true)]
async fn a_third_value_that_stays_is_superseded() {
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(foreign("bronze", true)));
    let app = app.with_lag(ms(10)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(409, "write-superseded", "applied");
    answer.assert_outcomes(&[("tier", "superseded")]);
    assert_eq!(answer.at("/verification/status"), "superseded");
    assert_eq!(answer.at("/attributes/tier"), "bronze");
    assert_eq!(answer.at("/upstreamCalls"), 8);
    assert_eq!(answer.header("etag"), "");
    // First seen by the read that ends at 60; the first one that ends a second later or more
    // was sent at 1690.
    assert_eq!(app.sent(RequestKind::Read), [0, 40, 110, 230, 450, 870, 1690]);
    assert_eq!(answer.took, ms(1710));
    assert_eq!(app.simulator.count(RequestKind::Patch), 1, "it is not written over");
}

#[tokio::test(start_paused = true)]
async fn a_third_value_whose_settle_time_does_not_fit_is_unverified() {
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(foreign("bronze", true)));
    let app = app.with_lag(ms(10)).start().await;
    let answer = app.write_within(1, "", json!({"tier": "gold"})).await;
    answer.assert_status(202);
    answer.assert_outcomes(&[("tier", "unverified")]);
    assert_eq!(answer.at("/attributes/tier"), "bronze");
}

#[tokio::test(start_paused = true)]
async fn a_third_value_that_gives_way_to_ours_is_no_harm() {
    // An earlier write of another party shows first, and then ours.
    let app = TestApp::new()
        .with_lag(ms(400))
        .with_fault(ScriptedFault::on_patch(foreign("bronze", false)));
    let app = app.start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
}

#[tokio::test(start_paused = true)]
async fn the_settle_time_is_four_times_the_longest_of_twenty_lags() {
    let app = TestApp::new().with_env("GATEWAY__VERIFY__SETTLE", "10s").with_budget(100_000);
    let app = app.reading_first().with_lag(ms(1_500)).start().await;
    for number in 0..20 {
        let tier = json!({"tier": format!("{number}")});
        app.write(CALL, "", tier).await.assert_status(200);
    }
    // The first was shown by the read sent at 1690: a lag of 1650 ms, so it takes 6600.
    app.simulator.set_settings(|settings| settings.lag = ms(10));
    app.simulator.inject(ScriptedFault::on_patch(foreign("bronze", true)));
    let answer = app.write_within(6, "", json!({"tier": "platinum"})).await;
    answer.assert_status(202).assert_outcomes(&[("tier", "unverified")]);
    app.simulator.inject(ScriptedFault::on_patch(foreign("iron", true)));
    let answer = app.write_within(10, "", json!({"tier": "platinum"})).await;
    answer.assert_problem(409, "write-superseded", "applied");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_needed_no_sending_is_watched_as_well() {
    let map = BTreeMap::from([("language".to_owned(), Some("fr".to_owned()))]);
    let after = FaultAction::ForeignWriteAfter { participant: None, map };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(after)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold", "language": "en"})).await;
    answer.assert_problem(409, "write-superseded", "applied");
    answer.assert_outcomes(&[("language", "superseded"), ("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_back_leaves_the_write_accepted() {
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    // How each ends: the last two say that further reads would be of no use.
    let passing = [status(500), status(502), status(503), status(429), FaultAction::ResetBefore];
    let lasting =
        [FaultAction::Html, FaultAction::GarbageJson, status(404), status(403), status(400)];
    for (actions, passing) in [(&passing[..], true), (&lasting[..], false)] {
        for action in actions {
            let failing = ScriptedFault::on_read(action.clone()).skip(1).always();
            let app = TestApp::new().with_fault(failing).allowing_leftovers().start().await;
            let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
            answer.assert_status(202);
            answer.assert_outcomes(&[("tier", "unverified")]);
            let warnings = answer.at("/warnings");
            assert!(warnings[0].as_str().is_some_and(|w| w.starts_with("a read-back failed")));
            assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
            let retryable =
                passing || matches!(action, FaultAction::Html | FaultAction::GarbageJson);
            assert_eq!(app.simulator.count(RequestKind::Read) > 2, retryable, "{action:?}");
            assert!(answer.took <= ms(5100));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_back_that_fails_once_is_made_up_for_by_the_next() {
    let app = TestApp::new()
        .with_fault(ScriptedFault::on_read(FaultAction::ResetBefore).skip(1))
        .start()
        .await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    let warnings =
        json!(["a read-back failed: Genesys Cloud is unavailable: the connection broke: \
                           broken by the simulator"]);
    assert_eq!(answer.at("/warnings"), warnings);
}

#[tokio::test(start_paused = true)]
async fn an_ended_conversation_still_verifies_the_write() {
    let ends = ScriptedFault::on_read(FaultAction::EndConversation).skip(1);
    let app = TestApp::new().with_fault(ends).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn a_pre_read_that_had_to_wait_leaves_time_to_read_back() {
    let throttled = ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(3) });
    let app = TestApp::new().with_fault(throttled).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn a_read_back_that_is_throttled_waits_as_long_as_upstream_asks() {
    let throttled =
        || ScriptedFault::on_read(FaultAction::Throttle { retry_after: Some(2) }).skip(1);
    let app = TestApp::new().with_fault(throttled()).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    // Pre-read, PATCH, the throttled read-back, 2 s, and the one that shows it: 20 ms each.
    assert_eq!((answer.took, app.order().as_str()), (ms(4 * 20 + 2000), "RPRR"));

    let app = TestApp::new().with_env("GATEWAY__SERVER__DEADLINE", "2s");
    let app = app.with_fault(throttled()).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(202).assert_outcomes(&[("tier", "unverified")]);
    assert_eq!((answer.took, app.order().as_str()), (ms(3 * 20), "RPR"), "it does not fit");
    tokio::time::sleep(ms(1999)).await;
    assert_eq!(app.order(), "RPR", "nor does anything follow");
}

#[tokio::test(start_paused = true)]
async fn an_earlier_own_value_is_no_foreign_value() {
    let app = TestApp::new().with_lag(ms(4_000)).start().await;
    app.write(CALL, "?verify=none", json!({"tier": "first"})).await.assert_status(202);
    tokio::time::sleep(ms(2_500)).await;
    // For two and a half seconds, longer than a third value has to stand, reads show the first.
    let second = app.write_within(20, "", json!({"tier": "second"})).await;
    second.assert_status(200).assert_outcomes(&[("tier", "verified")]);
}
