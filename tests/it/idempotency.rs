//! `Idempotency-Key`: a repeated write gets the answer of the first, and puts no old value over a newer one.
//!
//! The store has a thread of its own, so these tests run in real time.

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{
    Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, client, ms, request, send, shown,
};

fn base() -> Builder {
    TestApp::new().with_settings(|settings| settings.latency = ms(2)).with_lag(ms(10))
}

async fn put(app: &TestApp, key: &str, more: &[(&str, &str)], tier: &str) -> Answer {
    let headers = [&[("idempotency-key", key)], more].concat();
    let body = json!({ "attributes": { "tier": tier } }).to_string();
    app.put(&attributes_of(CALL), &headers, body).await
}

fn patches(app: &TestApp) -> usize {
    app.simulator.count(RequestKind::Patch)
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_writes_nothing() {
    let app = base().start().await;
    let first = put(&app, "crm-1", &[], "gold").await;
    first.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!(first.header("idempotency-replayed"), "");
    app.write(CALL, "", json!({"tier": "bronze"})).await.assert_status(200);
    let calls = app.upstream_calls();
    for key in ["crm-1", "\"crm-1\""] {
        let again = put(&app, key, &[], "gold").await;
        again.assert_status(200);
        assert_eq!((&again.text, again.header("etag")), (&first.text, first.header("etag")));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert_eq!((app.upstream_calls(), app.truth(CUSTOMER)["tier"].as_str()), (calls, "bronze"));
    let reused = put(&app, "crm-1", &[], "silver").await;
    reused.assert_problem(422, "idempotency-key-reused", "notApplied");
    // Another query is another scope, as is a PATCH.
    let path = format!("{}?participant=agent", attributes_of(CALL));
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let other = app.put(&path, &[("idempotency-key", "crm-1")], body.clone()).await;
    assert_eq!((other.status, other.header("idempotency-replayed")), (200, ""));
    let headers = [("idempotency-key", "crm-1"), ("content-type", "application/json")];
    let patched = app.ask(("PATCH", &attributes_of(CALL)), &headers, body).await;
    assert_eq!((patched.status, patched.header("idempotency-replayed")), (200, ""));
}

#[tokio::test]
async fn an_unchanged_answer_is_repeated_too() {
    let app = base().start().await;
    let first = put(&app, "k", &[], "silver").await;
    first.assert_status(200).assert_outcomes(&[("tier", "unchanged")]);
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    put(&app, "k", &[], "silver").await.assert_outcomes(&[("tier", "unchanged")]);
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
    let path = format!("{}/tier", attributes_of(CALL));
    let delete = || app.ask(("DELETE", &path), &[("idempotency-key", "k")], "");
    delete().await.assert_outcomes(&[("tier", "cleared")]);
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    assert_eq!(delete().await.header("idempotency-replayed"), "true");
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
}

#[tokio::test]
async fn what_changed_nothing_is_judged_anew() {
    let app = base().start().await;
    let stale = [("if-match", "\"old\"")];
    put(&app, "k", &stale, "gold").await.assert_problem(412, "precondition-failed", "notApplied");
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    put(&app, "k", &[("if-match", &tag)], "gold").await.assert_status(200);
    // The tag is stale now, and the repeat is no new write.
    let again = put(&app, "k", &[("if-match", &tag)], "gold").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    for bad in ["", "\"\"", "a b", "\"a"] {
        put(&app, bad, &[], "gold").await.assert_problem(400, "invalid-header", "notApplied");
    }
    let long = "x".repeat(256);
    put(&app, &long, &[], "gold").await.assert_problem(400, "invalid-header", "notApplied");
    let twice = [("idempotency-key", "b")];
    put(&app, "a", &twice, "gold").await.assert_problem(400, "invalid-header", "notApplied");
}

#[tokio::test]
async fn a_repeat_waits_for_the_first_answer() {
    let app = base().with_lag(ms(1_200)).start().await;
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let first = request("PUT", &attributes_of(CALL))
        .header("content-type", "application/json")
        .header("idempotency-key", "k")
        .body(body.into())
        .expect("a request");
    let first = tokio::spawn(send(app.router(), first));
    tokio::time::sleep(ms(100)).await;
    let hasty = put(&app, "k", &[("prefer", "wait=1")], "gold").await;
    hasty.assert_problem(409, "operation-in-progress", "unknown");
    assert_eq!(hasty.header("retry-after"), "1");
    let patient = put(&app, "k", &[], "gold").await;
    let first = first.await.expect("no panic");
    assert_eq!((first.status, &first.text), (200, &patient.text));
    assert_eq!((patient.header("idempotency-replayed"), patches(&app)), ("true", 1));
}

#[tokio::test]
async fn a_write_whose_client_hung_up_is_not_made_twice() {
    let app = base().with_lag(ms(300)).start().await;
    let early = tokio::time::timeout(ms(60), put(&app, "k", &[], "gold")).await;
    assert!(early.is_err(), "it was too quick");
    let again = put(&app, "k", &[], "gold").await;
    again.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!((again.header("idempotency-replayed"), patches(&app)), ("true", 1));
}

/// A write whose PATCH was applied or not, and whose fate no read shows before the deadline.
async fn doubtful(applied: bool) -> TestApp {
    let hang = if applied { FaultAction::HangAfterApply } else { FaultAction::Hang };
    let app = base().with_env("GATEWAY__VERIFY__OUTSTANDING", "1ms");
    let app = app.with_fault(ScriptedFault::on_patch(hang));
    let app = app.with_fault(ScriptedFault::on_read(FaultAction::Hang).skip(1).always());
    let app = app.allowing_leftovers().start().await;
    let first = put(&app, "k", &[("prefer", "wait=3")], "gold").await;
    assert_eq!(first.at("/effect"), "unknown", "{}", first.text);
    app.simulator.clear_faults();
    assert_eq!(patches(&app), 1);
    app
}

#[tokio::test]
async fn a_doubtful_write_that_is_there_is_not_sent_again() {
    let app = doubtful(true).await;
    let again = put(&app, "k", &[], "gold").await;
    again.assert_status(200);
    assert_eq!((patches(&app), app.truth(CUSTOMER)["tier"].as_str()), (1, "gold"));
    assert_eq!(put(&app, "k", &[], "gold").await.header("idempotency-replayed"), "true");
}

#[tokio::test]
async fn a_doubtful_write_is_sent_again_over_the_value_before_it() {
    let app = doubtful(false).await;
    let again = put(&app, "k", &[], "gold").await;
    again.assert_status(200);
    assert_eq!((patches(&app), app.truth(CUSTOMER)["tier"].as_str()), (2, "gold"));
}

#[tokio::test]
async fn a_doubtful_write_leaves_a_third_value_alone() {
    let app = doubtful(true).await;
    assert!(app.simulator.write_as_other(CALL, CUSTOMER, [("tier", "bronze")]));
    for _ in 0..2 {
        let again = put(&app, "k", &[], "gold").await;
        assert_eq!((again.status, again.at("/code")), (409, json!("write-superseded")));
        assert_eq!(again.at("/effect"), "unknown", "{}", again.text);
    }
    assert_eq!((patches(&app), app.truth(CUSTOMER)["tier"].as_str()), (1, "bronze"));
}

#[tokio::test]
async fn an_unproved_write_is_judged_again_by_a_read() {
    let app = base().with_lag(ms(1_500)).start().await;
    let first = put(&app, "k", &[("prefer", "wait=1")], "gold").await;
    first.assert_status(202).assert_outcomes(&[("tier", "unverified")]);
    tokio::time::sleep(ms(700)).await;
    put(&app, "k", &[], "gold").await.assert_status(200);
    assert_eq!(patches(&app), 1);
}

#[tokio::test]
async fn answers_outlive_a_restart_with_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let start = || base().with_env("GATEWAY__STORE__PATH", path.to_str().expect("text")).start();
    let app = start().await;
    let first = put(&app, "k", &[], "gold").await;
    first.assert_status(200);
    stop(app).await;
    let app = start().await;
    let again = put(&app, "k", &[], "gold").await;
    assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, "true"));
    assert_eq!(patches(&app), 0);
}

