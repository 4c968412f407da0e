use axum::http::header::IF_NONE_MATCH;
use http_body_util::BodyExt;

use super::*;
use crate::domain::{AttributeValue, VerificationStatus};
use crate::http::etag::EtagKey;

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
        purpose: "customer".to_owned(),
        state: None,
        live: true,
        attributes: map(),
    }
}

fn view(keys: &[&str], known: &str) -> ReadView {
    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, known.parse().expect("value"));
    ReadView {
        conversation: examples::CONVERSATION.parse().expect("id"),
        keys: (!keys.is_empty()).then(|| keys.iter().map(|&key| key.to_owned()).collect()),
        headers,
    }
}

fn read(view: ReadView) -> Response {
    let reading =
        Reading::One { participant: participant(), chosen_by: ChosenBy::Purpose, fresh: true };
    view.of(reading, &settings())
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
    let body = json(read(view(&[], "\"x\""))).await;
    assert_eq!(
        body,
        serde_json::json!({
            "conversationId": examples::CONVERSATION,
            "participant": {
                "id": "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0",
                "purpose": "customer", "state": null, "chosenBy": "purpose"
            },
            "attributes": {"a": "1", "b": "2"},
            "size": {"bytes": 17, "limitBytes": 10240}
        })
    );
}

#[tokio::test]
async fn a_narrowed_read_has_fewer_keys_another_tag_and_the_same_size() {
    let (whole, narrowed) = (read(view(&[], "\"x\"")), read(view(&["b", "missing"], "\"x\"")));
    assert_ne!(tag(&whole), tag(&narrowed));
    let body = json(narrowed).await;
    assert_eq!(body["attributes"], serde_json::json!({"b": "2"}));
    assert_eq!(body["size"]["bytes"], 17);
}

#[test]
fn a_known_tag_is_answered_with_304_and_the_tag() {
    let tag_of_whole = tag(&read(view(&[], "\"x\"")));
    let again = read(view(&[], &tag_of_whole));
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(tag(&again), tag_of_whole);
    assert_eq!(read(view(&["a"], &tag_of_whole)).status(), StatusCode::OK);
}

#[tokio::test]
async fn all_participants_are_narrowed_and_untagged() {
    let response = view(&["a"], "*").of(Reading::All(vec![participant()]), &settings());
    assert!(!response.headers().contains_key(ETAG));
    let body = json(response).await;
    assert_eq!(body["participants"][0]["attributes"], serde_json::json!({"a": "1"}));
    assert_eq!(body["participants"][0]["purpose"], "customer");
}

fn report(outcome: Outcome) -> WriteReport {
    WriteReport {
        conversation: examples::CONVERSATION.parse().expect("id"),
        participant: Candidate {
            id: participant().id,
            purpose: "customer".to_owned(),
            state: None,
        },
        chosen_by: ChosenBy::Purpose,
        attributes: map(),
        fresh: true,
        outcomes: BTreeMap::from([(AttributeKey::existing("a"), outcome)]),
        verification: Verification {
            status: VerificationStatus::Verified,
            reads: 1,
            elapsed_ms: 38,
        },
        warnings: Vec::new(),
        dry_run: outcome == Outcome::WouldSend,
    }
}

#[test]
fn the_worst_outcome_decides_status_tag_and_effect() {
    for (outcome, status, tagged, effect) in [
        (Outcome::Unchanged, 200, true, Effect::NotApplied),
        (Outcome::WouldSend, 200, true, Effect::NotApplied),
        (Outcome::Verified, 200, true, Effect::Applied),
        (Outcome::Cleared, 200, true, Effect::Applied),
        (Outcome::Unverified, 202, false, Effect::Applied),
    ] {
        let response = written(report(outcome), None, false, 3, &settings()).expect("no problem");
        assert_eq!(response.status().as_u16(), status, "{outcome:?}");
        assert_eq!(response.headers().contains_key(ETAG), tagged, "{outcome:?}");
        assert_eq!(response.extensions().get::<Effect>(), Some(&effect), "{outcome:?}");
    }
    let problem =
        written(report(Outcome::Superseded), None, false, 3, &settings()).expect_err("409");
    assert_eq!(problem.status(), StatusCode::CONFLICT);
    let stale = WriteReport { fresh: false, ..report(Outcome::Verified) };
    let response = written(stale, None, false, 3, &settings()).expect("no problem");
    assert!(!response.headers().contains_key(ETAG));
}

#[test]
fn minimal_is_for_what_went_well_and_has_nothing_to_tell() {
    let status = |report| {
        let response = written(report, None, true, 3, &settings()).expect("no problem");
        response.status().as_u16()
    };
    assert_eq!(status(report(Outcome::Verified)), 204);
    assert_eq!(status(report(Outcome::Unverified)), 202);
    assert_eq!(status(report(Outcome::WouldSend)), 200);
    let warned = WriteReport { warnings: vec!["w".to_owned()], ..report(Outcome::Verified) };
    assert_eq!(status(warned), 200);
}

#[tokio::test]
async fn a_written_answer_has_the_members_of_the_contract() {
    let response =
        written(report(Outcome::Verified), None, false, 3, &settings()).expect("no problem");
    let body = json(response).await;
    assert_eq!(body["outcomes"], serde_json::json!({"a": "verified"}));
    assert_eq!(
        body["verification"],
        serde_json::json!({"status": "verified", "reads": 1, "elapsedMs": 38})
    );
    assert_eq!(body["upstreamCalls"], 3);
    assert_eq!(body["size"]["limitBytes"], 10_240);
    assert!(body.get("warnings").is_none() && body.get("dryRun").is_none());
    let dry = written(report(Outcome::WouldSend), None, false, 1, &settings()).expect("no problem");
    let dry = json(dry).await;
    assert_eq!(dry["dryRun"], true);
    assert!(dry.get("verification").is_none());
}
