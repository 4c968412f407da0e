//! Examples of successful responses, for the `OpenAPI` document.

use serde_json::{Value, json, to_value};

use super::{
    AllAttributesResponse, AttributeResponse, AttributesResponse, BTreeMap, CandidateDto,
    ParticipantAttributesDto, ResolvedParticipantDto, SizeDto, WriteResponse,
};
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, Conversation, ConversationId, KeyOutcome,
    ListedConversation, ListedParticipant, Participant, ParticipantId, ParticipantSummary,
    PersonName, SelectionRule, TimeRange, Timestamp, VerificationStatus, VerificationSummary,
    WriteReport,
};
use crate::error::Effect;
use crate::http::conversations::{ConversationListResponse, ConversationResponse};
use crate::http::flat::{FlatRequest, FlatResponse};
use crate::http::negotiate::TEXT;
use crate::http::response_format::ToText as _;

/// The conversation of all examples.
pub(in crate::http) const CONVERSATION: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";

const PARTICIPANT: &str = "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0";

const LIMIT: usize = 10_240;

/// Examples of a response of an operation in a media type, each with its name.
pub(in crate::http) fn examples_for(
    operation: &str,
    status: &str,
    media: &str,
) -> Vec<(&'static str, Value)> {
    if media == TEXT {
        return as_text(operation, status);
    }
    let is_write = ["put", "patch", "delete"].iter().any(|method| operation.starts_with(method));
    let examples = match (operation, status) {
        ("getAttributes", "200") => vec![
            ("one", to_value(one())),
            ("all", to_value(all())),
            ("flat", to_value(flat_read(&FlatRequest::naming("loyalty_tier"), &attributes()))),
        ],
        ("getAttribute", "200") => vec![
            ("one", to_value(entry())),
            ("flat", to_value(flat_read(&FlatRequest::of_value(), &single()))),
        ],
        ("getConversation", "200") => vec![("live", to_value(seen()))],
        ("listConversations" | "searchConversations", "200") => {
            vec![("more", to_value(listed()))]
        }
        (_, "200") if is_write => vec![
            ("verified", to_value(written(KeyOutcome::Verified))),
            ("unchanged", to_value(written(KeyOutcome::Unchanged))),
            ("dryRun", to_value(written(KeyOutcome::WouldSend))),
            ("flat", to_value(flat_write())),
        ],
        (_, "202") if is_write => vec![("unverified", to_value(written(KeyOutcome::Unverified)))],
        ("getTrace", "200") => vec![("write", Ok(trace()))],
        ("echo", "200") => vec![("dataAction", Ok(echo()))],
        _ => Vec::new(),
    };
    examples.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))).collect()
}

/// The examples as text.
fn as_text(operation: &str, status: &str) -> Vec<(&'static str, Value)> {
    match (operation, status) {
        ("getAttributes", "200") => {
            vec![("one", one().text().into()), ("all", all().text().into())]
        }
        ("getAttribute", "200") => vec![("value", "gold".into())],
        ("getConversation", "200") => vec![("live", seen().text().into())],
        ("listConversations" | "searchConversations", "200") => {
            vec![("more", listed().text().into())]
        }
        _ => Vec::new(),
    }
}

fn one() -> AttributesResponse {
    let attributes = attributes();
    AttributesResponse {
        conversation_id: conversation(),
        participant: ResolvedParticipantDto {
            participant: customer().into(),
            chosen_by: SelectionRule::Purpose.as_str(),
        },
        size: SizeDto { bytes: attributes.json_bytes(), limit_bytes: LIMIT },
        attributes,
        warnings: Vec::new(),
    }
}

/// The trace of a write by a data action, verified by its second read-back.
fn trace() -> Value {
    let attempt = |operation: &str, status: u16, at: f64, wait: f64| {
        json!({
            "operation": operation, "atMs": at, "waitMs": wait, "tookMs": 22.4, "status": status,
            "correlationId": "2d1f9a52-6f0e-4a61-9a51-2f4c1d7b8e90",
        })
    };
    json!({
        "conversationId": CONVERSATION,
        "requests": [{
            "at": "2026-11-22T09:41:07.180402Z",
            "requestId": "crm-4711",
            "caller": {"address": "10.0.4.17:51234", "userAgent": "PureCloud"},
            "method": "PUT",
            "route": "/v1/conversations/{conversationId}/attributes",
            "status": 200,
            "effect": "applied",
            "durationMs": 140.2,
            "keys": ["loyalty_tier"],
            "outcomes": {"loyalty_tier": "verified"},
            "upstreamCalls": 4,
            "attempts": [
                attempt("read", 200, 0.2, 0.2),
                attempt("patch", 202, 22.9, 0.3),
                attempt("read", 200, 45.5, 0.2),
                attempt("read", 200, 117.7, 49.8),
            ],
        }],
    })
}

