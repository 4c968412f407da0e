//! What the audit says of values: `old` is what stood there before this write.

use attribute_gateway::audit::MemoryOutput;
use genesys_simulator::{FaultAction, ScriptedFault};
use serde_json::{Value, json};

use crate::auditing::{lines, put, recorded};
use crate::harness::{CALL, customer_call, ms};

/// The record of one kind of one request.
#[track_caller]
fn record_of(records: &MemoryOutput, kind: &str, id: &str) -> Value {
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
async fn an_unseen_recent_write_is_the_old_value_on_record() {
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
    let lost = ScriptedFault::on_patch(FaultAction::HangAfterApply).always();
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
async fn a_full_patch_records_only_the_requested_keys() {
    let (builder, records) = recorded();
    let app = builder.with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app = app.without_calls().with_call(customer_call()).start().await;
    app.send(put("a", "", &json!({"tier": "gold"}))).await.assert_status(200);
    let record = record_of(&records, "outcome", "a");
    assert_eq!(record["keys"].as_array().map(Vec::len), Some(1));
}
