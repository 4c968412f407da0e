//! `GET …/trace`: the last requests about a conversation, each with its steps. Never a value.
//!
//! There is such a path only with `debug.enabled`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::extract::{ClientIdentity, conversation};
use super::openapi_params::ConversationParam;
use super::paths;
use super::problem::Problem;
use super::query::QueryString;
use super::state::OpsState;
use crate::domain::{ClientRights, KeyOutcome};
use crate::error::ErrorCode;
use crate::ports::{AttemptLog, AttemptLogSnapshot, AttemptOutcome, UpstreamAttempt};
use crate::telemetry::{RecentRequest, RecentRequests, milliseconds};

/// What was done about a conversation lately.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Trace)]
pub(super) struct TraceResponse {
    /// The conversation.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// Those of the last 1,000 requests of the process that were about this conversation, the newest
    /// first, at most 100.
    requests: Vec<TracedRequestDto>,
    /// How many more of them there were.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    requests_left_out: usize,
}

/// One request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TracedRequest)]
struct TracedRequestDto {
    /// When it arrived.
    #[schema(format = "date-time")]
    at: String,
    /// Its id, as in `X-Request-Id` and the log.
    request_id: String,
    /// Who sent it.
    caller: TracedCallerDto,
    /// HTTP method.
    method: String,
    /// The path, with the name of the conversation in the place of its id.
    route: String,
    /// Status of the answer; 499 if the client hung up before there was one.
    status: u16,
    /// Code of the problem that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'static str>,
    /// Whether attributes were changed, as it was known then.
    effect: &'static str,
    /// Milliseconds until the answer.
    duration_ms: f64,
    /// The keys that it was about; none of them means all.
    keys: Vec<String>,
    /// What became of them; complete once the write has ended, be it after the answer.
    outcomes: BTreeMap<String, &'static str>,
    /// How many more keys there were.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    keys_left_out: usize,
    /// Calls to the platform API, shared ones included.
    upstream_calls: u32,
    /// Those calls, retries singly.
    attempts: Vec<TracedAttemptDto>,
    /// How many more there were.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    attempts_left_out: usize,
}

/// Who sent a request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TracedCaller)]
struct TracedCallerDto {
    /// Its name, where clients are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client: Option<String>,
    /// The other end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    address: Option<String>,
    /// Its `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_agent: Option<String>,
}

/// One call to Genesys Cloud.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TracedAttempt)]
struct TracedAttemptDto {
    /// `read` or `patch`.
    operation: &'static str,
    /// Milliseconds from the arrival of the request until it left; negative for a read that was under
    /// way already.
    at_ms: f64,
    /// Milliseconds before it in which nothing was under way for this request: waiting for its turn,
    /// a token, the budget, a `Retry-After`, or the next look.
    wait_ms: f64,
    /// Milliseconds until it had ended; absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    took_ms: Option<f64>,
    /// HTTP status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// Why there was none: `timeout`, `connect`, `reset`, `invalid` or `notSent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<&'static str>,
    /// `ININ-Correlation-Id` of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    correlation_id: Option<String>,
}

/// See what was done about a conversation
///
/// The last requests about it, with keys, outcomes and calls to Genesys Cloud; never values. Only
/// with `debug.enabled`; 404 `not-found` otherwise. One gateway process knows of its own requests.
#[utoipa::path(get, path = paths::TRACE, operation_id = "getTrace", tag = "debugging",
    params(ConversationParam),
    responses((status = 200, body = TraceResponse, description = "What was done")))]
pub(super) async fn get_trace(
    State(ops): State<Arc<OpsState>>,
    ClientIdentity(client): ClientIdentity,
    uri: Uri,
) -> Result<Json<TraceResponse>, Problem> {
    let conversation = conversation(&uri)?;
    QueryString::read(uri.query(), &[], &[]).finish()?;
    let about = |recent: &RecentRequests| recent.about(conversation);
    let (kept, left_out) = ops.recent.as_ref().map(about).unwrap_or_default();
    let rights = &client.rights;
    let requests =
        kept.iter().filter_map(|request| TracedRequestDto::from_recent(request, rights)).collect();
    // Nobody knows any more what those were about.
    let requests_left_out = if rights.sees_all() { left_out } else { 0 };
    Ok(Json(TraceResponse {
        conversation_id: conversation.to_string(),
        requests,
        requests_left_out,
    }))
}

