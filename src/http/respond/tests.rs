use axum::http::HeaderMap;
use axum::http::header::IF_NONE_MATCH;
use http_body_util::BodyExt;

use std::collections::BTreeMap;

use super::*;
use crate::domain::{
    AttributeKey, AttributeValue, ParticipantSummary, VerificationStatus, VerificationSummary,
};
use crate::http::etag::EtagKey;

const CONVERSATION: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";

fn settings() -> HttpSettings {
    HttpSettings {
        deadline: std::time::Duration::from_secs(5),
        body_limit: 1024,
        body_timeout: std::time::Duration::from_secs(5),
        default_participant: "customer".parse().expect("selector"),
        total_bytes: 10_240,
        etag: EtagKey::derive("secret"),
        require_if_match: false,
    }
}

fn map() -> AttributeMap {
    [("a", "1"), ("b", "2"), ("cleared", "")]
        .map(|(key, value)| (AttributeKey::existing(key), AttributeValue::new(value)))
        .into_iter()
        .collect()
}

fn participant() -> Participant {
    Participant {
        id: "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0".parse().expect("id"),
        purpose: "customer".into(),
        state: None,
        live: true,
        name: None,
        span: crate::domain::TimeRange::default(),
        attributes: map(),
    }
}

fn view(keys: &[&str], known: &str) -> ReadResponder {
    let headers = HeaderMap::from_iter([(IF_NONE_MATCH, known.parse().expect("value"))]);
    ReadResponder {
        conversation: CONVERSATION.parse().expect("id"),
        scope: match keys {
            [] => EtagScope::Whole,
            keys => EtagScope::Narrowed(keys.iter().map(|&key| key.to_owned()).collect()),
        },
        form: ResponseFormat::Json,
        flat: None,
        known: IfNoneMatchHeader::from_headers(&headers),
    }
}

fn reading() -> ReadOutcome {
    ReadOutcome::One { participant: participant(), chosen_by: SelectionRule::Purpose, fresh: true }
}

fn read(view: &ReadResponder) -> Response {
    view.respond(reading(), &settings()).expect("no problem")
}

/// A read of one key.
fn view_of(key: &str, form: ResponseFormat, known: &str) -> ReadResponder {
    ReadResponder { scope: EtagScope::Key(key.to_owned()), form, ..view(&[], known) }
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8")
}

fn written(report: WriteReport, minimal: bool, calls: u32) -> Result<Response, Problem> {
    let view = WriteResponder { scope: EtagScope::Whole, minimal, flat: None };
    view.respond(report, calls, &settings())
}

async fn json(response: Response) -> serde_json::Value {
    let body = response.into_body().collect().await.expect("a body");
    serde_json::from_slice(&body.to_bytes()).expect("JSON")
}

