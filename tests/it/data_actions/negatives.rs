//! What a flow can expect to go wrong ends on the Success path, with a flag, and in time.

use std::time::Duration;

use genesys_simulator::{FaultAction, ScriptedFault};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::pack::succeed;
use crate::harness::{CALL, CUSTOMER, TestApp, ms};

/// A flow's client waits in silence; `Prefer: wait=2`, and 100 ms for the answer.
const IN_TIME: Duration = ms(2100);

/// A write and a read of `tier`, each with its inputs.
fn each() -> [(&'static str, Value); 5] {
    [
        ("get-attributes", json!({"conversationId": CALL})),
        ("get-attribute", json!({"conversationId": CALL, "key": "tier"})),
        ("set-attribute", json!({"conversationId": CALL, "key": "tier", "value": "gold"})),
        (
            "set-attributes",
            json!({"conversationId": CALL, "attributesJson": "{\"tier\":\"gold\"}"}),
        ),
        ("find-customer", json!({"conversationId": CALL})),
    ]
}

/// The flags of an output: `ok`, `code`, `accepted` where there is one, `retryAfterSeconds`.
fn flags(output: &Value) -> Value {
    json!([output["ok"], output["code"], output["accepted"], output["retryAfterSeconds"]])
}

fn expected(name: &str, code: &str, retry_after: u64) -> Value {
    let accepted = if name.starts_with("set") { json!(false) } else { Value::Null };
    json!([false, code, accepted, retry_after])
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_is_not_there_is_told_by_a_flag() {
    let app = TestApp::new().without_calls().start().await;
    for (name, inputs) in each() {
        let output = succeed(&app, name, inputs).await;
        assert_eq!(flags(&output), expected(name, "conversation-not-found", 0), "{name}");
        assert_eq!(output["participantId"], "", "{name}");
        assert!(output["message"].as_str().is_some_and(|text| text.contains(CALL)), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_attribute_or_participant_is_shown_by_a_flag() {
    let app = TestApp::new().start().await;
    let inputs = json!({"conversationId": CALL, "key": "none"});
    let output = succeed(&app, "get-attribute", inputs).await;
    assert_eq!(flags(&output), expected("get-attribute", "attribute-not-found", 0));
    assert_eq!(output["value"], "");
    let inputs = json!({"conversationId": CALL, "key": "tier", "participant": "supervisor"});
    let output = succeed(&app, "get-attribute", inputs).await;
    assert_eq!(flags(&output), expected("get-attribute", "participant-not-found", 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_over_is_told_by_a_flag() {
    let app = TestApp::new().start().await;
    app.simulator.end_conversation(CALL);
    for (name, inputs) in each().into_iter().filter(|(name, _)| name.starts_with("set")) {
        let output = succeed(&app, name, inputs).await;
        assert_eq!(flags(&output), expected(name, "conversation-ended", 0), "{name}");
    }
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_does_not_show_in_time_is_accepted_but_not_ok() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    for (name, inputs) in each().into_iter().filter(|(name, _)| name.starts_with("set")) {
        let start = Instant::now();
        let output = succeed(&app, name, inputs).await;
        assert!(start.elapsed() <= IN_TIME, "{name} took {:?}", start.elapsed());
        assert_eq!(output["ok"], false);
        assert_eq!((&output["code"], &output["accepted"]), (&json!("unverified"), &json!(true)));
        assert_eq!(output["participantId"], CUSTOMER);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_another_writer_replaced_is_told_by_a_flag() {
    let other = FaultAction::ForeignWriteAfter {
        participant: None,
        map: [("tier".to_owned(), Some("bronze".to_owned()))].into_iter().collect(),
    };
    let app =
        TestApp::new().with_lag(ms(0)).with_fault(ScriptedFault::on_patch(other)).start().await;
    let inputs = json!({"conversationId": CALL, "key": "tier", "value": "gold"});
    let output = succeed(&app, "set-attribute", inputs).await;
    assert_eq!(flags(&output), json!([false, "superseded", true, 0]), "{output:#}");
}

#[tokio::test(start_paused = true)]
async fn a_throttled_platform_is_told_with_the_time_to_wait() {
    for (name, inputs) in each() {
        let throttle = FaultAction::Throttle { retry_after: Some(30) };
        let app = TestApp::new().with_fault(ScriptedFault::on_read(throttle)).start().await;
        let start = Instant::now();
        let output = succeed(&app, name, inputs).await;
        assert!(start.elapsed() <= IN_TIME, "{name} took {:?}", start.elapsed());
        assert_eq!(
            (&output["ok"], &output["code"]),
            (&json!(false), &json!("upstream-rate-limited"))
        );
        let wait = output["retryAfterSeconds"].as_u64().expect("a number");
        assert!((30..=60).contains(&wait), "{name}: {wait}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_hangs_is_told_before_the_flow_gives_up() {
    for (name, inputs) in each() {
        let hang = ScriptedFault::on_read(FaultAction::Hang).times(9);
        let app = TestApp::new().with_fault(hang).allowing_leftovers().start().await;
        let start = Instant::now();
        let output = succeed(&app, name, inputs).await;
        assert!(start.elapsed() <= IN_TIME, "{name} took {:?}", start.elapsed());
        assert_eq!(output["ok"], false, "{name}");
        assert_eq!(output["code"], "deadline-exceeded", "{name}");
    }
}
