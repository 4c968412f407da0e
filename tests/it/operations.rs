//! `Prefer: respond-async`: what was accepted is carried out, in order, and once.
//!
//! The store has a thread of its own, so these tests run in real time.

mod crashes;

use genesys_simulator::{FaultAction, RequestKind, ScriptedFault};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::auditing::lines;
use crate::harness::{
    Answer, Builder, CALL, CUSTOMER, MemoryOutput, TestApp, attributes_of, client, ms, replace,
    shown, until,
};

fn base() -> (Builder, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db");
    let app = TestApp::new().with_settings(|settings| settings.latency = ms(2)).with_lag(ms(10));
    (app.with_env("GATEWAY__STORE__PATH", path.to_str().expect("text")), folder)
}

async fn accepted(app: &TestApp, more: &[(&str, &str)], attributes: Value) -> Answer {
    let headers = [&[("prefer", "respond-async")], more].concat();
    let body = json!({ "attributes": attributes }).to_string();
    app.put(&attributes_of(CALL), &headers, body).await
}

/// The operation, once it has ended.
async fn ended(app: &TestApp, accepted: &Answer) -> Value {
    accepted.assert_status(202);
    until("it ends", async || {
        let operation = app.get(accepted.header("location")).await.assert_status(200).json();
        (!["queued", "running"].contains(&operation["state"].as_str()?)).then_some(operation)
    })
    .await
}

fn busy() -> FaultAction {
    FaultAction::Status { code: 503, body: None, retry_after: None }
}

#[tokio::test]
async fn an_accepted_write_gets_the_answer_of_a_synchronous_one() {
    let records = MemoryOutput::default();
    let (app, _folder) = base();
    let clients = [client("crm", "a", ""), client("ivr", "b", "")];
    let app = app.with_clients(&clients).recorded_in(&records);
    let app = app.with_env("GATEWAY__AUDIT__ON_FAILURE", "drop").start().await;
    let answer =
        accepted(&app, &[shown("a"), ("x-request-id", "r1")], json!({"tier": "gold"})).await;
    answer.assert_status(202);
    assert_eq!(answer.header("preference-applied"), "respond-async");
    let operation = answer.json();
    assert_eq!(
        (&operation["state"], &operation["conversationId"]),
        (&json!("queued"), &json!(CALL))
    );
    let path = answer.header("location").to_owned();
    assert_eq!(path, format!("/v1/operations/{}", operation["id"].as_str().expect("an id")));
    let get = async |key| app.ask(("GET", &path), &[shown(key)], "").await;
    let done = until("it is done", async || {
        let found = get("a").await.assert_status(200).json();
        (found["state"] == "done").then_some(found)
    });
    let done = done.await;
    assert_eq!(done["result"]["status"], 200);
    assert_eq!(done["result"]["body"]["outcomes"], json!({"tier": "verified"}));
    assert_eq!(done["result"]["body"]["participant"]["id"], CUSTOMER);
    assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
    get("b").await.assert_problem(404, "operation-not-found", "notApplied");
    let other = app.ask(("DELETE", &path), &[shown("b")], "").await;
    other.assert_problem(404, "operation-not-found", "notApplied");
    let late = app.ask(("DELETE", &path), &[shown("a")], "").await;
    late.assert_problem(409, "operation-in-progress", "notApplied");
    let records = lines(&records);
    let [record] = records.as_slice() else { panic!("one record, not {records:#?}") };
    assert_eq!((&record["request.id"], &record["effect"]), (&json!("r1"), &json!("applied")));
    assert_eq!(record["client.name"], "crm");
    // It is counted once it has been stored.
    let metrics = until("it is counted", async || {
        let metrics = app.ask(("GET", "/metrics"), &[shown("a")], "").await.text;
        metrics.contains("operations_ended_total{state=\"done\"} 1\n").then_some(metrics)
    });
    let metrics = metrics.await;
    assert!(metrics.contains("attribute_gateway_journal_sync_seconds"), "{metrics}");
}

