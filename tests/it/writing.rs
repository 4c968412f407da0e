//! The main job: a write is merged, sent, and proved.

use serde_json::json;

use crate::harness::{CALL, CUSTOMER, TestApp, ms};

#[tokio::test(start_paused = true)]
async fn a_write_sends_only_what_changes_and_is_read_back() {
    let app = TestApp::new().start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold", "language": "en", "crm": "42"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("crm", "verified"), ("language", "unchanged"), ("tier", "verified")]);
    assert_eq!(app.patches(), [json!({"attributes": {"crm": "42", "tier": "gold"}})]);
    let whole = json!({"crm": "42", "language": "en", "source": "web", "tier": "gold"});
    assert_eq!(answer.at("/attributes"), whole);
    assert_eq!(json!(app.truth(CUSTOMER)), whole);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_lag_costs_three_calls_and_one_that_changes_nothing_costs_one() {
    let app = TestApp::new().with_lag(ms(0)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    assert_eq!(answer.at("/upstreamCalls"), 3);
    assert_eq!(app.upstream_calls(), 3);
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "unchanged")]);
    assert_eq!(answer.at("/upstreamCalls"), 1);
    assert_eq!(app.upstream_calls(), 4);
}
