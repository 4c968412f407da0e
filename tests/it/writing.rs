//! The main job: a write is merged, sent, and proved.

use std::collections::BTreeMap;

use genesys_simulator::{EmptyHandling, FaultAction, PatchSemantics, RequestKind, ScriptedFault};
use serde_json::json;

use crate::harness::{CALL, CUSTOMER, TestApp, ms};

#[tokio::test(start_paused = true)]
async fn a_write_sends_only_what_changes_and_is_read_back() {
    let app = TestApp::new().start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold", "language": "en", "crm": "42"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("crm", "verified"), ("language", "unchanged"), ("tier", "verified")]);
    assert_eq!(app.patches(), [json!({"attributes": {"crm": "42", "tier": "gold"}})]);
    let whole = json!({"crm": "42", "language": "en", "source": "web", "tier": "gold"});
    assert_eq!(answer.at("/attributes"), whole);
    assert_eq!(json!(app.truth(CUSTOMER)), whole);
}

#[tokio::test(start_paused = true)]
async fn a_write_costs_three_calls_and_a_no_op_one() {
    let app = TestApp::new().reading_first().with_lag(ms(0)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    assert_eq!(answer.at("/upstreamCalls"), 3);
    assert_eq!(app.upstream_calls(), 3);
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "unchanged")]);
    assert_eq!(answer.at("/upstreamCalls"), 1);
    assert_eq!(app.upstream_calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn keys_of_other_writers_stay() {
    let between = FaultAction::ForeignWrite {
        participant: None,
        map: BTreeMap::from([("flow".to_owned(), Some("queue".to_owned()))]),
    };
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(between)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "verified")]);
    assert_eq!(app.patches(), [json!({"attributes": {"tier": "gold"}})]);
    let whole = json!({"flow": "queue", "language": "en", "source": "web", "tier": "gold"});
    assert_eq!((answer.at("/attributes"), json!(app.truth(CUSTOMER))), (whole.clone(), whole));
}

#[tokio::test(start_paused = true)]
async fn an_empty_value_clears_a_key_and_is_sent_as_such() {
    for empty in [EmptyHandling::Store, EmptyHandling::Delete] {
        let app = TestApp::new().with_settings(|settings| settings.empty = empty).start().await;
        let answer = app.write(CALL, "", json!({"tier": "", "never": ""})).await;
        answer.assert_status(200);
        answer.assert_outcomes(&[("never", "unchanged"), ("tier", "cleared")]);
        assert_eq!(app.patches(), [json!({"attributes": {"tier": ""}})]);
        assert_eq!(answer.at("/attributes"), json!({"language": "en", "source": "web"}));
    }
}

#[tokio::test(start_paused = true)]
async fn clearing_what_is_not_there_sends_nothing() {
    let app = TestApp::new().start().await;
    let answer = app.write(CALL, "", json!({"never": ""})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("never", "unchanged")]);
    assert_eq!(
        (answer.at("/verification/status"), app.order().as_str()),
        (json!("notNeeded"), "R")
    );
}

