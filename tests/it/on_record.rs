//! What the audit says of values: `old` is what stood there before this write, and whatever is sent
//! in its name stands on record, also what nobody asked for.

use attribute_gateway::audit::Captured;
use attribute_gateway::simulator::{Action, Fault, PatchSemantics};
use serde_json::{Value, json};

use crate::auditing::{lines, put, recorded};
use crate::harness::{CALL, TestApp, customer_call, ms};

/// The record of one kind of one request.
#[track_caller]
fn record_of(records: &Captured, kind: &str, id: &str) -> Value {
    let all = lines(records);
    let mut own = all.iter().filter(|line| line["record"] == kind && line["request.id"] == id);
    let (Some(record), None) = (own.next(), own.next()) else {
        panic!("one {kind} of {id}: {all:#?}")
    };
    record.clone()
}

/// A fingerprint of a key of a record; `Null` for what was absent, `None` for what is left out.
fn print(record: &Value, key: &str, which: &str) -> Option<Value> {
    let keys = record["keys"].as_array().expect("a list");
    let found = keys.iter().find(|found| found["key"] == key).expect("the key");
    found.get(which).cloned()
}

#[tokio::test(start_paused = true)]
async fn what_was_written_moments_ago_and_not_seen_yet_is_what_stood_there() {
    let (builder, records) = recorded();
    let app = builder.with_lag(ms(5000)).start().await;
    app.read(CALL, "").await.assert_status(200);
    for (id, tier) in [("a", "gold"), ("b", "platinum"), ("c", "")] {
        app.send(put(id, "?verify=none", &json!({"tier": tier}))).await.assert_status(202);
    }
    app.send(put("d", "?dryRun=true", &json!({"tier": "silver"}))).await.assert_status(200);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| record_of(&records, "outcome", id));
    assert_eq!(print(&b, "tier", "old"), print(&a, "tier", "new"));
    assert_eq!(print(&c, "tier", "old"), print(&b, "tier", "new"));
    assert_eq!(print(&d, "tier", "old"), Some(Value::Null));
    assert_eq!(print(&d, "tier", "new"), print(&a, "tier", "old"), "silver stood there at first");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_to_have_been_applied_is_left_out() {
    let (builder, records) = recorded();
    let lost = Fault::on_patch(Action::HangAfterApply).always();
    let app = builder.with_lag(ms(9000)).with_fault(lost).allowing_leftovers().start().await;
    app.send(put("a", "", &json!({"tier": "gold"}))).await.assert_status(504);
    app.simulator.clear_faults();
    let both = json!({"tier": "platinum", "source": "app"});
    app.send(put("b", "?verify=none", &both)).await.assert_status(202);
    let record = record_of(&records, "outcome", "b");
    assert_eq!(print(&record, "tier", "old"), None, "{record:#}");
    assert!(print(&record, "source", "old").is_some_and(|print| print.is_string()));
}

#[tokio::test(start_paused = true)]
async fn a_repair_stands_on_record_with_all_that_it_sends_and_hides_nothing_of_before() {
    for (blocks, query) in [(false, ""), (true, ""), (true, "?verify=none")] {
        let records = Captured::default();
        let on_failure = if blocks { "block" } else { "drop" };
        let app = TestApp::new().with_env("GATEWAY__AUDIT__ON_FAILURE", on_failure);
        let app = app.with_settings(|settings| settings.semantics = PatchSemantics::Replace);
        let app = app.recorded_in(&records).start().await;
        let _ = app.send(put("a", query, &json!({"tier": "gold"}))).await;
        tokio::time::sleep(ms(5000)).await;
        assert_eq!(app.patches().len(), 2, "it was repaired");
        let (repair, outcome) =
            (record_of(&records, "repair", "a"), record_of(&records, "outcome", "a"));
        let keys: Vec<_> = repair["keys"].as_array().into_iter().flatten().collect();
        let names: Vec<_> = keys.iter().map(|key| key["key"].as_str().expect("a name")).collect();
        assert_eq!(names, ["language", "source", "tier"]);
        assert_eq!((&repair["conversation.id"], &repair["effect"]), (&json!(CALL), &Value::Null));
        assert_eq!(repair["participant.purpose"], "customer");
        assert_eq!(print(&repair, "source", "old"), Some(Value::Null), "dropped");
        assert!(print(&repair, "source", "new").is_some_and(|print| print.is_string()));
        assert_eq!(print(&repair, "tier", "new"), print(&outcome, "tier", "new"));
        assert_eq!(print(&repair, "tier", "old"), print(&outcome, "tier", "new"));
        // Not what the repair found there.
        assert_ne!(print(&outcome, "tier", "old"), print(&outcome, "tier", "new"));
        assert!(print(&outcome, "tier", "old").is_some_and(|print| print.is_string()));
        for value in ["gold", "silver", "\"web\"", "\"en\""] {
            assert!(!records.text().contains(value));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_cannot_be_recorded_is_made_all_the_same_and_that_is_told() {
    let records = Captured::default();
    let app = TestApp::new().with_settings(|s| s.semantics = PatchSemantics::Replace);
    let app = app.recorded_in(&records).start().await;
    let call = crate::harness::send(app.router(), put("a", "", &json!({"tier": "gold"})));
    let full = async {
        // After the intent, and long before the second read that gives evidence.
        tokio::time::sleep(ms(100)).await;
        records.fill(true);
    };
    let ((), answer) = tokio::join!(full, call);
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    tokio::time::sleep(ms(5000)).await;
    assert_eq!(app.patches().len(), 2, "nobody's key is lost for want of a record");
    assert!(app.logs.text().contains("a repair is sent although it could not be recorded"));
    assert!(app.logs.text().contains("audit records cannot be written"));
    assert_eq!(lines(&records).len(), 1, "the intent alone");
}

#[tokio::test(start_paused = true)]
async fn a_whole_map_that_is_sent_has_the_keys_on_record_that_were_asked_for() {
    let (builder, records) = recorded();
    let app = builder.with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app = app.without_calls().with_call(customer_call()).start().await;
    app.send(put("a", "", &json!({"tier": "gold"}))).await.assert_status(200);
    let record = record_of(&records, "outcome", "a");
    assert_eq!(record["keys"].as_array().map(Vec::len), Some(1));
}