fn echo() -> Value {
    json!({
        "method": "POST",
        "path": "/v1/debug/echo",
        "httpVersion": "HTTP/1.1",
        "query": [],
        "headers": [
            {"name": "authorization", "bytes": 34},
            {"name": "content-type", "bytes": 16, "value": "application/json"},
        ],
        "body": {
            "bytes": 30,
            "members": [
                "#: an object",
                "#/attributes: an object",
                "#/attributes/tier: a string, 4 bytes",
            ],
        },
    })
}

fn entry() -> AttributeResponse {
    AttributeResponse {
        conversation_id: conversation(),
        participant: ResolvedParticipantDto {
            participant: customer().into(),
            chosen_by: SelectionRule::Purpose.as_str(),
        },
        key: AttributeKey::existing("loyalty_tier"),
        value: AttributeValue::new("gold"),
        warnings: Vec::new(),
    }
}

fn flat_read(form: &FlatRequest, map: &AttributeMap) -> FlatResponse {
    form.read(conversation(), Some(participant()), map)
}

fn flat_write() -> FlatResponse {
    let report = report(KeyOutcome::Unverified);
    FlatRequest::naming("loyalty_tier").written(&report, false, Effect::Applied)
}

fn seen() -> ConversationResponse {
    let began = TimeRange { start: Timestamp::parse("2026-01-07T09:30:00.000Z"), end: None };
    let customer = Participant {
        id: PARTICIPANT.parse().expect("a UUID"),
        purpose: "customer".into(),
        state: Some("connected".into()),
        live: true,
        name: Some(PersonName::new("Springfield, IL")),
        span: began,
        attributes: attributes(),
    };
    let (id, live, participants) = (conversation(), Some(true), vec![customer]);
    ConversationResponse::from(&Conversation { id, live, span: began, participants })
}

fn listed() -> ConversationListResponse {
    let listed = ListedConversation {
        id: conversation(),
        at: 0,
        start: Timestamp::parse("2026-01-07T09:30:00.000Z"),
        direction: Some("inbound".into()),
        participants: vec![ListedParticipant {
            id: PARTICIPANT.parse().expect("a UUID"),
            purpose: "customer".into(),
        }],
    };
    ConversationListResponse::new(
        vec![listed],
        Some("AQAAAAEAAAGbl3TtQI4PGis8TU5fimt8jZ4PGiubr4kZ".to_owned()),
        Vec::new(),
    )
}

fn all() -> AllAttributesResponse {
    AllAttributesResponse {
        conversation_id: conversation(),
        participants: vec![ParticipantAttributesDto {
            participant: CandidateDto::from(customer()),
            attributes: attributes(),
        }],
        warnings: Vec::new(),
    }
}

fn written(outcome: KeyOutcome) -> WriteResponse {
    let sent = matches!(outcome, KeyOutcome::Verified | KeyOutcome::Unverified);
    WriteResponse::from(report(outcome)).completed(LIMIT, if sent { 3 } else { 1 })
}

fn report(outcome: KeyOutcome) -> WriteReport {
    let sent = matches!(outcome, KeyOutcome::Verified | KeyOutcome::Unverified);
    let status = match outcome {
        KeyOutcome::Verified => VerificationStatus::Verified,
        KeyOutcome::Unverified => VerificationStatus::Unverified,
        _ => VerificationStatus::NotNeeded,
    };
    let outcomes = [("crm_customer_id", outcome), ("loyalty_tier", KeyOutcome::Unchanged)];
    WriteReport {
        conversation: conversation(),
        participant: customer(),
        chosen_by: SelectionRule::Purpose,
        attributes: attributes(),
        fresh: outcome != KeyOutcome::Unverified,
        outcomes: outcomes
            .map(|(key, outcome)| (AttributeKey::existing(key), outcome))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        verification: VerificationSummary {
            status,
            reads: u32::from(sent),
            elapsed_ms: if sent { 38 } else { 0 },
        },
        warnings: Vec::new(),
        dry_run: outcome == KeyOutcome::WouldSend,
        resulting: None,
    }
}

fn attributes() -> AttributeMap {
    [("crm_customer_id", "CRM-998877"), ("loyalty_tier", "gold")]
        .map(|(key, value)| (AttributeKey::existing(key), AttributeValue::new(value)))
        .into_iter()
        .collect()
}

fn single() -> AttributeMap {
    attributes().narrowed(&["loyalty_tier".to_owned()])
}

fn participant() -> ParticipantId {
    PARTICIPANT.parse().expect("a UUID")
}

fn customer() -> ParticipantSummary {
    ParticipantSummary {
        id: participant(),
        purpose: "customer".into(),
        state: Some("connected".into()),
    }
}

fn conversation() -> ConversationId {
    CONVERSATION.parse().expect("a UUID")
}