#[tokio::test(start_paused = true)]
async fn an_ended_conversation_needs_allow_ended() {
    let app = TestApp::new().start().await;
    app.simulator.end_conversation(CALL);
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_problem(409, "conversation-ended", "notApplied");
    assert_eq!(app.order(), "R");
    let answer = app.write(CALL, "?allowEnded=true", json!({"tier": "gold"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("tier", "verified")]);
    let warning = "the conversation has ended: analytics will not keep this write";
    assert_eq!(answer.at("/warnings"), json!([warning]));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_makes_one_read_and_tells_what_would_be_sent() {
    let app = TestApp::new().start().await;
    let answer = app.write(CALL, "?dryRun=true", json!({"tier": "gold", "language": "en"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("language", "unchanged"), ("tier", "wouldSend")]);
    assert_eq!(answer.at("/dryRun"), true);
    assert_eq!(answer.json().get("verification"), None);
    assert_eq!((answer.at("/upstreamCalls"), app.order().as_str()), (json!(1), "R"));
}

#[tokio::test(start_paused = true)]
async fn without_verification_the_answer_comes_with_the_patchs_own() {
    let app = TestApp::new().reading_first().start().await;
    let answer = app.write(CALL, "?verify=none", json!({"tier": "gold", "language": "en"})).await;
    answer.assert_status(202);
    answer.assert_outcomes(&[("language", "unchanged"), ("tier", "unverified")]);
    assert_eq!(answer.at("/verification/status"), "skipped");
    assert_eq!((answer.at("/upstreamCalls"), answer.took), (json!(2), ms(40)));
    let answer = app.write(CALL, "?verify=none", json!({"language": "en"})).await;
    answer.assert_status(200);
}

/// Bytes of the customer's map as compact JSON with `note` added.
fn with_note(note: &str) -> usize {
    json!({"language": "en", "note": note, "source": "web", "tier": "silver"}).to_string().len()
}

#[tokio::test(start_paused = true)]
async fn one_byte_over_the_size_limit_is_refused() {
    let app = TestApp::new().start().await;
    let fits = "é".repeat(5000);
    let fits = fits.clone() + &"x".repeat(10_240 - with_note(&fits));
    let answer = app.write(CALL, "", json!({"note": format!("{fits}x")})).await;
    answer.assert_problem(422, "attributes-too-large", "notApplied");
    assert_eq!((answer.at("/bytes"), answer.at("/limitBytes")), (json!(10_241), json!(10_240)));
    // Key and value as JSON, with the colon between them.
    let largest = json!([
        {"key": "note", "bytes": fits.len() + 1 + 9},
        {"key": "language", "bytes": 15},
        {"key": "tier", "bytes": 15},
        {"key": "source", "bytes": 14},
    ]);
    assert_eq!(answer.at("/largest"), largest);
    assert_eq!(app.order(), "R");
    let dry = app.write(CALL, "?dryRun=true", json!({"note": format!("{fits}x")})).await;
    dry.assert_problem(422, "attributes-too-large", "notApplied");
    assert_eq!(dry.at("/bytes"), 10_241, "as the write itself would be");
    let dry = app.write(CALL, "?dryRun=true", json!({"note": fits})).await;
    dry.assert_outcomes(&[("note", "wouldSend")]);
    let answer = app.write(CALL, "", json!({"note": fits})).await;
    answer.assert_outcomes(&[("note", "verified")]);
    assert_eq!(answer.at("/size"), json!({"bytes": 10_240, "limitBytes": 10_240}));
}

#[tokio::test(start_paused = true)]
async fn a_map_that_is_too_large_already_may_shrink_but_not_grow() {
    let app = TestApp::new().with_settings(|settings| settings.size_limit = None).start().await;
    app.simulator.write_as_other(CALL, CUSTOMER, [("note", "x".repeat(12_000))]);
    let answer = app.write(CALL, "", json!({"note": "x".repeat(12_001)})).await;
    answer.assert_problem(422, "attributes-too-large", "notApplied");
    let answer = app.write(CALL, "", json!({"note": "x".repeat(11_999)})).await;
    answer.assert_outcomes(&[("note", "verified")]);
    assert_eq!(app.simulator.count(RequestKind::Patch), 1);
}

#[tokio::test(start_paused = true)]
async fn upstreams_own_refusal_for_size_comes_with_our_numbers() {
    let app = TestApp::new().with_env("GATEWAY__LIMITS__TOTAL_BYTES", "20000");
    let app = app.with_settings(|settings| settings.size_limit = Some(1000)).start().await;
    let note = "x".repeat(1000);
    let answer = app.write(CALL, "", json!({ "note": note })).await;
    answer.assert_problem(422, "attributes-too-large", "notApplied");
    assert_eq!(answer.at("/bytes"), with_note(&note));
    assert_eq!(answer.at("/limitBytes"), 20_000);
    assert_eq!(answer.at("/largest/0"), json!({"key": "note", "bytes": 1009}));
    let detail = answer.at("/detail").to_string();
    assert!(detail.contains("Genesys Cloud refused the attributes as too large"), "{detail}");
    assert_eq!(app.order(), "RP", "a refusal is not repeated");
}

#[tokio::test(start_paused = true)]
async fn for_an_upstream_that_replaces_the_whole_merged_map_is_sent() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app = app.with_settings(|settings| settings.semantics = PatchSemantics::Replace);
    let app = app.start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "verified")]);
    let whole = json!({"language": "en", "source": "web", "tier": "gold"});
    assert_eq!(app.patches(), [json!({ "attributes": whole })]);
    assert_eq!(json!(app.truth(CUSTOMER)), whole);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_an_unseen_write_is_always_sent() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    // Reads still show `silver`, and `gold` is on its way.
    let answer = app.write(CALL, "?verify=none", json!({"tier": "silver"})).await;
    answer.assert_outcomes(&[("tier", "unverified")]);
    assert_eq!(app.patches()[1], json!({"attributes": {"tier": "silver"}}));
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
}

