//! What the audit says of values: `old` is what stood there before this write.

use serde_json::{Value, json};

use crate::auditing::{lines, put, recorded};
use crate::harness::{MemoryOutput, customer_call, ms};

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
async fn the_old_value_is_recorded_if_a_read_of_the_write_showed_it() {
    let (builder, records) = recorded();
    let app = builder.with_lag(ms(0)).start().await;
    let write = async |id, query, tier| {
        app.send(put(id, query, &json!({ "tier": tier }))).await.assert_status(200);
        record_of(&records, "outcome", id)
    };
    let cold = write("a", "", "gold").await;
    assert!(print(&cold, "tier", "old").is_some_and(|print| print.is_string()), "{cold:#}");
    let warm = write("b", "", "platinum").await;
    assert_eq!(print(&warm, "tier", "old"), None, "no read came before the PATCH: {warm:#}");
    let dry = write("c", "?dryRun=true", "gold").await;
    assert_eq!(print(&dry, "tier", "old"), print(&warm, "tier", "new"));
    assert_eq!(print(&dry, "tier", "new"), print(&cold, "tier", "new"));
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
