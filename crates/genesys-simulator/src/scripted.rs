//! The answers that faults send instead of the platform's, and the changes that they make to good
//! ones. It knows no state: a request and an action make an answer.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{
    action::FaultAction, oauth, reply::SimulatedReply, target::RequestTarget, world::RequestArrival,
};

/// The answer of an action that replaces the handling of the request.
pub(super) fn instead(
    arrival: &RequestArrival,
    action: &FaultAction,
    correlation: &str,
) -> Option<SimulatedReply> {
    Some(match action {
        FaultAction::Throttle { retry_after } => {
            SimulatedReply::throttled(*retry_after, correlation)
        }
        FaultAction::ThrottleUntil { seconds } => throttled_until(*seconds, correlation),
        FaultAction::Page { status } => page(*status),
        FaultAction::Status { code: 403, body: None, .. }
            if arrival.target == RequestTarget::Details =>
        {
            let message = "Unable to perform the requested action. You must have at least one of \
                           the following permissions assigned: [analytics:conversationDetail:view, \
                           analytics:agentConversationDetail:view]";
            SimulatedReply::error(403, "missing.any.permissions", message, correlation)
        }
        FaultAction::Status { code, body, retry_after } => {
            let reply = with_status(*code, body.as_ref(), correlation);
            match retry_after {
                Some(seconds) => reply.with_header(header::RETRY_AFTER, *seconds),
                None => reply,
            }
        }
        FaultAction::Unauthorized if arrival.target == RequestTarget::Token => {
            SimulatedReply::oauth_error(401, "invalid_client", "authentication failed")
        }
        FaultAction::Unauthorized => SimulatedReply::usual(401, correlation),
        FaultAction::Empty { status, applied: false } => SimulatedReply::empty(status_of(*status)),
        FaultAction::Oversized { bytes } => oversized(arrival, *bytes),
        FaultAction::GarbageJson => SimulatedReply::empty(StatusCode::OK)
            .with_body("application/json", r#"{"id": "x", "participants": [}]"#),
        FaultAction::EchoRejection => echo(arrival, correlation),
        FaultAction::SizeRejection => SimulatedReply::too_large(correlation),
        FaultAction::TokenThrottle => oauth::throttled(),
        _ => return None,
    })
}

/// A 429 whose `Retry-After` is a date, not a number of seconds.
fn throttled_until(seconds: u64, correlation: &str) -> SimulatedReply {
    let until = SystemTime::from(super::wall_now()) + Duration::from_secs(seconds);
    let reply = SimulatedReply::throttled(None, correlation);
    match HeaderValue::try_from(httpdate::fmt_http_date(until)) {
        Ok(date) => reply.with_header(header::RETRY_AFTER, date),
        Err(_) => reply,
    }
}

pub(super) fn status_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn html() -> SimulatedReply {
    page(200)
}

fn page(status: u16) -> SimulatedReply {
    let page = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>";
    SimulatedReply::empty(status_of(status)).with_body("text/html; charset=utf-8", page)
}

fn with_status(code: u16, body: Option<&Value>, correlation: &str) -> SimulatedReply {
    match body {
        None if code < 400 => SimulatedReply::empty(status_of(code)),
        None => SimulatedReply::usual(code, correlation),
        Some(Value::String(text)) => {
            SimulatedReply::empty(status_of(code)).with_body("text/plain", text.clone())
        }
        Some(body) => SimulatedReply::json(status_of(code), body),
    }
}

fn oversized(arrival: &RequestArrival, bytes: usize) -> SimulatedReply {
    let id = arrival.target.conversation().unwrap_or_default();
    let mut body = json!({"id": id, "participants": [], "padding": ""});
    let padding = bytes.saturating_sub(body.to_string().len());
    body["padding"] = Value::from("x".repeat(padding));
    SimulatedReply::json(StatusCode::OK, &body)
}

/// A rejection that repeats all that was sent in its text, as real ones do.
fn echo(arrival: &RequestArrival, correlation: &str) -> SimulatedReply {
    let body: Value = serde_json::from_slice(arrival.bytes()).unwrap_or_default();
    let values = body["attributes"].as_object().into_iter().flatten();
    let pairs: Vec<String> =
        values.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?"))).collect();
    let message = format!("Invalid attribute values: {}", pairs.join(", "));
    SimulatedReply::error(400, "invalid.value", &message, correlation)
}

pub(super) fn expiring_in(reply: &SimulatedReply, value: Value) -> SimulatedReply {
    let mut reply = reply.clone();
    if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body)
        && body["access_token"].is_string()
    {
        body["expires_in"] = value;
        reply.body = body.to_string().into();
    }
    reply
}
