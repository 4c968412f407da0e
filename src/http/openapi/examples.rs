//! Examples of successful responses. Tests compare them with the schemas and with real responses.

use serde_json::{Value, json};

/// The conversation of all examples.
pub(super) const CONVERSATION: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";

pub(super) const PARTICIPANT: &str = "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0";
pub(super) const OTHER_PARTICIPANT: &str = "0b1c2d3e-4f50-4617-a829-3a4b5c6d7e8f";

/// The names of the examples of an operation's JSON response.
pub(super) fn names(operation: &str, status: u16) -> &'static [&'static str] {
    let is_write = ["put", "patch", "delete"].iter().any(|method| operation.starts_with(method));
    match (operation, status) {
        ("getAttributes", 200) => &["attributes", "allAttributes", "flatRead"],
        ("getAttribute", 200) => &["attribute"],
        ("getConversation", 200) => &["conversation"],
        ("listConversations" | "searchConversations", 200) => &["conversationList"],
        (_, 200) if is_write => &["verified", "unchanged", "dryRun", "flatWrite"],
        (_, 202) if is_write => &["unverified"],
        ("getTrace", 200) => &["trace"],
        ("echo", 200) => &["echo"],
        _ => &[],
    }
}

/// The named example.
pub(super) fn value(name: &str) -> Value {
    match name {
        "attributes" => json!({
            "conversationId": CONVERSATION,
            "participant": participant(),
            "attributes": attributes(),
            "size": {"bytes": 58, "limitBytes": 10_240},
        }),
        "allAttributes" => json!({
            "conversationId": CONVERSATION,
            "participants": [{
                "id": PARTICIPANT, "purpose": "customer", "state": "connected",
                "attributes": attributes(),
            }],
        }),
        "attribute" => json!({
            "conversationId": CONVERSATION,
            "participant": participant(),
            "key": "loyalty_tier",
            "value": "gold",
        }),
        "conversation" => conversation(),
        "conversationList" => json!({
            "conversations": [{
                "conversationId": CONVERSATION,
                "startTime": "2026-01-07T09:30:00.000Z",
                "direction": "inbound",
                "participants": [{"participantId": PARTICIPANT, "purpose": "customer"}],
            }],
            "nextCursor": "AQAAAAEAAAGbl3TtQI4PGis8TU5fimt8jZ4PGiubr4kZ",
        }),
        "flatRead" => flat(true, "ok", "read"),
        "flatWrite" => flat(false, "unverified", "no read has shown the write yet"),
        "trace" => trace(),
        "echo" => echo(),
        outcome => write(outcome),
    }
}

/// The result of a write: its outcome, or `dryRun`.
pub(super) fn write(outcome: &str) -> Value {
    let (sent, status) = match outcome {
        "unchanged" => ("unchanged", "notNeeded"),
        "dryRun" => ("wouldSend", "notNeeded"),
        outcome => (outcome, outcome),
    };
    let is_sent = sent == status;
    let mut response = json!({
        "conversationId": CONVERSATION,
        "participant": participant(),
        "attributes": attributes(),
        "outcomes": {"crm_customer_id": sent, "loyalty_tier": "unchanged"},
        "size": {"bytes": 58, "limitBytes": 10_240},
        "upstreamCalls": if is_sent { 3 } else { 1 },
    });
    if outcome == "dryRun" {
        response["dryRun"] = true.into();
    } else {
        let reads = u32::from(is_sent);
        response["verification"] =
            json!({"status": status, "reads": reads, "elapsedMs": 38 * reads});
    }
    response
}

fn participant() -> Value {
    json!({"id": PARTICIPANT, "purpose": "customer", "state": "connected", "chosenBy": "purpose"})
}

fn attributes() -> Value {
    json!({"crm_customer_id": "CRM-998877", "loyalty_tier": "gold"})
}

fn flat(ok: bool, code: &str, message: &str) -> Value {
    json!({
        "ok": ok, "code": code, "message": message, "accepted": code != "ok",
        "retryAfterSeconds": 0,
        "conversationId": CONVERSATION, "participantId": PARTICIPANT,
        "attributesJson": attributes().to_string(),
        "loyalty_tier": "gold",
    })
}

fn conversation() -> Value {
    json!({
        "conversationId": CONVERSATION,
        "state": "live",
        "startTime": "2026-01-07T09:30:00.000Z",
        "endTime": null,
        "participants": [{
            "id": PARTICIPANT, "purpose": "customer", "state": "connected", "name": "Springfield, IL",
            "startTime": "2026-01-07T09:30:00.000Z", "endTime": null,
            "attributeCount": 2,
            "selectors": ["customer", "first", PARTICIPANT],
        }],
    })
}

/// The trace of a verified write by a data action.
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
            "status": 200, "effect": "applied", "durationMs": 70.1,
            "keys": ["loyalty_tier"], "outcomes": {"loyalty_tier": "verified"},
            "upstreamCalls": 3,
            "attempts": [
                attempt("read", 200, 0.2, 0.2),
                attempt("patch", 202, 22.9, 0.3),
                attempt("read", 200, 45.5, 0.2),
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
            {"name": "authorization", "value": "Basic [masked, 28 bytes]"},
            {"name": "content-type", "value": "application/json"},
        ],
        "headerBytes": 67,
        "body": {
            "bytes": 32,
            "text": "{\"attributes\":{\"tier\":\"gold\"}}",
            "json": {"attributes": {"tier": "gold"}},
        },
    })
}