/// Ends a service, so that its file is free.
pub async fn stop(app: TestApp) {
    app.service().shutdown().begin(ms(1_000));
    app.service().shutdown().finished(ms(1_000)).await;
    drop(app);
    tokio::time::sleep(ms(100)).await;
}

#[tokio::test]
async fn a_key_belongs_to_its_client_and_a_refused_repeat_shows_nothing() {
    let clients = [client("crm", "a", ""), client("ivr", "b", "")];
    let app = base().with_clients(&clients).start().await;
    put(&app, "k", &[shown("a")], "gold").await.assert_status(200);
    let other = put(&app, "k", &[shown("b")], "silver").await;
    assert_eq!((other.status, other.header("idempotency-replayed")), (200, ""));
}

#[tokio::test]
async fn the_audit_shows_that_a_repeat_wrote_nothing() {
    let records = crate::harness::MemoryOutput::default();
    let app = base().with_env("GATEWAY__AUDIT__ON_FAILURE", "drop");
    let app = app.recorded_in(&records).start().await;
    for _ in 0..2 {
        put(&app, "k", &[], "gold").await.assert_status(200);
    }
    let effects: Vec<_> =
        crate::auditing::lines(&records).iter().map(|line| line["effect"].clone()).collect();
    assert_eq!(effects, ["applied", "notApplied"]);
    let foreign = BTreeMap::from([("tier".to_owned(), Some("x".to_owned()))]);
    assert!(app.simulator.change_as_other(CALL, CUSTOMER, foreign));
}

#[tokio::test]
async fn the_client_example_writes_once_over_a_lost_answer() {
    let demo = crate::harness::Process::demo(&[], &[]).await;
    let call = "11111111-1111-4111-8111-111111111111";
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/write-once.sh");
    let run = async |value: &str| {
        let mut command = tokio::process::Command::new(script);
        command.args(["event-1", call, "visits", value]).env("GATEWAY_URL", &demo.gateway);
        command.output().await.expect("it starts")
    };
    for _ in 0..2 {
        let written = run("3").await;
        assert_eq!(String::from_utf8_lossy(&written.stdout), "verified\n", "{written:?}");
    }
    let reused = run("4").await;
    assert!(String::from_utf8_lossy(&reused.stderr).starts_with("idempotency-key-reused"));
    let ledger = demo.sim("ledger").await;
    let patches = ledger.as_array().expect("a list").iter();
    assert_eq!(patches.filter(|entry| entry["changes"]["visits"] == "3").count(), 1, "{ledger:#}");
}
