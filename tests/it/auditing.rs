//! The audit: one record for each write request, true for every outcome, and without values.

use std::time::Duration;

use axum::body::Body;
use genesys_simulator::{FaultAction, ScriptedFault};
use http::Request;
use serde_json::{Value, json};

use crate::harness::{
    Builder, CALL, CUSTOMER, MemoryOutput, TestApp, attributes_of, client, ms, request, send, shown,
};
use crate::problems::endless;

/// Records go here; `on_failure` is "drop", so that there are no intents, unless said otherwise.
pub fn recorded() -> (Builder, MemoryOutput) {
    let records = MemoryOutput::default();
    let builder = TestApp::new().with_env("GATEWAY__AUDIT__ON_FAILURE", "drop");
    (builder.recorded_in(&records), records)
}

/// The same, where a write that cannot be recorded is refused.
fn blocking() -> (Builder, MemoryOutput) {
    let records = MemoryOutput::default();
    (TestApp::new().recorded_in(&records), records)
}

pub fn lines(records: &MemoryOutput) -> Vec<Value> {
    let text = records.text();
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

#[track_caller]
fn only(records: &MemoryOutput) -> Value {
    let lines = lines(records);
    let [line] = lines.as_slice() else { panic!("one record, not {lines:#?}") };
    line.clone()
}

pub fn put(id: &str, query: &str, attributes: &Value) -> Request<Body> {
    request("PUT", &format!("{}{query}", attributes_of(CALL)))
        .header("content-type", "application/json")
        .header("x-request-id", id)
        .body(json!({ "attributes": attributes }).to_string().into())
        .expect("a request")
}

fn status(code: u16) -> FaultAction {
    FaultAction::Status { code, body: None, retry_after: None }
}

/// Effect, status, code, and the outcome of the key `tier`.
type ExpectedRecord = (&'static str, u16, Option<&'static str>, &'static str);

#[track_caller]
fn assert_record(record: &Value, (effect, status, code, outcome): ExpectedRecord) {
    assert_eq!(record["record"], "outcome");
    assert_eq!(record["effect"], effect, "{record:#}");
    assert_eq!(record["http.status"], status, "{record:#}");
    assert_eq!(record["problem.code"], json!(code), "{record:#}");
    let tier = record["keys"].as_array().expect("a list").iter().find(|key| key["key"] == "tier");
    assert_eq!(tier.expect("the key")["outcome"], outcome, "{record:#}");
}

#[tokio::test(start_paused = true)]
async fn a_record_tells_who_wrote_what_where_and_what_became_of_it() {
    let (builder, records) = recorded();
    let app = builder.start().await;
    let written = app.send(put("crm-1", "", &json!({"tier": "gold", "new": "x", "source": ""})));
    written.await.assert_status(200);
    let record = only(&records);
    let text = records.text();
    assert!(!text.contains("gold") && !text.contains("silver"), "{text}");
    let at = record["timestamp"].as_str().expect("a time");
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    let correlation = app.simulator.calls().pop().expect("a call").correlation_id;
    for (field, value) in [
        ("target", json!("audit")),
        ("request.id", json!("crm-1")),
        ("http.method", json!("PUT")),
        ("conversation.id", json!(CALL)),
        ("participant.selector", json!("customer")),
        ("participant.id", json!(CUSTOMER)),
        ("participant.purpose", json!("customer")),
        ("correlation.id", json!(correlation)),
        ("upstream.calls", json!(app.upstream_calls())),
        ("client.name", Value::Null),
    ] {
        assert_eq!(record[field], value, "{field} of {record:#}");
    }
    let print = |pointer: &str| record.pointer(pointer).expect("there").clone();
    assert_eq!(print("/keys/0/key"), "new");
    assert_eq!((print("/keys/0/old"), print("/keys/0/outcome")), (Value::Null, json!("verified")));
    assert_eq!((print("/keys/1/new"), print("/keys/1/outcome")), (Value::Null, json!("cleared")));
    let (old, new) = (print("/keys/2/old"), print("/keys/2/new"));
    assert!(old.as_str().is_some_and(|print| print.len() == 32) && new.is_string() && old != new);
}

#[tokio::test(start_paused = true)]
async fn the_next_write_records_the_previous_fingerprint_as_old() {
    let (builder, records) = recorded();
    let app = builder.reading_first().start().await;
    for (id, tier) in [("a", "gold"), ("b", "platinum"), ("c", "platinum")] {
        app.send(put(id, "", &json!({"tier": tier, "level": tier}))).await.assert_status(200);
    }
    let lines = lines(&records);
    let [first, second, third] = lines.as_slice() else { panic!("three records: {lines:#?}") };
    let print = |record: &Value, pointer: &str| record.pointer(pointer).expect("there").clone();
    assert_eq!(print(first, "/keys/1/key"), "tier");
    assert_eq!(print(first, "/keys/1/new"), print(second, "/keys/1/old"));
    assert_eq!(print(second, "/keys/1/new"), print(third, "/keys/1/old"));
    assert_eq!(print(third, "/keys/1/old"), print(third, "/keys/1/new"));
    assert_eq!(print(third, "/keys/1/outcome"), "unchanged");
    // The same value under another key does not look the same.
    assert_ne!(print(first, "/keys/0/new"), print(first, "/keys/1/new"));
}

/// Query, value of the key, what upstream does to the PATCH, and the expected record.
fn endings() -> Vec<(&'static str, &'static str, Option<ScriptedFault>, ExpectedRecord)> {
    let foreign = [("tier".to_owned(), Some("foreign".to_owned()))];
    let foreign = FaultAction::ForeignWriteAfter { participant: None, map: foreign.into() };
    let nobody = ("notApplied", 404, Some("participant-not-found"), "notSent");
    let patched = |action| Some(ScriptedFault::on_patch(action));
    let hangs = Some(ScriptedFault::on_patch(FaultAction::Hang).always());
    let superseded = ("applied", 409, Some("write-superseded"), "superseded");
    let forbidden = ("notApplied", 502, Some("upstream-forbidden"), "notSent");
    let late = ("unknown", 504, Some("deadline-exceeded"), "unknown");
    vec![
        ("", "gold", None, ("applied", 200, None, "verified")),
        ("", "silver", None, ("notApplied", 200, None, "unchanged")),
        ("?verify=none", "gold", None, ("applied", 202, None, "unverified")),
        ("?dryRun=true", "gold", None, ("notApplied", 200, None, "wouldSend")),
        ("", "", None, ("applied", 200, None, "cleared")),
        ("", "gold", patched(foreign), superseded),
        ("", "gold", patched(status(403)), forbidden),
        ("", "gold", hangs, late),
        ("?participant=supervisor", "gold", None, nobody),
        // Data actions get a 200; the record holds the original status.
        ("?view=flat&participant=supervisor", "gold", None, nobody),
    ]
}

#[tokio::test(start_paused = true)]
async fn each_end_of_a_write_has_one_record() {
    for (query, tier, fault, expected) in endings() {
        let (mut builder, records) = recorded();
        if let Some(fault) = fault {
            builder = builder.with_fault(fault);
        }
        let app = builder.allowing_leftovers().start().await;
        let _ = app.send(put("one", query, &json!({ "tier": tier }))).await;
        assert_record(&only(&records), expected);
        assert_eq!(only(&records)["dry_run"].is_boolean(), query.contains("dryRun"));
        tokio::time::sleep(Duration::from_mins(1)).await;
        only(&records);
    }
}

#[tokio::test(start_paused = true)]
async fn early_refusals_are_recorded_and_reads_are_not() {
    let (builder, records) = recorded();
    let app = builder.start().await;
    app.read(CALL, "").await.assert_status(200);
    assert_eq!(records.text(), "");
    let path = attributes_of(CALL);
    let (one, nowhere) = (format!("{path}/tier"), attributes_of("nope"));
    for (method, path, body, code) in [
        ("PUT", &path, "{", "invalid-json"),
        ("PATCH", &path, "{\"attributes\":{\"tier\":1}}", "invalid-attributes"),
        ("PUT", &nowhere, "{}", "invalid-conversation-id"),
        ("DELETE", &path, "", "method-not-allowed"),
        ("DELETE", &format!("{one}?x=1"), "", "invalid-query"),
    ] {
        let headers = [("content-type", "application/json"), ("x-request-id", code)];
        let answer = app.ask((method, path), &headers, body.to_owned()).await;
        assert_eq!(answer.at("/code"), code);
        let record = lines(&records).pop().expect("a record");
        assert_eq!((&record["request.id"], &record["problem.code"]), (&json!(code), &json!(code)));
        assert_eq!(record["http.status"], answer.status);
        assert_eq!((&record["effect"], &record["keys"]), (&json!("notApplied"), &json!([])));
    }
    assert_eq!(lines(&records).len(), 5);
    let cleared = app.ask(("DELETE", &one), &[], "").await;
    cleared.assert_status(200);
    let record = lines(&records).pop().expect("a record");
    assert_record(&record, ("applied", 200, None, "cleared"));
    assert_eq!(record["http.method"], "DELETE");
}

#[tokio::test(start_paused = true)]
async fn the_members_of_a_batch_have_a_record_each() {
    let (builder, records) = recorded();
    let app = builder.with_lag(Duration::ZERO).start().await;
    // The first is on its way when the others come, which share a turn.
    let writes = ["one", "two", "three", "four"].map(|id| {
        let value = if id == "four" { "x".repeat(11_000) } else { id.to_owned() };
        send(app.router(), put(id, "", &json!({"tier": value, id: "1"})))
    });
    let [one, two, three, four] = writes;
    let (one, two, three, four) = tokio::join!(one, two, three, four);
    let expected = [("one", one), ("two", two), ("three", three), ("four", four)];
    assert_eq!(lines(&records).len(), expected.len());
    let mut superseded = 0;
    for (id, answer) in expected {
        let all = lines(&records);
        let mut own = all.iter().filter(|record| record["request.id"] == id);
        let (record, None) = (own.next().expect("a record"), own.next()) else {
            panic!("two records of {id}")
        };
        assert_eq!(record["http.status"], answer.status, "{id}");
        let outcomes = answer.json()["outcomes"].clone();
        for key in record["keys"].as_array().expect("a list") {
            let name = key["key"].as_str().expect("a name");
            let outcome = if outcomes.is_null() { &json!("notSent") } else { &outcomes[name] };
            assert_eq!(key["outcome"], *outcome, "{name} of {id}");
            superseded += usize::from(*outcome == "superseded");
        }
    }
    assert!(superseded > 0, "some of them met in a batch");
}

#[tokio::test(start_paused = true)]
async fn a_write_after_a_hang_up_is_recorded_with_its_true_outcome() {
    // Answers take 20 ms: the read leaves at 0, the PATCH at 20, the read-backs from 40 on.
    for patience in [1, 25, 45, 95] {
        let (builder, records) = recorded();
        let app = builder.with_lag(ms(100)).start().await;
        let call = send(app.router(), put("gone", "", &json!({"tier": "gold"})));
        assert!(tokio::time::timeout(ms(patience), call).await.is_err(), "it was too quick");
        assert_eq!(records.text(), "", "it is not over yet");
        tokio::time::sleep(ms(1000)).await;
        assert_record(&only(&records), ("applied", 499, None, "verified"));
        assert_eq!(only(&records)["upstream.calls"], app.upstream_calls());
        assert_eq!(only(&records)["participant.id"], CUSTOMER);
    }
    let (builder, records) = recorded();
    let app = builder.with_fault(ScriptedFault::on_patch(status(403))).start().await;
    let call = send(app.router(), put("gone", "", &json!({"tier": "gold"})));
    assert!(tokio::time::timeout(ms(5), call).await.is_err(), "it was too quick");
    tokio::time::sleep(ms(1000)).await;
    assert_record(&only(&records), ("notApplied", 499, Some("upstream-forbidden"), "notSent"));
}

#[tokio::test(start_paused = true)]
async fn a_hang_up_within_the_body_writes_nothing() {
    let (builder, records) = recorded();
    let app = builder.start().await;
    let mut call = put("gone", "", &json!({}));
    *call.body_mut() = endless();
    assert!(tokio::time::timeout(ms(5), send(app.router(), call)).await.is_err());
    let record = only(&records);
    assert_eq!((&record["effect"], &record["http.status"]), (&json!("notApplied"), &json!(499)));
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_block_the_intent_is_recorded_before_sending() {
    let (builder, records) = blocking();
    let app = builder.start().await;
    let call = send(app.router(), put("one", "", &json!({"tier": "gold"})));
    let ((), answer) = tokio::join!(
        async {
            // Long before the read is answered.
            tokio::time::sleep(ms(1)).await;
            let intent = only(&records);
            assert_eq!(intent["record"], "intent");
            assert_eq!(intent["keys"][0]["key"], "tier");
            assert!(intent["keys"][0]["new"].is_string() && intent["effect"].is_null());
        },
        call
    );
    answer.assert_status(200);
    let lines = lines(&records);
    let [intent, outcome] = lines.as_slice() else { panic!("two records: {lines:#?}") };
    assert_record(outcome, ("applied", 200, None, "verified"));
    assert_eq!(intent["request.id"], outcome["request.id"]);
    assert_eq!(intent["keys"][0]["new"], outcome["keys"][0]["new"]);
    // What sends nothing needs no intent.
    let _ = app.send(put("dry", "?dryRun=true", &json!({"tier": "x"}))).await;
    let _ = app.send(put("bad", "?x=1", &json!({"tier": "x"}))).await;
    let kinds: Vec<_> = self::lines(&records)[2..].iter().map(|l| l["record"].clone()).collect();
    assert_eq!(kinds, ["outcome", "outcome"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_cannot_be_recorded_is_refused_unsent() {
    let (builder, records) = blocking();
    let app = builder.start().await;
    records.fill(true);
    let refused = app.send(put("one", "", &json!({"tier": "gold"}))).await;
    refused.assert_problem(503, "audit-unavailable", "notApplied");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(app.upstream_calls(), 0);
    app.read(CALL, "").await.assert_status(200);
    let ready = app.get("/readyz?verbose").await;
    ready.assert_status(200);
    let check = "audit: failed: cannot be written: memory: no storage space; 1 records lost";
    assert!(ready.text.contains(check), "{}", ready.text);
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("attribute_gateway_audit_lost_total 1\n"), "{metrics}");
    records.fill(false);
    app.send(put("two", "", &json!({"tier": "gold"}))).await.assert_status(200);
    assert_eq!(lines(&records).len(), 2);
    let ready = app.get("/readyz?verbose").await.text;
    assert!(ready.contains("audit: ok: 1 records lost since the start\n"), "{ready}");
}

#[tokio::test(start_paused = true)]
async fn a_write_succeeds_though_its_outcome_record_fails() {
    let (builder, records) = blocking();
    let app = builder.start().await;
    let call = send(app.router(), put("one", "", &json!({"tier": "gold"})));
    let full = async {
        tokio::time::sleep(ms(30)).await;
        records.fill(true);
    };
    let ((), answer) = tokio::join!(full, call);
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    assert_eq!(only(&records)["record"], "intent", "it does not go unrecorded");
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("attribute_gateway_audit_lost_total 1\n"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn where_records_may_be_lost_writes_go_on_and_the_loss_is_loud() {
    let (builder, records) = recorded();
    let app = builder.start().await;
    records.fill(true);
    for number in 0..30 {
        let write = put("one", "", &json!({"tier": number.to_string()}));
        app.send(write).await.assert_status(200);
    }
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("attribute_gateway_audit_lost_total 30\n"), "{metrics}");
    let errors = |log: &str| log.matches("audit records cannot be written").count();
    let log = app.logs.text();
    assert!((1..=2).contains(&errors(&log)), "at once, and not for each: {log}");
    tokio::time::sleep(Duration::from_secs(11)).await;
    app.send(put("one", "", &json!({"tier": "x"}))).await.assert_status(200);
    assert_eq!(errors(&app.logs.text()), errors(&log) + 1);
    records.fill(false);
    app.send(put("one", "", &json!({"tier": "y"}))).await.assert_status(200);
    assert!(app.logs.text().contains("audit records are written again"));
    only(&records);
}

#[tokio::test(start_paused = true)]
async fn records_name_the_client_and_its_refused_keys() {
    let (builder, records) = recorded();
    let app = builder.with_clients(&[client("crm", "k", "allow = [\"tier\"]")]).start().await;
    let json = ("content-type", "application/json");
    let body = json!({"attributes": {"tier": "gold", "salary": "secret"}}).to_string();
    let path = attributes_of(CALL);
    let refused = app.ask(("PUT", &path), &[json, shown("k")], body.clone()).await;
    refused.assert_problem(403, "attribute-not-allowed", "notApplied");
    let record = only(&records);
    assert_record(&record, ("notApplied", 403, Some("attribute-not-allowed"), "notSent"));
    assert_eq!(
        (&record["client.name"], &record["keys"][0]["key"]),
        (&json!("crm"), &json!("salary"))
    );
    assert!(!records.text().contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn refused_clients_fill_neither_the_audit_nor_the_traces() {
    let (builder, records) = recorded();
    let clients = [client("crm", "k", ""), client("fast", "f", "requests_per_minute = 10")];
    let app = builder.with_clients(&clients).with_env("GATEWAY__DEBUG__ENABLED", "true");
    let app = app.start().await;
    let path = attributes_of(CALL);
    let json = ("content-type", "application/json");
    let asked = async |headers: &[(&str, &str)]| {
        let headers = [&[json], headers].concat();
        app.ask(("PUT", &path), &headers, r#"{"attributes":{"tier":"x"}}"#).await.status
    };
    assert_eq!(asked(&[shown("k")]).await, 200);
    assert_eq!(asked(&[shown("f")]).await, 200);
    for _ in 0..2_000 {
        assert_eq!(asked(&[]).await, 401);
    }
    assert_eq!(asked(&[shown("f")]).await, 429);
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(lines(&records).len(), 2);
    let metrics = app.ask(("GET", "/metrics"), &[shown("k")], "").await.text;
    assert!(metrics.contains(r#"status="401"} 2000"#), "the metrics count them: {metrics}");
    let trace = format!("/v1/conversations/{CALL}/trace");
    let trace = app.ask(("GET", &trace), &[shown("k")], "").await;
    let requests = trace.assert_status(200).at("/requests").clone();
    assert_eq!(requests.as_array().map(Vec::len), Some(2), "{requests}");
}
