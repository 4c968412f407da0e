//! The answers that faults put in the place of the platform's, and what they do to good ones. Knows
//! no state: a request and an action make an answer.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{action::Action, oauth, reply::Reply, target::Target, world::Arrival};

/// The answer of an action that takes the place of handling the request.
pub(super) fn instead(arrival: &Arrival, action: &Action, correlation: &str) -> Option<Reply> {
    Some(match action {
        Action::Throttle { retry_after } => Reply::throttled(*retry_after, correlation),
        Action::ThrottleUntil { seconds } => {
            let until = SystemTime::from(super::wall_now()) + Duration::from_secs(*seconds);
            let reply = Reply::throttled(None, correlation);
            match HeaderValue::try_from(httpdate::fmt_http_date(until)) {
                Ok(date) => reply.with_header(header::RETRY_AFTER, date),
                Err(_) => reply,
            }
        }
        Action::Page { status } => page(*status),
        Action::Status { code: 403, body: None, .. } if arrival.target == Target::Details => {
            let message = "Unable to perform the requested action. You must have at least one of \
                           the following permissions assigned: [analytics:conversationDetail:view, \
                           analytics:agentConversationDetail:view]";
            Reply::error(403, "missing.any.permissions", message, correlation)
        }
        Action::Status { code, body, retry_after } => {
            let reply = with_status(*code, body.as_ref(), correlation);
            match retry_after {
                Some(seconds) => reply.with_header(header::RETRY_AFTER, *seconds),
                None => reply,
            }
        }
        Action::Unauthorized if arrival.target == Target::Token => {
            Reply::oauth_error(401, "invalid_client", "authentication failed")
        }
        Action::Unauthorized => Reply::usual(401, correlation),
        Action::Empty { status, applied: false } => Reply::empty(status_of(*status)),
        Action::Oversized { bytes } => oversized(arrival, *bytes),
        Action::GarbageJson => Reply::empty(StatusCode::OK)
            .with_body("application/json", r#"{"id": "x", "participants": [}]"#),
        Action::EchoRejection => echo(arrival, correlation),
        Action::SizeRejection => Reply::too_large(correlation),
        Action::TokenThrottle => oauth::throttled(),
        _ => return None,
    })
}

pub(super) fn status_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(super) fn html() -> Reply {
    page(200)
}

fn page(status: u16) -> Reply {
    let page = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>";
    Reply::empty(status_of(status)).with_body("text/html; charset=utf-8", page)
}

fn with_status(code: u16, body: Option<&Value>, correlation: &str) -> Reply {
    match body {
        None if code < 400 => Reply::empty(status_of(code)),
        None => Reply::usual(code, correlation),
        Some(Value::String(text)) => {
            Reply::empty(status_of(code)).with_body("text/plain", text.clone())
        }
        Some(body) => Reply::json(status_of(code), body),
    }
}

fn oversized(arrival: &Arrival, bytes: usize) -> Reply {
    let id = arrival.target.conversation().unwrap_or_default();
    let mut body = json!({"id": id, "participants": [], "padding": ""});
    let padding = bytes.saturating_sub(body.to_string().len());
    body["padding"] = Value::from("x".repeat(padding));
    Reply::json(StatusCode::OK, &body)
}

/// A rejection as unwelcome as real ones are: everything that was sent is in its text.
fn echo(arrival: &Arrival, correlation: &str) -> Reply {
    let body: Value = serde_json::from_slice(arrival.bytes()).unwrap_or_default();
    let values = body["attributes"].as_object().into_iter().flatten();
    let told: Vec<String> =
        values.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?"))).collect();
    let message = format!("Invalid attribute values: {}", told.join(", "));
    Reply::error(400, "invalid.value", &message, correlation)
}

pub(super) fn expiring_in(reply: &Reply, value: Value) -> Reply {
    let mut reply = reply.clone();
    if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body)
        && body["access_token"].is_string()
    {
        body["expires_in"] = value;
        reply.body = body.to_string().into();
    }
    reply
}
