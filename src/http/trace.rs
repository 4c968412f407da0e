//! `…/trace`: the last requests about a conversation, with their upstream calls, without values.
//!
//! An operator switches it on for one conversation and for a time; `debug.enabled` does so for all.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use super::extract::{ClientIdentity, OperatorIdentity};
use super::params::ConversationParam;
use super::paths;
use super::problem::Problem;
use super::query::StrictQuery;
use super::responses::effect_schema;
use super::state::AppState;
use crate::domain::{ClientRights, KeyOutcome};
use crate::error::{Error, ErrorCode};
use crate::ports::{AttemptLog, AttemptLogSnapshot, AttemptOutcome, UpstreamAttempt};
use crate::telemetry::{RecentRequest, milliseconds};

const DEFAULT_LEASE: Duration = Duration::from_mins(10);

const SWITCH_ON: &str =
    "Send a POST to the same path to trace the next requests of this conversation.";

const TOO_MANY_LEASES: &str = "with a trace of their own: 32 conversations are traced already";

/// Recent requests about a conversation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Trace)]
pub(super) struct TraceResponse {
    /// The conversation.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// At most 100 of the last 1,000 requests to this gateway process, newest first.
    requests: Vec<TracedRequest>,
    /// Number of further requests that `requests` omits.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    requests_left_out: usize,
}

/// A request about the conversation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TracedRequest {
    /// Time of arrival.
    #[schema(format = "date-time")]
    at: String,
    /// Id of the request, as in `X-Request-Id` and the log.
    request_id: String,
    /// The client that sent the request.
    caller: TracedCaller,
    /// HTTP method.
    method: String,
    /// The path, with `{conversationId}` instead of the id.
    route: String,
    /// Status of the response; 499 if the client disconnected before it.
    status: u16,
    /// Code of the problem in the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'static str>,
    /// Whether attributes were changed, as known at the time of the response.
    #[schema(schema_with = effect_schema)]
    effect: &'static str,
    /// Milliseconds until the response.
    duration_ms: f64,
    /// The keys in the request. Empty for a request about all keys.
    keys: Vec<String>,
    /// The outcome of each key. Complete once the write has ended, which can be after the response.
    outcomes: BTreeMap<String, &'static str>,
    /// Number of further keys that `keys` omits.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    keys_left_out: usize,
    /// Calls to the Genesys Cloud API, including calls shared with other requests.
    upstream_calls: u32,
    /// The calls; each retry is an entry.
    attempts: Vec<TracedAttempt>,
    /// Number of further calls that `attempts` omits.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    attempts_left_out: usize,
}

/// The sender of a request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TracedCaller {
    /// Name of the client, if clients are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client: Option<String>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    address: Option<String>,
    /// `User-Agent` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_agent: Option<String>,
}

/// A call to Genesys Cloud.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TracedAttempt {
    /// `read` or `patch`.
    operation: &'static str,
    /// Milliseconds from the arrival of the request to the call; negative for a shared read in progress.
    at_ms: f64,
    /// Milliseconds before the call in which none was in progress, such as a wait for the call budget.
    wait_ms: f64,
    /// Duration of the call in milliseconds. Absent while the call is in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    took_ms: Option<f64>,
    /// HTTP status of the response of Genesys Cloud. Absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// Why there was no response: `timeout`, `connect`, `reset`, `invalid` or `notSent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    failure: Option<&'static str>,
    /// `ININ-Correlation-Id` of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    correlation_id: Option<String>,
}

/// Trace recent requests about a conversation
///
/// Shows the last requests with their keys, outcomes and calls to Genesys Cloud, without attribute
/// values. 404 `not-found` unless `startTrace` has switched it on. Needs a client with `operate = true`;
/// with `debug.enabled`, every client sees every conversation. Each gateway process shows only the
/// requests that it served itself.
#[utoipa::path(get, path = paths::TRACE, operation_id = "getTrace", tag = "operations",
    params(ConversationParam),
    responses((status = 200, body = TraceResponse, description = "The recent requests")))]