impl TracedRequestDto {
    /// The request, as whoever has these rights may know of it; `None` if it was about keys that are
    /// kept from it, and no others.
    fn from_recent(request: &RecentRequest, rights: &ClientRights) -> Option<Self> {
        let mut steps = request.context.attempt_log().map(AttemptLog::snapshot).unwrap_or_default();
        let names_keys = !steps.keys.is_empty() || steps.keys_left_out > 0;
        if !rights.sees_all() && names_keys {
            // Nobody knows any more which keys were left out.
            steps.keys_left_out = 0;
            steps.keys.retain(|(key, _)| rights.sees(key));
            if steps.keys.is_empty() {
                return None;
            }
        }
        let outcome = |(key, outcome): &(String, Option<KeyOutcome>)| {
            Some((key.clone(), outcome.as_ref()?.as_str()))
        };
        Some(Self {
            at: request.arrival.at.clone(),
            request_id: request.request_id.clone(),
            caller: TracedCallerDto {
                client: request.context.client().known_name().map(str::to_owned),
                address: request.arrival.address.map(|address| address.to_string()),
                user_agent: request.arrival.user_agent.clone(),
            },
            method: request.method.clone(),
            route: request.route.clone(),
            status: request.status,
            code: request.code.map(ErrorCode::as_str),
            effect: request.effect.as_str(),
            duration_ms: milliseconds(request.took),
            outcomes: steps.keys.iter().filter_map(outcome).collect(),
            attempts: attempts(&steps, request.arrived),
            keys: steps.keys.into_iter().map(|(key, _)| key).collect(),
            keys_left_out: steps.keys_left_out,
            upstream_calls: request.context.calls(),
            attempts_left_out: steps.attempts_left_out,
        })
    }
}

fn attempts(steps: &AttemptLogSnapshot, arrived: Instant) -> Vec<TracedAttemptDto> {
    let mut attempts: Vec<&UpstreamAttempt> =
        steps.attempts.iter().map(|attempt| &**attempt).collect();
    attempts.sort_by_key(|attempt| attempt.start);
    let mut idle_since = arrived;
    let mut views = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let wait = attempt.start.saturating_duration_since(idle_since);
        views.push(TracedAttemptDto::from_attempt(attempt, arrived, wait));
        let took = attempt.ended().map_or(Duration::ZERO, |end| end.took);
        idle_since = idle_since.max(attempt.start + took);
    }
    views
}

impl TracedAttemptDto {
    fn from_attempt(attempt: &UpstreamAttempt, arrived: Instant, wait: Duration) -> Self {
        let (after, before) = (
            attempt.start.saturating_duration_since(arrived),
            arrived.saturating_duration_since(attempt.start),
        );
        let end = attempt.ended();
        let (status, failure) = end.map_or((None, None), |end| describe_outcome(end.answer));
        Self {
            operation: attempt.operation.as_str(),
            at_ms: milliseconds(after) - milliseconds(before),
            wait_ms: milliseconds(wait),
            took_ms: end.map(|end| milliseconds(end.took)),
            status,
            failure,
            correlation_id: end.and_then(|end| end.correlation_id.clone()),
        }
    }
}

fn describe_outcome(answer: AttemptOutcome) -> (Option<u16>, Option<&'static str>) {
    match answer {
        AttemptOutcome::Status(status) => (Some(status), None),
        AttemptOutcome::Timeout => (None, Some("timeout")),
        AttemptOutcome::Connect => (None, Some("connect")),
        AttemptOutcome::Reset => (None, Some("reset")),
        AttemptOutcome::Invalid => (None, Some("invalid")),
        AttemptOutcome::NotSent => (None, Some("notSent")),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
