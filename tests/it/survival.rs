//! Keys of other writers that vanish are reported, and never written back.
//!
//! Every answer of upstream takes 20 ms, and reads show a write 100 ms after it was applied: the
//! PATCH arrives at 20, the read-backs at 40, 110, 230, 450, …

use std::collections::BTreeMap;

use genesys_simulator::{FaultAction, PatchSemantics, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::{Value, json};

use crate::harness::{Answer, Builder, CALL, CUSTOMER, TestApp, customer_call, ms};

const ADVICE: &str =
    "upstream.merging: failed: upstream replaces the map: set genesys.patch_body = \"full\"";

fn replacing() -> Builder {
    TestApp::new().with_settings(|settings| settings.semantics = PatchSemantics::Replace)
}

/// Another writer removes these keys after a request was handled, or before.
fn removal(keys: &[&str], after: bool) -> FaultAction {
    let map: BTreeMap<_, _> = keys.iter().map(|key| ((*key).to_owned(), None)).collect();
    let participant = Some(CUSTOMER.to_owned());
    if after {
        FaultAction::ForeignWriteAfter { participant, map }
    } else {
        FaultAction::ForeignWrite { participant, map }
    }
}

fn gone(keys: &str) -> Value {
    json!([format!(
        "keys that this write did not send are gone, removed by another writer or by Genesys Cloud: \
         {keys}"
    )])
}

async fn write(app: &TestApp, tier: &str) -> Answer {
    let answer = app.write(CALL, "", json!({ "tier": tier })).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    answer
}

async fn lost(app: &TestApp) -> u32 {
    let figure = app.figure("keys_lost_total").await;
    (0..100).find(|number| f64::from(*number) > figure - 0.5).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_replacing_upstream_is_reported_after_two_reads() {
    let app = replacing().start().await;
    assert!(app.readiness().await.text.contains("upstream.merging: ok"));
    let answer = write(&app, "gold").await;
    assert_eq!(answer.at("/warnings"), gone("`language`, `source`"));
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold"}})]);
    // The reads at 230 and 450 show nothing but our PATCH.
    assert_eq!(app.sent(RequestKind::Read), [0, 40, 110, 230, 450]);
    assert_eq!(lost(&app).await, 2);
    assert!(app.logs.text().contains("upstream replaced the attributes with what a PATCH held"));
    let readiness = app.readiness().await;
    assert_eq!(readiness.status, 200);
    assert!(readiness.text.contains(ADVICE), "{}", readiness.text);
    // The mode stays as it is.
    let _ = write(&app, "platinum").await;
    assert_eq!(app.patches()[1], json!({"attributes": {"tier": "platinum"}}));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_as_well_after_a_write_that_was_merged() {
    let app = TestApp::new().start().await;
    let _ = write(&app, "gold").await;
    app.simulator.set_settings(|settings| settings.semantics = PatchSemantics::Replace);
    let answer = write(&app, "platinum").await;
    assert_eq!(answer.at("/warnings"), gone("`language`, `source`"));
    assert_eq!((app.simulator.count(RequestKind::Patch), lost(&app).await), (2, 2));
    assert!(app.readiness().await.text.contains(ADVICE));
}

#[tokio::test(start_paused = true)]
async fn one_missing_foreign_key_is_no_evidence_of_replacing() {
    let call = SimulatedCall::new(CALL).customer(CUSTOMER, [("tier", "silver"), ("source", "web")]);
    let app = replacing().without_calls().with_call(call).start().await;
    assert_eq!(write(&app, "gold").await.at("/warnings"), gone("`source`"));
    assert!(app.readiness().await.text.contains("upstream.merging: ok"));
}

#[tokio::test(start_paused = true)]
async fn keys_removed_by_another_writer_are_not_restored() {
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(removal(&["source"], true)));
    let app = app.start().await;
    assert_eq!(write(&app, "gold").await.at("/warnings"), gone("`source`"));
    assert_eq!((app.simulator.count(RequestKind::Patch), lost(&app).await), (1, 1));
    assert!(!app.truth(CUSTOMER).contains_key("source"));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_merges_is_never_suspected_whatever_its_lag() {
    for lag in [1, 100, 700, 2500, 60_000] {
        let app = TestApp::new().with_lag(ms(lag)).start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        assert!(answer.status < 300 && !answer.text.contains("gone"), "{}", answer.text);
        assert_eq!((app.simulator.count(RequestKind::Patch), lost(&app).await), (1, 0), "{lag}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_missing_in_a_single_read_are_not_lost() {
    let back = ["language", "source"].into_iter().zip(["en", "web"]);
    let map = back.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).collect();
    let back = FaultAction::ForeignWrite { participant: Some(CUSTOMER.to_owned()), map };
    // Another writer takes them away, and puts them back before the next read.
    let app = TestApp::new().with_lag(ms(1));
    let app =
        app.with_fault(ScriptedFault::on_read(removal(&["language", "source"], false)).skip(1));
    let app = app.with_fault(ScriptedFault::on_read(back).skip(1)).start().await;
    let answer = write(&app, "gold").await;
    assert_eq!(
        answer.at("/attributes"),
        json!({"language": "en", "source": "web", "tier": "gold"})
    );
    assert!(!answer.text.contains("warnings"), "{}", answer.text);
    assert_eq!(lost(&app).await, 0);
    assert!(app.readiness().await.text.contains("upstream.merging: ok"), "one read is no evidence");
}

#[tokio::test(start_paused = true)]
async fn keys_that_our_own_writes_clear_are_not_lost() {
    let app = TestApp::new().with_lag(ms(700)).start().await;
    let cleared = app.write(CALL, "?verify=none", json!({"source": ""})).await;
    cleared.assert_status(202);
    let answer = write(&app, "gold").await;
    assert!(!answer.text.contains("gone"), "{}", answer.text);
    assert_eq!(lost(&app).await, 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_read_back_nothing_is_watched() {
    let app = replacing().start().await;
    let answer = app.write(CALL, "?verify=none", json!({"tier": "gold"})).await;
    answer.assert_status(202);
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(app.order(), "RP");
}

#[tokio::test(start_paused = true)]
async fn a_full_patch_loses_nothing() {
    let app = replacing().with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app = app.without_calls().with_call(customer_call()).start().await;
    let _ = write(&app, "gold").await;
    let whole = json!({"language": "en", "source": "web", "tier": "gold"});
    assert_eq!((json!(app.truth(CUSTOMER)), lost(&app).await), (whole, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_patch_contains_our_values_that_no_read_shows() {
    let app = replacing().with_env("GATEWAY__GENESYS__PATCH_BODY", "full").with_lag(ms(60_000));
    let app = app.start().await;
    for key in ["note", "queue"] {
        app.write(CALL, "?verify=none", json!({ key: "1" })).await.assert_status(202);
    }
    let whole =
        json!({"language": "en", "note": "1", "queue": "1", "source": "web", "tier": "silver"});
    assert_eq!(json!(app.truth(CUSTOMER)), whole);
}