#[tokio::test(start_paused = true)]
async fn an_unseen_write_expires_after_thirty_seconds() {
    let app = TestApp::new().with_lag(ms(90_000)).start().await;
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    // Counted from the moment of the answer, and looked at after a read of 20 ms.
    tokio::time::sleep(ms(30_000 - 20 - 1)).await;
    let almost = app.write(CALL, "?verify=none&dryRun=true", json!({"tier": "silver"})).await;
    almost.assert_outcomes(&[("tier", "wouldSend")]);
    let after = app.write(CALL, "?verify=none&dryRun=true", json!({"tier": "silver"})).await;
    after.assert_outcomes(&[("tier", "unchanged")]);
}

#[tokio::test(start_paused = true)]
async fn once_a_read_has_shown_a_write_its_key_can_be_unchanged_again() {
    let app = TestApp::new().reading_first().with_lag(ms(500)).start().await;
    app.write(CALL, "?verify=none", json!({"tier": "gold"})).await.assert_status(202);
    tokio::time::sleep(ms(500)).await;
    let answer = app.write(CALL, "", json!({"tier": "gold"})).await;
    answer.assert_outcomes(&[("tier", "unchanged")]);
    assert_eq!(app.simulator.count(RequestKind::Patch), 1);
}

#[tokio::test(start_paused = true)]
async fn captured_calls_are_read_written_and_verified() {
    let fixtures = [
        include_str!("../../crates/genesys-simulator/fixtures/calls-live.json"),
        include_str!("../../crates/genesys-simulator/fixtures/callback-live.json"),
        include_str!("../../crates/genesys-simulator/fixtures/calls-ended.json"),
    ];
    for (fixture, live) in fixtures.into_iter().zip([true, true, false]) {
        let app = TestApp::new().start().await;
        let captured: serde_json::Value = serde_json::from_str(fixture).expect("JSON");
        let id = app.simulator.add_conversation(&captured).expect("a conversation");
        let (customer, held) =
            (&captured["participants"][0]["id"], &captured["participants"][0]["attributes"]);
        let read = app.read(&id, "").await;
        assert_eq!((&read.at("/participant/id"), &read.at("/attributes")), (customer, held));
        let answer = app.write(&id, "", json!({"crm": "42"})).await;
        if live {
            answer.assert_outcomes(&[("crm", "verified")]);
            let mut merged = held.clone();
            merged["crm"] = json!("42");
            assert_eq!(
                (&answer.at("/participant/id"), answer.at("/attributes")),
                (customer, merged)
            );
        } else {
            answer.assert_problem(409, "conversation-ended", "notApplied");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_patch_needs_a_fresh_read() {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__PATCH_BODY", "full").with_lag(ms(1));
    let app = app.with_settings(|settings| settings.semantics = PatchSemantics::Replace);
    let slow = FaultAction::Delay { by: ms(500), after_apply: false };
    let app = app.with_fault(ScriptedFault::on_patch(slow)).allowing_leftovers().start().await;
    let first = app.write(CALL, "", json!({"tier": "gold"}));
    // Waits for its turn, with a map that is old when that comes.
    let second = async {
        tokio::time::sleep(ms(30)).await;
        app.write(CALL, "", json!({"language": "fr"})).await
    };
    let trouble = async {
        tokio::time::sleep(ms(530)).await;
        let code = 403;
        app.simulator.inject(
            ScriptedFault::on_read(FaultAction::Status { code, body: None, retry_after: None })
                .times(2),
        );
        tokio::time::sleep(ms(15)).await;
        app.simulator.write_as_other(CALL, CUSTOMER, [("queue", "theirs")]);
    };
    let (_, second, ()) = tokio::join!(first, second, trouble);
    assert_eq!(app.truth(CUSTOMER).get("queue").map(String::as_str), Some("theirs"));
    second.assert_problem(502, "upstream-forbidden", "notApplied");
}