#[tokio::test]
async fn without_a_durable_store_the_preference_is_not_applied() {
    let app = TestApp::new().with_lag(ms(10)).start().await;
    let answer = accepted(&app, &[], json!({"tier": "gold"})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!((answer.header("preference-applied"), answer.header("location")), ("", ""));
    assert!(app.readiness().await.text.contains("store: ok: in memory"));
    let (app, _folder) = base();
    let app = app.start().await;
    for query in ["?view=flat&keys=tier", "?dryRun=true"] {
        let path = format!("{}{query}", attributes_of(CALL));
        let body = json!({"attributes": {"tier": "gold"}}).to_string();
        app.put(&path, &[("prefer", "respond-async")], body).await.assert_status(200);
    }
    assert!(app.readiness().await.text.contains("store: ok: 0 accepted writes wait"));
}

#[tokio::test]
async fn writes_are_carried_out_in_order_through_an_outage() {
    let (app, _folder) = base();
    let app = app.with_fault(ScriptedFault::on_read(busy()).times(6)).allowing_leftovers();
    let app = app.start().await;
    let mut answers = Vec::new();
    for number in 0..5 {
        answers.push(accepted(&app, &[], json!({"tier": number.to_string()})).await);
    }
    let path = format!("{}/tier", attributes_of(CALL));
    let headers = [("prefer", "respond-async")];
    answers.push(app.ask(("DELETE", &path), &headers, "").await);
    let headers = [("prefer", "respond-async"), ("content-type", "text/plain")];
    answers.push(app.ask(("PUT", &path), &headers, "last").await);
    for answer in &answers {
        assert_eq!(ended(&app, answer).await["state"], "done");
    }
    let ledger = app.simulator.ledger();
    let written: Vec<_> = ledger.iter().filter_map(|entry| entry.changes.get("tier")).collect();
    let written: Vec<_> = written.iter().map(|value| value.as_deref().unwrap_or("")).collect();
    assert_eq!(written, ["0", "1", "2", "3", "4", "", "last"]);
}

#[tokio::test]
async fn writes_that_wait_together_leave_in_one_patch() {
    let (app, _folder) = base();
    let app = app.with_fault(ScriptedFault::on_read(busy()).always()).allowing_leftovers();
    let app = app.start().await;
    let mut answers = vec![accepted(&app, &[], json!({"tier": "gold"})).await];
    until("it is being carried out", async || {
        app.simulator.calls().iter().any(|call| call.was_answered(503)).then_some(())
    })
    .await;
    for number in 0..6 {
        answers.push(accepted(&app, &[], json!({ format!("key{number}"): "new" })).await);
    }
    // One that fails, and one that goes alone because of its condition.
    let path = format!("{}/tier?participant=acd", attributes_of(CALL));
    let headers = [("prefer", "respond-async"), ("content-type", "text/plain")];
    let lost = app.ask(("PUT", &path), &headers, "gold").await;
    let stale = accepted(&app, &[("if-match", "\"old\"")], json!({"tier": "bronze"})).await;
    answers.push(accepted(&app, &[], json!({"key0": "newer", "key1": "new"})).await);
    app.simulator.clear_faults();
    for answer in &answers {
        let operation = ended(&app, answer).await;
        assert_eq!(
            (&operation["state"], &operation["result"]["status"]),
            (&json!("done"), &json!(200))
        );
    }
    for (answer, status) in [(lost, 404), (stale, 412)] {
        assert_eq!(ended(&app, &answer).await["result"]["status"], status);
    }
    let ledger = app.simulator.ledger();
    let sizes: Vec<_> = ledger.iter().map(|entry| entry.changes.len()).collect();
    assert_eq!(sizes, [1, 6, 1], "{ledger:#?}");
    assert_eq!(app.truth(CUSTOMER)["key0"], "newer");
}

#[tokio::test]
async fn an_operation_ends_with_its_time_or_with_its_call() {
    let (app, _folder) = base();
    let app = app.with_fault(ScriptedFault::on_read(busy()).always()).allowing_leftovers();
    let app = app.start().await;
    let headers = [("prefer", "respond-async, wait=2")];
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let answer = app.put(&attributes_of(CALL), &headers, body).await;
    assert_eq!(answer.header("preference-applied"), "respond-async, wait=2");
    let operation = ended(&app, &answer).await;
    assert_eq!(operation["state"], "expired");
    assert_eq!(app.simulator.count(RequestKind::Patch), 0);
    app.simulator.clear_faults();
    assert!(app.simulator.end_conversation(CALL));
    let operation = ended(&app, &accepted(&app, &[], json!({"tier": "gold"})).await).await;
    assert_eq!(
        (&operation["state"], &operation["result"]["status"]),
        (&json!("failed"), &json!(409))
    );
    assert_eq!(operation["result"]["body"]["code"], "conversation-ended");
}

#[tokio::test]
async fn an_unsent_operation_can_be_cancelled_and_the_number_is_bounded() {
    let (app, _folder) = base();
    let app = app.with_env("GATEWAY__STORE__MAX_OPERATIONS", "1");
    let app = app.with_fault(ScriptedFault::on_read(busy()).always()).allowing_leftovers();
    let app = app.start().await;
    let first = accepted(&app, &[], json!({"tier": "gold"})).await;
    let second = accepted(&app, &[], json!({"tier": "gold"})).await;
    second.assert_problem(503, "overloaded", "notApplied");
    assert_eq!(second.header("retry-after"), "1");
    let path = first.header("location").to_owned();
    app.ask(("DELETE", &path), &[], "").await.assert_status(204);
    assert_eq!(app.get(&path).await.at("/state"), "cancelled");
    app.simulator.clear_faults();
    tokio::time::sleep(ms(1_500)).await;
    assert_eq!((app.simulator.count(RequestKind::Patch), app.get(&path).await.status), (0, 200));
    accepted(&app, &[], json!({"tier": "gold"})).await.assert_status(202);
}

#[tokio::test]
async fn a_repeated_key_names_the_same_operation() {
    let (app, _folder) = base();
    let app = app.start().await;
    let key = [("idempotency-key", "k")];
    let first = accepted(&app, &key, json!({"tier": "gold"})).await;
    ended(&app, &first).await;
    let again = accepted(&app, &key, json!({"tier": "gold"})).await;
    again.assert_status(202);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("preference-applied"), "respond-async");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(app.simulator.count(RequestKind::Patch), 1);
}

