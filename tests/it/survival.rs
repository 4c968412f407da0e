//! Nobody else's key is lost, also where upstream replaces the map instead of merging into it.
//!
//! Every answer of upstream takes 20 ms, and reads show a write 100 ms after it was applied: the
//! PATCH arrives at 20, the read-backs at 40, 110, 230, 450, …

use std::collections::BTreeMap;

use attribute_gateway::simulator::{Action, Call, Fault, Kind, PatchSemantics};
use serde_json::{Value, json};

use crate::harness::{Builder, CALL, CUSTOMER, TestApp, customer_call, ms};

const WARNING: &str = "upstream replaced the map; the keys that it dropped were sent again";

fn replacing() -> Builder {
    TestApp::new().with_settings(|settings| settings.semantics = PatchSemantics::Replace)
}

/// The customer's map after its tier was written.
fn whole(tier: &str) -> Value {
    json!({"language": "en", "source": "web", "tier": tier})
}

async fn repairs(app: &TestApp) -> u32 {
    let figure = app.figure("repairs_total").await;
    if figure > 0.5 { 1 + u32::from(figure > 1.5) } else { 0 }
}

#[tokio::test(start_paused = true)]
async fn a_map_that_was_replaced_is_repaired_once_after_two_reads_of_evidence() {
    let app = replacing().start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    let bodies = [json!({"attributes": {"tier": "gold"}}), json!({ "attributes": whole("gold") })];
    assert_eq!(app.patches(), bodies);
    // The reads at 230 and 450 show nothing but our PATCH; the repair follows at once.
    assert_eq!(app.sent(Kind::Patch), [20, 470]);
    assert_eq!(
        (answer.at("/attributes"), json!(app.truth(CUSTOMER))),
        (whole("gold"), whole("gold"))
    );
    assert_eq!(answer.at("/warnings"), json!([WARNING]));
    assert_eq!(repairs(&app).await, 1);
    assert!(app.logs.text().contains("upstream replaced the attributes with what a PATCH held"));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_to_the_operator_and_the_mode_stays_as_it_is() {
    let app = replacing().start().await;
    let before = app.readiness().await.text;
    assert!(before.contains("upstream.merging: ok"), "{before}");
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    let readiness = app.readiness().await;
    assert_eq!(readiness.status, 200);
    let advice =
        "upstream.merging: failed: upstream replaces the map: set genesys.patch_body = \"full\"";
    assert!(readiness.text.contains(advice), "{}", readiness.text);
    // The next write sends changes alone again, and is repaired again.
    app.write(CALL, "", json!({"tier": "platinum"})).await.assert_status(200);
    assert_eq!(app.patches()[2], json!({"attributes": {"tier": "platinum"}}));
    assert_eq!((json!(app.truth(CUSTOMER)), repairs(&app).await), (whole("platinum"), 2));
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_fails_leaves_the_write_accepted_and_does_not_claim_more() {
    let refused = Action::Status { code: 400, body: None, retry_after: None };
    let app = replacing().with_fault(Fault::on_patch(refused).skip(1)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    let warnings = answer.at("/warnings");
    let warnings: Vec<_> =
        warnings.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let [only] = warnings[..] else { panic!("{warnings:?}") };
    assert!(only.starts_with("upstream replaced the map, and its other keys may be lost: "));
}

#[tokio::test(start_paused = true)]
async fn one_other_key_that_is_gone_proves_nothing() {
    let call = Call::new(CALL).customer(CUSTOMER, [("tier", "silver"), ("source", "web")]);
    let app = replacing().without_calls().with_call(call).start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    assert_eq!((app.simulator.count(Kind::Patch), repairs(&app).await), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_merges_is_never_repaired_whatever_its_lag() {
    for lag in [1, 100, 700, 2500, 60_000] {
        let app = TestApp::new().with_lag(ms(lag)).start().await;
        let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
        assert!(answer.status < 300);
        tokio::time::sleep(ms(20_000)).await;
        assert_eq!((app.simulator.count(Kind::Patch), repairs(&app).await), (1, 0), "{lag}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_keys_that_are_missing_in_one_read_alone_are_no_evidence() {
    let set = |values: [Option<&str>; 2]| {
        let keys = ["language", "source"].map(ToOwned::to_owned);
        let map: BTreeMap<_, _> = keys.into_iter().zip(values.map(|v| v.map(Into::into))).collect();
        Action::ForeignWrite { participant: Some(CUSTOMER.to_owned()), map }
    };
    // Another writer takes them away, and puts them back before the next read.
    let app = TestApp::new().with_lag(ms(1)).with_fault(Fault::on_read(set([None, None])).skip(1));
    let app = app.with_fault(Fault::on_read(set([Some("en"), Some("web")])).skip(1)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    assert_eq!((app.simulator.count(Kind::Patch), repairs(&app).await), (1, 0));
    assert_eq!(answer.at("/attributes"), whole("gold"));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_writer_removes_is_reported_and_not_brought_back() {
    let map = BTreeMap::from([("source".to_owned(), None)]);
    let app = TestApp::new();
    let app = app.with_fault(Fault::on_patch(Action::ForeignWriteAfter { participant: None, map }));
    let app = app.start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    assert_eq!(answer.at("/warnings"), json!(["another writer removed `source`"]));
    assert_eq!(app.simulator.count(Kind::Patch), 1);
}

#[tokio::test(start_paused = true)]
async fn survival_is_watched_also_for_a_caller_that_does_not_wait() {
    let app = replacing().start().await;
    let answer = app.write(CALL, "?verify=none", json!({"tier": "gold"})).await;
    answer.assert_status(202);
    assert_eq!((answer.took, answer.at("/upstreamCalls")), (ms(40), json!(2)));
    tokio::time::sleep(ms(1000)).await;
    assert_eq!((json!(app.truth(CUSTOMER)), repairs(&app).await), (whole("gold"), 1));
}

#[tokio::test(start_paused = true)]
async fn survival_is_watched_also_after_a_deadline_that_has_passed() {
    let app = replacing().with_lag(ms(4000)).start().await;
    app.write_within(1, "", json!({"tier": "gold"})).await.assert_status(202);
    assert_eq!(json!(app.truth(CUSTOMER)), json!({"tier": "gold"}));
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!((json!(app.truth(CUSTOMER)), repairs(&app).await), (whole("gold"), 1));
}

#[tokio::test(start_paused = true)]
async fn survival_is_watched_also_after_a_patch_whose_fate_was_not_learnt() {
    let app = replacing().with_fault(Fault::on_patch(Action::HangAfterApply)).start().await;
    let answer = app.write_within(1, "", json!({"tier": "gold"})).await;
    answer.assert_problem(504, "deadline-exceeded", "unknown");
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!((json!(app.truth(CUSTOMER)), repairs(&app).await), (whole("gold"), 1));
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_after_ten_seconds() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    tokio::time::sleep(ms(60_000)).await;
    let reads = app.sent(Kind::Read);
    let last = reads.last().expect("a read");
    assert!((9000..=10_040).contains(last), "{reads:?}");
}

#[tokio::test(start_paused = true)]
async fn once_a_write_has_shown_that_upstream_merges_nothing_is_watched_any_more() {
    let app = TestApp::new().reading_first().start().await;
    app.write(CALL, "", json!({"tier": "gold"})).await.assert_status(200);
    let before = app.upstream_calls();
    app.write(CALL, "?verify=none", json!({"tier": "platinum"})).await.assert_status(202);
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(app.upstream_calls(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_caller_can_show_it_as_well() {
    let app = TestApp::new().reading_first().start().await;
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    tokio::time::sleep(ms(20_000)).await;
    // Two reads too early, and the one that shows it.
    assert_eq!(app.order(), "RPRRR");
    app.write(CALL, "?verify=none", json!({"tier": "platinum"})).await.assert_status(202);
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!(app.order(), "RPRRRRP");
}

#[tokio::test(start_paused = true)]
async fn a_full_patch_needs_no_watch() {
    let app = replacing().with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app = app.without_calls().with_call(customer_call()).start().await;
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    tokio::time::sleep(ms(20_000)).await;
    assert_eq!((app.order().as_str(), json!(app.truth(CUSTOMER))), ("RP", whole("gold")));
}