pub(super) async fn get_trace(
    State(AppState { ops, .. }): State<AppState>,
    operator: Result<OperatorIdentity, Problem>,
    ClientIdentity(client): ClientIdentity,
    uri: Uri,
    StrictQuery(()): StrictQuery<()>,
) -> Result<Json<TraceResponse>, Problem> {
    let ConversationParam { conversation } = ConversationParam::from_uri(&uri)?;
    if !ops.recent.keeps_all() {
        operator?;
        if !ops.recent.keeps(conversation) {
            let detail = "the trace of this conversation is not switched on";
            return Err(Problem::new(ErrorCode::NotFound, detail).with_hint(SWITCH_ON));
        }
    }
    let (kept, omitted) = ops.recent.about(conversation);
    let rights = &client.rights;
    let requests =
        kept.iter().filter_map(|request| TracedRequest::from_recent(request, rights)).collect();
    // The keys of these requests are unknown, so a client with limited rights may not learn of them.
    let requests_left_out = if rights.sees_all() { omitted } else { 0 };
    Ok(Json(TraceResponse {
        conversation_id: conversation.to_string(),
        requests,
        requests_left_out,
    }))
}

/// How long a conversation is traced.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct TraceParams {
    /// How long, from `1s` to `1h`; default `10m`
    #[serde(rename = "for", deserialize_with = "lease")]
    #[param(
        value_type = Option<String>,
        example = "10m",
        pattern = "^([1-9][0-9]{0,2}s|[1-9]m|[1-5][0-9]m|60m|1h)$"
    )]
    time: Option<Duration>,
}

fn lease<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let time = humantime::parse_duration(&String::deserialize(value)?).ok();
    let range = Duration::from_secs(1)..=Duration::from_hours(1);
    let time = time.filter(|time| range.contains(time)).map(Some);
    time.ok_or_else(|| D::Error::custom("is not a time from 1s to 1h, such as `10m`"))
}

/// The trace of a conversation was switched on.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TraceLease {
    /// The conversation.
    #[schema(format = "uuid")]
    conversation_id: String,
    /// Seconds until the trace ends.
    expires_in_seconds: u64,
}

/// Switch on the trace of a conversation
///
/// From now on, `getTrace` shows the requests about this conversation. It ends by itself; a repeated
/// request sets a new end. At most 32 conversations are traced at a time. Needs a client with
/// `operate = true`.
#[utoipa::path(post, path = paths::TRACE, operation_id = "startTrace", tag = "operations",
    params(ConversationParam, TraceParams),
    responses((status = 200, body = TraceLease, description = "The trace is on")))]
pub(super) async fn start_trace(
    _: OperatorIdentity,
    State(AppState { ops, .. }): State<AppState>,
    uri: Uri,
    StrictQuery(TraceParams { time }): StrictQuery<TraceParams>,
) -> Result<Json<TraceLease>, Problem> {
    let ConversationParam { conversation } = ConversationParam::from_uri(&uri)?;
    let time = time.unwrap_or(DEFAULT_LEASE);
    if !ops.recent.lease(conversation, time) {
        return Err(Error::Overloaded(TOO_MANY_LEASES).into());
    }
    Ok(Json(TraceLease {
        conversation_id: conversation.to_string(),
        expires_in_seconds: time.as_secs(),
    }))
}

impl TracedRequest {
    /// The part of the request that a client with these rights may see; `None` if the request names
    /// only keys that are hidden from the client.
    fn from_recent(request: &RecentRequest, rights: &ClientRights) -> Option<Self> {
        let mut steps = request.context.attempt_log().map(AttemptLog::snapshot).unwrap_or_default();
        let names_keys = !steps.keys.is_empty() || steps.keys_left_out > 0;
        if !rights.sees_all() && names_keys {
            // The omitted keys are unknown, so hidden ones cannot be excluded from the count.
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
            caller: TracedCaller {
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

fn attempts(steps: &AttemptLogSnapshot, arrived: Instant) -> Vec<TracedAttempt> {
    let mut attempts: Vec<&UpstreamAttempt> =
        steps.attempts.iter().map(|attempt| &**attempt).collect();
    attempts.sort_by_key(|attempt| attempt.start);
    let mut idle_since = arrived;
    let since = |start: Instant, end: Instant| milliseconds(end.saturating_duration_since(start));
    let view = |attempt: &UpstreamAttempt| {
        let (start, end) = (attempt.start, attempt.ended());
        let wait_ms = since(idle_since, start);
        idle_since = idle_since.max(start + end.map_or(Duration::ZERO, |end| end.took));
        let answer = end.map(|end| end.answer);
        let status = match answer {
            Some(AttemptOutcome::Status(status)) => Some(status),
            _ => None,
        };
        TracedAttempt {
            operation: attempt.operation.as_str(),
            at_ms: since(arrived, start) - since(start, arrived),
            wait_ms,
            took_ms: end.map(|end| milliseconds(end.took)),
            status,
            failure: answer.and_then(AttemptOutcome::failure),
            correlation_id: end.and_then(|end| end.correlation_id.clone()),
        }
    };
    attempts.into_iter().map(view).collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
