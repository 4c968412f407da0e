//! Merge patches, and what it takes to clear a key on a platform that documents no deletion.

use genesys_simulator::{EmptyHandling, NullHandling};
use serde_json::{Value, json};

use crate::harness::{Answer, Builder, CALL, CUSTOMER, TestApp, attributes_of, ms};

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const JSON: (&str, &str) = ("content-type", "application/json");

/// `PATCH …/attributes?…` with this document.
async fn patch(app: &TestApp, query: &str, document: Value) -> Answer {
    let path = format!("{}{query}", attributes_of(CALL));
    app.ask(("PATCH", &path), &[MERGE], document.to_string()).await
}

fn with_null(null: NullHandling) -> Builder {
    TestApp::new()
        .with_env("GATEWAY__GENESYS__CLEAR_WITH", "null")
        .with_settings(|settings| settings.null = null)
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_sets_and_clears_keys_and_leaves_the_others() {
    for declared in [MERGE, JSON, ("content-type", "Application/Merge-Patch+JSON; charset=utf-8")] {
        let app = TestApp::new().reading_first().with_lag(ms(10)).start().await;
        let body = json!({"attributes": {"tier": "gold", "language": null}}).to_string();
        let answer = app.ask(("PATCH", &attributes_of(CALL)), &[declared], body).await;
        answer.assert_status(200);
        answer.assert_outcomes(&[("language", "cleared"), ("tier", "verified")]);
        assert_eq!(answer.at("/attributes"), json!({"source": "web", "tier": "gold"}));
        assert_eq!(app.patches(), [json!({"attributes": {"language": "", "tier": "gold"}})]);
        assert_eq!(app.truth(CUSTOMER)["source"], "web");
        // A second time there is nothing left to do.
        let again =
            patch(&app, "", json!({"attributes": {"tier": "gold", "language": null}})).await;
        again
            .assert_status(200)
            .assert_outcomes(&[("language", "unchanged"), ("tier", "unchanged")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_may_be_text_with_all_options_of_a_put() {
    let app = TestApp::new().reading_first().with_lag(ms(10)).start().await;
    let embedded = json!({"attributesJson": r#"{"tier":null,"new":"1","source":""}"#});
    let dry = patch(&app, "?dryRun=true", embedded.clone()).await;
    let would = [("new", "wouldSend"), ("source", "wouldSend"), ("tier", "wouldSend")];
    dry.assert_status(200).assert_outcomes(&would);
    let sent = patch(&app, "", embedded).await;
    let done = [("new", "verified"), ("source", "cleared"), ("tier", "cleared")];
    sent.assert_status(200).assert_outcomes(&done);
    let unproved =
        patch(&app, "?verify=none&participant=agent", json!({"attributes": {"desk": null}}));
    unproved.await.assert_status(202).assert_outcomes(&[("desk", "unverified")]);
    app.simulator.end_conversation(CALL);
    let late = json!({"attributes": {"language": null}});
    patch(&app, "", late.clone()).await.assert_problem(409, "conversation-ended", "notApplied");
    let late = patch(&app, "?allowEnded=true", late).await;
    late.assert_status(200).assert_outcomes(&[("language", "cleared")]);
}

#[tokio::test(start_paused = true)]
async fn a_merge_patch_is_under_the_same_conditions_as_a_put() {
    let app = TestApp::new().with_env("GATEWAY__WRITES__REQUIRE_IF_MATCH", "true");
    let app = app.with_lag(ms(10)).start().await;
    let body = json!({"attributes": {"tier": null}}).to_string();
    let path = attributes_of(CALL);
    let refused = app.ask(("PATCH", &path), &[MERGE], body.clone()).await;
    refused.assert_problem(428, "precondition-required", "notApplied");
    let stale = app.ask(("PATCH", &path), &[MERGE, ("if-match", "\"x\"")], body.clone()).await;
    stale.assert_problem(412, "precondition-failed", "notApplied");
    let current = stale.header("etag").to_owned();
    let minimal = [MERGE, ("if-match", &current), ("prefer", "return=minimal")];
    app.ask(("PATCH", &path), &minimal, body).await.assert_status(204);
    assert_eq!(app.truth(CUSTOMER)["tier"], "");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_merge_patch_is_refused_and_nothing_is_sent() {
    let app = TestApp::new().start().await;
    let null = "is null; it has to be an object of strings";
    for (document, mistakes) in [
        (json!({"attributes": null}), vec![("#/attributes", null)]),
        (json!({}), vec![("#/attributes", "is missing")]),
        (
            json!({"attributes": {}}),
            vec![("#/attributes", "is empty; name at least one key, as in {\"key\": \"value\"}")],
        ),
        (json!(null), vec![("#", "the body is null; it has to be an object")]),
        (
            json!({"attributes": {"a": {"b": "c"}, "d": ["e"], "f": 1, "g": null}, "other": null}),
            vec![
                ("#/attributes/a", "the value is an object; it has to be a string"),
                ("#/attributes/d", "the value is an array; it has to be a string"),
                ("#/attributes/f", "the value is a number; it has to be a string"),
                ("#/other", "is not a member of this request; put attributes into `attributes`"),
            ],
        ),
        (json!({"attributes": {"": null}}), vec![("#/attributes/", "the key is empty")]),
        (
            json!({"attributes": {"a\u{7}": null}}),
            vec![("#/attributes/a%07", "the key has a control character")],
        ),
    ] {
        let answer = patch(&app, "", document.clone()).await;
        answer.assert_problem(422, "invalid-attributes", "notApplied");
        let expected = mistakes.iter().map(|(at, what)| json!({"pointer": at, "detail": what}));
        assert_eq!(answer.at("/errors"), expected.collect::<Value>(), "{document}");
    }
    let twice = r#"{"attributes":{"a":null,"a":"1"}}"#;
    let answer = app.ask(("PATCH", &attributes_of(CALL)), &[MERGE], twice).await;
    answer.assert_problem(422, "invalid-attributes", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn null_and_merge_patches_stay_mistakes_of_a_put() {
    let app = TestApp::new().start().await;
    let answer = app.write(CALL, "", json!({"tier": null})).await;
    answer.assert_problem(422, "invalid-attributes", "notApplied");
    let path = attributes_of(CALL);
    let good = json!({"attributes": {"a": "b"}}).to_string();
    let answer = app.ask(("PUT", &path), &[MERGE], good.clone()).await;
    answer.assert_problem(415, "unsupported-media-type", "notApplied");
    let answer = app.ask(("PATCH", &path), &[("content-type", "text/plain")], good.clone()).await;
    answer.assert_problem(415, "unsupported-media-type", "notApplied");
    let expected = "the Content-Type is not application/json or application/merge-patch+json";
    assert_eq!(answer.at("/detail"), expected);
    let answer =
        app.ask(("PATCH", &path), &[("content-type", "application/json-patch+json")], good);
    answer.await.assert_problem(415, "unsupported-media-type", "notApplied");
    assert_eq!(app.upstream_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_for_a_clear_is_a_setting() {
    let app = with_null(NullHandling::Delete).with_lag(ms(10)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "", "language": "de"})).await;
    answer.assert_status(200);
    answer.assert_outcomes(&[("language", "verified"), ("tier", "cleared")]);
    assert_eq!(app.patches(), [json!({"attributes": {"language": "de", "tier": null}})]);
    assert!(!app.truth(CUSTOMER).contains_key("tier"));
}

#[tokio::test(start_paused = true)]
async fn a_full_body_clears_as_it_is_set_too() {
    let app = with_null(NullHandling::Delete).with_env("GATEWAY__GENESYS__PATCH_BODY", "full");
    let app = app.with_lag(ms(10)).start().await;
    let answer = patch(&app, "", json!({"attributes": {"tier": null}})).await;
    answer.assert_status(200).assert_outcomes(&[("tier", "cleared")]);
    let whole = json!({"attributes": {"language": "en", "source": "web", "tier": null}});
    assert_eq!(app.patches(), [whole]);
}

#[tokio::test(start_paused = true)]
async fn cleared_is_told_only_where_a_read_has_shown_it() {
    let clear = || json!({"attributes": {"tier": null}});
    // A platform that keeps the empty text, or takes it for a deletion: both read back as cleared.
    for app in [
        TestApp::new().with_settings(|settings| settings.empty = EmptyHandling::Delete),
        TestApp::new().with_settings(|settings| settings.empty = EmptyHandling::Store),
        with_null(NullHandling::StoreEmpty),
    ] {
        let app = app.with_lag(ms(10)).start().await;
        patch(&app, "", clear()).await.assert_status(200).assert_outcomes(&[("tier", "cleared")]);
    }
    // One that takes `null` for nothing at all.
    let app = with_null(NullHandling::Ignore).with_lag(ms(10)).start().await;
    let answer = patch(&app, "", clear()).await;
    answer.assert_status(202).assert_outcomes(&[("tier", "unverified")]);
    assert_eq!(answer.at("/attributes/tier"), "silver");
    // And one that refuses it.
    let app = with_null(NullHandling::Reject).start().await;
    patch(&app, "", clear()).await.assert_problem(502, "upstream-rejected", "notApplied");
    assert_eq!(app.truth(CUSTOMER)["tier"], "silver");
}