fn tag(response: &Response) -> String {
    let tag = response.headers().get(ETAG).expect("a tag");
    tag.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn a_read_shows_the_participant_its_map_and_its_size() {
    let body = json(read(&view(&[], "\"x\""))).await;
    assert_eq!(
        body,
        serde_json::json!({
            "conversationId": CONVERSATION,
            "participant": {
                "id": "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0",
                "purpose": "customer", "state": null, "chosenBy": "purpose"
            },
            "attributes": {"a": "1", "b": "2"},
            "size": {"bytes": 30, "limitBytes": 10240}
        })
    );
}

#[tokio::test]
async fn a_narrowed_read_has_fewer_keys_another_tag_and_the_same_size() {
    let (whole, narrowed) = (read(&view(&[], "\"x\"")), read(&view(&["b", "missing"], "\"x\"")));
    assert_ne!(tag(&whole), tag(&narrowed));
    let body = json(narrowed).await;
    assert_eq!(body["attributes"], serde_json::json!({"b": "2"}));
    assert_eq!(body["size"]["bytes"], 30, "the emptied key counts");
}

#[test]
fn a_known_tag_is_answered_with_304_and_the_tag() {
    let tag_of_whole = tag(&read(&view(&[], "\"x\"")));
    let again = read(&view(&[], &tag_of_whole));
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(tag(&again), tag_of_whole);
    assert_eq!(read(&view(&["a"], &tag_of_whole)).status(), StatusCode::OK);
}

#[tokio::test]
async fn all_participants_are_narrowed_and_untagged() {
    let response = view(&["a"], "*").respond(ReadOutcome::All(vec![participant()]), &settings());
    let response = response.expect("no problem");
    assert!(!response.headers().contains_key(ETAG));
    let body = json(response).await;
    assert_eq!(body["participants"][0]["attributes"], serde_json::json!({"a": "1"}));
    assert_eq!(body["participants"][0]["purpose"], "customer");
}

#[tokio::test]
async fn one_key_is_shown_as_json_or_text_with_its_own_etag() {
    let plain = read(&view_of("b", ResponseFormat::Json, "\"x\""));
    assert_ne!(tag(&plain), tag(&read(&view(&["b"], "\"x\""))));
    let known = tag(&plain);
    assert_eq!(
        json(plain).await,
        serde_json::json!({
            "conversationId": CONVERSATION,
            "participant": {
                "id": "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0",
                "purpose": "customer", "state": null, "chosenBy": "purpose"
            },
            "key": "b",
            "value": "2"
        })
    );
    let bare = read(&view_of("b", ResponseFormat::Text, "\"x\""));
    assert_eq!(bare.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!((tag(&bare), text(bare).await), (known.clone(), "2".to_owned()));
    assert_eq!(
        read(&view_of("b", ResponseFormat::Text, &known)).status(),
        StatusCode::NOT_MODIFIED
    );
}

#[test]
fn an_absent_or_empty_key_is_not_found_despite_if_none_match() {
    for key in ["missing", "cleared", "A", " a"] {
        let problem =
            view_of(key, ResponseFormat::Json, "*").respond(reading(), &settings()).expect_err(key);
        assert_eq!(problem.code(), ErrorCode::AttributeNotFound, "{key}");
        let meant = problem.detail().contains("did you mean `a`?");
        assert_eq!(meant, ["A", " a"].contains(&key), "{}", problem.detail());
    }
    let long = "k".repeat(5_000);
    let problem = view_of(&long, ResponseFormat::Text, "*")
        .respond(reading(), &settings())
        .expect_err("absent");
    assert!(problem.detail().len() < 250, "{}", problem.detail());
}

fn report(outcome: KeyOutcome) -> WriteReport {
    WriteReport {
        conversation: CONVERSATION.parse().expect("id"),
        participant: ParticipantSummary {
            id: participant().id,
            purpose: "customer".into(),
            state: None,
        },
        chosen_by: SelectionRule::Purpose,
        attributes: map(),
        fresh: true,
        outcomes: BTreeMap::from([(AttributeKey::existing("a"), outcome)]),
        verification: VerificationSummary {
            status: VerificationStatus::Verified,
            reads: 1,
            elapsed_ms: 38,
        },
        warnings: Vec::new(),
        resulting: None,
        dry_run: outcome == KeyOutcome::WouldSend,
    }
}

#[test]
fn the_worst_outcome_decides_status_tag_and_effect() {
    for (outcome, status, tagged, effect) in [
        (KeyOutcome::Unchanged, 200, true, Effect::NotApplied),
        (KeyOutcome::WouldSend, 200, true, Effect::NotApplied),
        (KeyOutcome::Verified, 200, true, Effect::Applied),
        (KeyOutcome::Cleared, 200, true, Effect::Applied),
        (KeyOutcome::Unverified, 202, false, Effect::Applied),
    ] {
        let response = written(report(outcome), false, 3).expect("no problem");
        assert_eq!(response.status().as_u16(), status, "{outcome:?}");
        assert_eq!(response.headers().contains_key(ETAG), tagged, "{outcome:?}");
        assert_eq!(
            response.extensions().get::<LoggedResult>().map(|result| result.effect),
            Some(effect),
            "{outcome:?}"
        );
    }
    let problem = written(report(KeyOutcome::Superseded), false, 3).expect_err("409");
    assert_eq!(problem.status(), StatusCode::CONFLICT);
    let stale = WriteReport { fresh: false, ..report(KeyOutcome::Verified) };
    let response = written(stale, false, 3).expect("no problem");
    assert!(!response.headers().contains_key(ETAG));
}

#[test]
fn minimal_applies_to_success_without_warnings() {
    let status = |report| {
        let response = written(report, true, 3).expect("no problem");
        response.status().as_u16()
    };
    assert_eq!(status(report(KeyOutcome::Verified)), 204);
    assert_eq!(status(report(KeyOutcome::Unverified)), 202);
    assert_eq!(status(report(KeyOutcome::WouldSend)), 200);
    let warned = WriteReport { warnings: vec!["w".to_owned()], ..report(KeyOutcome::Verified) };
    assert_eq!(status(warned), 200);
}

#[tokio::test]
async fn a_written_answer_has_the_members_of_the_contract() {
    let response = written(report(KeyOutcome::Verified), false, 3).expect("no problem");
    let body = json(response).await;
    assert_eq!(body["outcomes"], serde_json::json!({"a": "verified"}));
    assert_eq!(
        body["verification"],
        serde_json::json!({"status": "verified", "reads": 1, "elapsedMs": 38})
    );
    assert_eq!(body["upstreamCalls"], 3);
    assert_eq!(body["size"]["limitBytes"], 10_240);
    assert!(body.get("warnings").is_none() && body.get("dryRun").is_none());
    let dry = written(report(KeyOutcome::WouldSend), false, 1).expect("no problem");
    let dry = json(dry).await;
    assert_eq!(dry["dryRun"], true);
    assert!(dry.get("verification").is_none());
}