#[tokio::test]
async fn a_doubtful_patch_is_read_before_it_is_sent_again() {
    for (action, patches) in [(FaultAction::HangAfterApply, 1), (FaultAction::Hang, 2)] {
        let (app, _folder) = base();
        let app = app.with_fault(ScriptedFault::on_patch(action)).start().await;
        let operation = ended(&app, &accepted(&app, &[], json!({"tier": "gold"})).await).await;
        assert_eq!(operation["state"], "done", "{operation:#}");
        assert_eq!(app.truth(CUSTOMER)["tier"], "gold");
        assert_eq!(app.simulator.count(RequestKind::Patch), patches);
        assert!(!app.order().contains("PP"), "{}", app.order());
    }
}

#[tokio::test]
async fn an_accepted_write_keeps_its_condition() {
    let (app, _folder) = base();
    let app = app.start().await;
    let tag = app.read(CALL, "").await.header("etag").to_owned();
    let condition = [("if-match", tag.as_str())];
    let operation = ended(&app, &accepted(&app, &condition, json!({"tier": "gold"})).await).await;
    assert_eq!(operation["state"], "done");
    let operation = ended(&app, &accepted(&app, &condition, json!({"tier": "x"})).await).await;
    assert_eq!(
        (&operation["state"], &operation["result"]["status"]),
        (&json!("failed"), &json!(412))
    );
}

#[tokio::test]
async fn a_stored_answer_follows_the_rights_of_now() {
    let (app, _folder) = base();
    let app = app.with_clients(&[client("crm", "a", "")]).start().await;
    let put = async || {
        let body = json!({"attributes": {"tier": "gold"}}).to_string();
        app.put(&attributes_of(CALL), &[shown("a"), ("idempotency-key", "k")], body).await
    };
    let first = put().await.assert_status(200).json();
    let kept = accepted(&app, &[shown("a")], json!({"tier": "x"})).await;
    let get = async || app.ask(("GET", kept.header("location")), &[shown("a")], "").await.json();
    let before = until("it ends", async || {
        Some(get().await).filter(|operation| operation["state"] == "done")
    })
    .await;
    for stored in [&first, &before["result"]["body"]] {
        assert_eq!(stored["attributes"]["language"], "en");
    }

    replace(&app.clients_file(), &client("crm", "a", "deny = [\"language\"]"));
    until("the rights are narrower", async || {
        get().await["result"]["body"]["attributes"].get("language").is_none().then_some(())
    })
    .await;
    let again = put().await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
    for (stored, before) in
        [(&again.json(), &first), (&get().await["result"]["body"], &before["result"]["body"])]
    {
        assert_eq!(stored["attributes"].get("language"), None);
        assert_eq!(stored["attributes"]["tier"], before["attributes"]["tier"]);
        assert_eq!(stored["outcomes"], before["outcomes"]);
    }
}
