//! After a PATCH that was refused, or whose result is unknown: what is read, what is sent once more,
//! and what the client is told.
//!
//! Every answer of upstream takes 20 ms.

use std::collections::BTreeMap;

use axum::Router;
use genesys_simulator::{FaultAction, NO_ATTRIBUTES, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{
    AGENT, Answer, CALL, CUSTOMER, TestApp, attributes_of, defective_once, ms, request, send,
};

fn status(code: u16) -> FaultAction {
    FaultAction::Status { code, body: None, retry_after: None }
}

/// The PATCH is applied, but its answer does not say so.
fn applied_unknown() -> FaultAction {
    FaultAction::Empty { status: 503, applied: true }
}

async fn read(app: &TestApp) {
    app.read(CALL, "").await.assert_status(200);
    app.simulator.clear_calls();
}

/// A write that does not wait to be awaited.
fn writing(app: &TestApp, wait: u64, attributes: &Value) -> JoinHandle<Answer> {
    writing_to(app.router(), "", wait, attributes)
}

fn writing_to(router: Router, query: &str, wait: u64, attributes: &Value) -> JoinHandle<Answer> {
    let request = request("PUT", &format!("{}{query}", attributes_of(CALL)))
        .header("content-type", "application/json")
        .header("prefer", format!("wait={wait}"))
        .body(json!({ "attributes": attributes }).to_string().into());
    tokio::spawn(send(router, request.expect("a request")))
}

async fn gold(app: &TestApp) -> Answer {
    app.write(CALL, "", json!({"tier": "gold"})).await
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_regard_to_content_needs_no_read() {
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(status(403))).start().await;
    read(&app).await;
    gold(&app).await.assert_problem(502, "upstream-forbidden", "notApplied");
    assert_eq!(app.order(), "P");
}

#[tokio::test(start_paused = true)]
async fn a_refused_warm_write_is_tried_again_if_the_map_had_changed() {
    let app = TestApp::new().with_lag(ms(1));
    let app = app.with_fault(ScriptedFault::on_patch(status(400)).times(2)).start().await;
    read(&app).await;
    gold(&app).await.assert_problem(502, "upstream-rejected", "notApplied");
    assert_eq!(app.order(), "PR", "the map is as it was, so the refusal stands");
    app.simulator.write_as_other(CALL, CUSTOMER, [("language", "fr")]);
    tokio::time::sleep(ms(10)).await;
    app.simulator.clear_calls();
    gold(&app).await.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!(app.order(), "PRPR");
}

#[tokio::test(start_paused = true)]
async fn two_warm_writes_that_fit_together_are_both_made() {
    let app = TestApp::new().with_lag(ms(1)).start().await;
    read(&app).await;
    // Together they take more than nine tenths of the limit, which a remembered map may not admit.
    let large = "x".repeat(4_800);
    let writes = ["one", "two"].map(|key| writing(&app, 5, &json!({ key: large })));
    for write in writes {
        write.await.expect("no panic").assert_status(200);
    }
    assert_eq!(app.simulator.count(RequestKind::Patch), 2, "{}", app.order());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_if_the_selector_means_another() {
    const NEXT_AGENT: &str = "a0000000-0000-4000-8000-000000000002";
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(status(502))).start().await;
    let transferred = SimulatedCall::new(CALL)
        .participant("agent", AGENT, "disconnected", [("desk", "7")])
        .agent(NEXT_AGENT, NO_ATTRIBUTES);
    let write = app.write(CALL, "?participant=agent", json!({"desk": "8"}));
    let ((), answer) = tokio::join!(
        async {
            while app.simulator.count(RequestKind::Patch) == 0 {
                tokio::time::sleep(ms(1)).await;
            }
            app.simulator.replace_call(transferred).expect("a sound call");
        },
        write
    );
    answer.assert_problem(503, "upstream-unavailable", "unknown");
    assert_eq!(app.order(), "RPR");
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_after_an_unknown_patch_is_repeated() {
    let app = TestApp::new().with_lag(ms(1)).with_fault(ScriptedFault::on_patch(applied_unknown()));
    let reads = ScriptedFault::on_read(status(500)).skip(1).times(2);
    let app = app.with_fault(reads).start().await;
    gold(&app).await.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!(app.order(), "RPRRR");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_a_read_shows_proves_an_unknown_patch() {
    let map = BTreeMap::from([("note".to_owned(), Some("theirs".to_owned()))]);
    let theirs = FaultAction::ForeignWrite { participant: Some(CUSTOMER.to_owned()), map };
    let app = TestApp::new().with_lag(ms(1)).with_fault(ScriptedFault::on_patch(applied_unknown()));
    let app = app.with_fault(ScriptedFault::on_read(theirs).skip(1)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold", "note": "1"})).await;
    answer.assert_problem(409, "write-superseded", "applied");
    answer.assert_outcomes(&[("note", "superseded"), ("tier", "verified")]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_patch_is_not_looked_for_without_end() {
    let lasting = |retry_after| async move {
        let busy = FaultAction::Status { code: 503, body: None, retry_after };
        let app = TestApp::new().with_fault(ScriptedFault::on_patch(applied_unknown()));
        let app = app.with_fault(ScriptedFault::on_read(busy).skip(1).always());
        let app = app.allowing_leftovers().start().await;
        let answer = app.write_within(30, "", json!({"tier": "gold"})).await;
        answer.assert_problem(503, "upstream-unavailable", "unknown");
        assert!(answer.took < ms(20_000), "{:?}", answer.took);
        app.simulator.count(RequestKind::Read)
    };
    assert!(lasting(None).await < 30);
    assert_eq!(lasting(Some(42)).await, 2, "upstream wants no read before the deadline");
}

#[tokio::test(start_paused = true)]
async fn the_reason_of_an_unknown_patch_outlives_the_deadline() {
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(status(502)));
    let app = app.with_fault(ScriptedFault::on_read(FaultAction::Hang).skip(1).always());
    let app = app.allowing_leftovers().start().await;
    gold(&app).await.assert_problem(503, "upstream-unavailable", "unknown");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_failed_batch_overtook_is_sent_after_all() {
    let app = TestApp::new().with_lag(ms(1)).with_fault(ScriptedFault::on_patch(FaultAction::Hang));
    let app = app.start().await;
    let first = writing(&app, 10, &json!({"tier": "first", "note": "1", "language": "en"}));
    let second = writing(&app, 1, &json!({"tier": "second"}));
    second.await.expect("no panic").assert_problem(504, "deadline-exceeded", "unknown");
    // The later client has given up, and its change was not applied.
    let first = first.await.expect("no panic");
    let outcomes = [("language", "unchanged"), ("note", "verified"), ("tier", "verified")];
    first.assert_status(200).assert_outcomes(&outcomes);
    let sent = [json!({"note": "1", "tier": "second"}), json!({"note": "1", "tier": "first"})];
    assert_eq!(app.patches(), sent.map(|map| json!({ "attributes": map })));
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_leaves_a_later_value_alone() {
    let map = BTreeMap::from([("tier".to_owned(), Some("theirs".to_owned()))]);
    let theirs = FaultAction::ForeignWriteAfter { participant: Some(CUSTOMER.to_owned()), map };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(theirs)).start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let body = json!({"attributes": {"tier": "gold", "note": "1"}}).to_string();
    let answer = app.put(&attributes_of(CALL), &[("if-match", &tag)], body).await;
    answer.assert_problem(409, "write-superseded", "applied");
    answer.assert_outcomes(&[("note", "verified"), ("tier", "superseded")]);
    assert_eq!(app.simulator.count(RequestKind::Patch), 1, "{}", app.order());
    assert_eq!(app.truth(CUSTOMER)["tier"], "theirs");
}

#[tokio::test(start_paused = true)]
async fn a_write_outlives_the_worker_that_another_one_has_killed() {
    let router = defective_once();
    let write = |key: &str| writing_to(router.clone(), "?verify=none", 5, &json!({ key: "1" }));
    let deadly = write("a");
    tokio::time::sleep(ms(5)).await;
    let waiting = write("b");
    deadly.await.expect("no panic").assert_problem(500, "internal", "unknown");
    waiting.await.expect("no panic").assert_status(202).assert_outcomes(&[("b", "unverified")]);
}
