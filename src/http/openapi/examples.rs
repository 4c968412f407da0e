//! Examples of successful responses. Tests compare them with the schemas and with real responses.

use serde_json::{Value, json};

pub(super) const CONVERSATION: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";
pub(super) const PARTICIPANT: &str = "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0";
const OPERATION: &str = "9c1d2e3f-4a5b-4c6d-8e7f-8a9b0c1d2e3f";
pub(super) const OTHER_PARTICIPANT: &str = "0b1c2d3e-4f50-4617-a829-3a4b5c6d7e8f";

/// The names of the examples of an operation's JSON response.
pub(super) fn names(operation: &str, status: u16) -> &'static [&'static str] {
    match (operation, status) {
        ("getAttributes", 200) => &["attributes", "allAttributes", "flatRead"],
        ("getAttribute", 200) => &["attribute"],
        ("getConversation", 200) => &["conversation"],
        ("listConversations" | "searchConversations", 200) => &["conversationList"],
        ("getTrace", 200) => &["trace"],
        ("startTrace", 200) => &["traceLease"],
        ("echo", 200) => &["echo"],
        (write, 200) if write.contains("Attribute") => &["verified", "dryRun", "flatWrite"],
        (write, 202) if write.contains("Attribute") => &["unverified", "operation"],
        ("getOperation", 200) => &["operation"],
        _ => &[],
    }
}

pub(super) fn value(name: &str) -> Value {
    let participant = json!({"id": PARTICIPANT, "purpose": "customer", "state": "connected"});
    let began = "2026-01-07T09:30:00.000Z";
    match name {
        "attributes" => with(
            one(),
            json!({"attributes": attributes(), "size": {"bytes": 58, "limitBytes": 10_240}}),
        ),
        "allAttributes" => json!({
            "conversationId": CONVERSATION,
            "participants": [with(participant, json!({"attributes": attributes()}))],
        }),
        "attribute" => with(one(), json!({"key": "loyalty_tier", "value": "gold"})),
        "conversation" => json!({
            "conversationId": CONVERSATION,
            "state": "live", "startTime": began, "endTime": null,
            "participants": [with(participant, json!({
                "name": "Springfield, IL", "startTime": began, "endTime": null,
                "attributeCount": 2, "selectors": ["customer", "first", PARTICIPANT],
            }))],
        }),
        "conversationList" => json!({
            "conversations": [{
                "conversationId": CONVERSATION, "startTime": began, "direction": "inbound",
                "participants": [{"participantId": PARTICIPANT, "purpose": "customer"}],
            }],
            "nextCursor": "AQAAAAEAAAGbl3TtQI4PGis8TU5fimt8jZ4PGiubr4kZ",
        }),
        "flatRead" => flat(true, "ok"),
        "flatWrite" => flat(false, "unverified"),
        "operation" => operation(began),
        "trace" => trace(),
        "traceLease" => json!({"conversationId": CONVERSATION, "expiresInSeconds": 600}),
        "echo" => echo(),
        outcome => write(outcome),
    }
}

fn operation(accepted: &str) -> Value {
    json!({
        "id": OPERATION, "state": "queued", "conversationId": CONVERSATION,
        "acceptedAt": accepted, "notAfter": "2026-01-07T09:40:00.000Z",
    })
}

fn echo() -> Value {
    json!({
        "method": "POST", "path": "/v1/debug/echo", "httpVersion": "HTTP/1.1", "query": [],
        "headers": [
            {"name": "authorization", "bytes": 34},
            {"name": "content-type", "bytes": 16, "value": "application/json"},
        ],
        "body": {"bytes": 15, "members": ["#: an object", "#/tier: a string, 4 bytes"]},
    })
}

/// The result of a write: its outcome, or `dryRun`.
pub(super) fn write(outcome: &str) -> Value {
    let is_dry = outcome == "dryRun";
    let sent = if is_dry { "wouldSend" } else { outcome };
    let result = json!({
        "attributes": attributes(),
        "outcomes": {"crm_customer_id": sent, "loyalty_tier": "unchanged"},
        "size": {"bytes": 58, "limitBytes": 10_240},
        "upstreamCalls": if is_dry { 1 } else { 3 },
    });
    let end = if is_dry {
        json!({"dryRun": true})
    } else {
        json!({"verification": {"status": outcome, "reads": 1, "elapsedMs": 38}})
    };
    with(with(one(), result), end)
}

fn one() -> Value {
    let participant = json!({"id": PARTICIPANT, "purpose": "customer", "state": "connected", "chosenBy": "purpose"});
    json!({"conversationId": CONVERSATION, "participant": participant})
}

fn attributes() -> Value {
    json!({"crm_customer_id": "CRM-998877", "loyalty_tier": "gold"})
}

fn flat(ok: bool, code: &str) -> Value {
    json!({
        "ok": ok, "code": code, "message": if ok { "read" } else { "no read has shown it yet" },
        "accepted": !ok, "retryAfterSeconds": 0,
        "conversationId": CONVERSATION, "participantId": PARTICIPANT,
        "attributesJson": attributes().to_string(), "loyalty_tier": "gold",
    })
}

/// The trace of a verified write.
fn trace() -> Value {
    let attempt = |operation: &str, status: u16, at: f64| json!({"operation": operation, "atMs": at, "waitMs": 0.2, "tookMs": 22.4, "status": status});
    json!({
        "conversationId": CONVERSATION,
        "requests": [{
            "at": "2026-11-22T09:41:07.180402Z", "requestId": "crm-4711",
            "caller": {"address": "10.0.4.17:51234", "userAgent": "PureCloud"},
            "method": "PUT", "route": "/v1/conversations/{conversationId}/attributes",
            "status": 200, "effect": "applied", "durationMs": 70.1,
            "keys": ["loyalty_tier"], "outcomes": {"loyalty_tier": "verified"},
            "upstreamCalls": 2, "attempts": [attempt("patch", 202, 0.2), attempt("read", 200, 22.8)],
        }],
    })
}

pub(super) fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(members), Value::Object(more)) = (&mut object, more) {
        members.extend(more);
    }
    object
}
