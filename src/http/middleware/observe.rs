//! Logs, counts, traces and audits each request exactly once, also if the client disconnects.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::USER_AGENT;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::{Instant, timeout_at};

use crate::error::{Effect, ErrorCode};
use crate::http::auth::RequestAuthentication;
use crate::http::live::LiveOperation;
use crate::http::middleware::context;
use crate::http::paths;
use crate::http::peer::peer_of;
use crate::http::problem::LoggedResult;
use crate::http::request_context::HttpRequestContext;
use crate::http::state::AppState;
use crate::ports::{RequestContext, ResponseSummary};
use crate::telemetry::{AccessRecord, RecentRequest, RequestOrigin, milliseconds, timestamp};

/// Longer method names are truncated in logs and in the trace.
const MAX_METHOD_BYTES: usize = 32;

/// The status in logs and metrics of a request whose client disconnected, as in nginx.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// How long after its deadline a response may wait for its audit record.
const RECORD_TIMEOUT: Duration = Duration::from_millis(50);

/// Reports the request when its response is complete. The response is sent after its audit record.
pub(super) async fn observe(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(guard) = RequestGuard::new(state, &request) else { return next.run(request).await };
    let response = next.run(request).await;
    let own = LoggedResult { status: response.status(), effect: Effect::NotApplied, code: None };
    let result = response.extensions().get().copied().unwrap_or(own);
    guard.finish(result).await;
    response
}

/// A request in progress. If it is dropped unfinished, the client disconnected.
struct RequestGuard {
    state: AppState,
    request_context: HttpRequestContext,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    /// Address of the client, if known.
    address: Option<IpAddr>,
    /// Origin of the request, if the request is stored for a trace.
    arrival: Option<RequestOrigin>,
    is_finished: bool,
}

impl RequestGuard {
    fn new(state: AppState, request: &Request) -> Option<Self> {
        let extensions = request.extensions();
        let is_refused = extensions
            .get::<RequestAuthentication>()
            .is_some_and(|authentication| authentication.refusal.is_some());
        let is_kept = !is_refused && context::is_traced(&state, request.uri());
        let address = peer_of(request).map(|peer| peer.address);
        let arrival = || {
            let agent = request.headers().get(USER_AGENT).and_then(|name| name.to_str().ok());
            RequestOrigin::now(address, agent)
        };
        Some(Self {
            request_context: HttpRequestContext::of(request)?.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: extensions.get::<MatchedPath>().cloned(),
            address: address.map(|address| address.ip()),
            arrival: is_kept.then(arrival),
            is_finished: false,
            state,
        })
    }

    /// Reports the response. Returns when the audit recorded it, or timed out.
    async fn finish(mut self, result: LoggedResult) {
        self.is_finished = true;
        self.report(result);
        record_answer(&self.request_context.context, result).await;
    }

    fn route(&self) -> Option<&str> {
        self.route.as_ref().map(MatchedPath::as_str)
    }

    fn is_api(&self) -> bool {
        self.route().is_some_and(paths::is_api)
    }

    fn report(&self, result: LoggedResult) {
        let (ops, context) = (&self.state.ops, &self.request_context.context);
        let (method, correlation_id) = (self.method.as_str(), context.correlation_id());
        let record = AccessRecord {
            is_probe: result.code.is_none() && self.route().is_some_and(paths::is_probed),
            // A client can invent long methods; all are ASCII.
            method: &method[..method.len().min(MAX_METHOD_BYTES)],
            route: self.route(),
            status: result.status.as_u16(),
            took: self.request_context.arrived.elapsed(),
            request_id: &self.request_context.request_id,
            client: self.request_context.client.known_name(),
            client_address: self.address,
            conversation: paths::conversation_of(self.uri.path()),
            upstream_calls: context.calls(),
            effect: self.is_api().then_some(result.effect),
            correlation_id: correlation_id.as_deref(),
            trace_id: context.span().map(|span| span.context.trace),
            code: result.code,
        };
        record.log();
        ops.metrics.http(&record);
        if let Some(spans) = &ops.spans {
            spans.request(&record, context);
        }
        self.keep(result, &record);
        self.show(result, &record);
    }

    /// Shows the operation in the live view. Requests of strangers must not displace others.
    fn show(&self, result: LoggedResult, record: &AccessRecord<'_>) {
        let is_stranger = result.code == Some(ErrorCode::Unauthenticated);
        let Some(effect) = record.effect else { return };
        if is_stranger || record.route == Some(paths::LIVE_EVENTS) {
            return;
        }
        self.state.ops.live.record(LiveOperation {
            at: timestamp(),
            method: record.method.to_owned(),
            client: record.client.map(str::to_owned),
            conversation_id: record.conversation.map(|id| id.to_string()),
            status: record.status,
            code: result.code.map(ErrorCode::as_str),
            effect: effect.as_str(),
            duration_ms: milliseconds(record.took),
            calls: record.upstream_calls,
        });
    }

    /// Stores the request for a trace, if it names a conversation and is not itself a trace.
    fn keep(&self, result: LoggedResult, record: &AccessRecord<'_>) {
        let Some(arrival) = &self.arrival else { return };
        let route = record.route.filter(|route| *route != paths::TRACE);
        let (Some(conversation), Some(route)) = (record.conversation, route) else { return };
        self.state.ops.recent.add(RecentRequest {
            arrival: arrival.clone(),
            arrived: self.request_context.arrived,
            conversation,
            method: record.method.to_owned(),
            route: route.to_owned(),
            status: record.status,
            code: result.code,
            effect: result.effect,
            took: record.took,
            request_id: self.request_context.request_id.clone(),
            context: self.request_context.context.clone(),
        });
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        // A write continues without its client, so its effect is unknown.
        let may_write = self.is_api() && !self.method.is_safe();
        let effect = if may_write { Effect::Unknown } else { Effect::NotApplied };
        let result = LoggedResult { status: CLIENT_CLOSED_REQUEST, effect, code: None };
        self.report(result);
        let context = &self.request_context.context;
        if let Some(audit_entry) = context.audit_entry() {
            audit_entry.client_disconnected(summary(context, result));
        }
    }
}

/// Records a response, and returns when the response may be sent. A blocked disk delays it at most
/// [`RECORD_TIMEOUT`] beyond its deadline.
async fn record_answer(context: &RequestContext, result: LoggedResult) {
    let audit_entry = context.audit_entry();
    if let Some(recorded) = audit_entry.and_then(|entry| entry.answered(summary(context, result))) {
        let _ = timeout_at(context.deadline().max(Instant::now()) + RECORD_TIMEOUT, recorded).await;
    }
}

fn summary(context: &RequestContext, result: LoggedResult) -> ResponseSummary {
    context.summarise(result.status.as_u16(), result.code, result.effect)
}
