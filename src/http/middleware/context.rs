//! Opens the context of a request: its client, deadline, trace and audit entry.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Uri};

use crate::http::auth::RequestAuthentication;
use crate::http::peer::peer_of;
use crate::http::request_context::{HttpRequestContext, request_id, traceparent};
use crate::http::state::AppState;
use crate::http::{flat, paths};
use crate::ports::{AuditEntry, AuditRecord, ContextParts, TraceSpan};
use crate::telemetry::SpanExport;

/// Stores the [`HttpRequestContext`] in the extensions of the request. Requires a
/// [`RequestAuthentication`] there.
pub(super) async fn open(State(state): State<AppState>, mut request: Request) -> Request {
    let authentication =
        request.extensions().get::<RequestAuthentication>().cloned().unwrap_or_default();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let pattern = route.as_ref().map(MatchedPath::as_str);
    let is_api = pattern.is_some_and(paths::is_api);
    let span = span_of(request.headers(), state.ops.spans.as_ref().filter(|_| is_api));
    // A refused request must not displace stored requests of other clients.
    let is_kept = authentication.refusal.is_none() && is_traced(&state, request.uri());
    let is_exported = span.as_ref().is_some_and(TraceSpan::is_exported);
    let recorded = |deadline| ContextParts {
        audit_entry: audit_entry(&state, &request, &authentication),
        client: authentication.client,
        span,
        has_attempt_log: is_kept || is_exported,
        ..ContextParts::new(deadline)
    };
    let mut request_context =
        HttpRequestContext::open(request.headers(), &state.settings, recorded);
    request_context.flat =
        flat::FlatRequest::from_request(pattern, request.uri().query(), request.method().is_safe());
    request.extensions_mut().insert(request_context);
    request
}

pub(super) fn is_traced(state: &AppState, uri: &Uri) -> bool {
    let recent = &state.ops.recent;
    recent.is_active() && paths::conversation_of(uri.path()).is_some_and(|one| recent.keeps(one))
}

/// The span of the request: a child of the client's span, or without export the client's span itself.
fn span_of(headers: &HeaderMap, spans: Option<&SpanExport>) -> Option<TraceSpan> {
    let given = traceparent(headers);
    match spans {
        Some(spans) => Some(spans.open(given)),
        None => given.map(|context| TraceSpan::new(context, None, None)),
    }
}

/// The audit entry of a write of attributes, if the audit is enabled. A write that authentication
/// refuses has none: any program could fill the disk with such records.
fn audit_entry(
    state: &AppState,
    request: &Request,
    authentication: &RequestAuthentication,
) -> Option<AuditEntry> {
    let audit = state.ops.audit.as_ref()?;
    let pattern = request.extensions().get::<MatchedPath>()?;
    let is_write = !request.method().is_safe() && paths::is_of_attributes(pattern.as_str());
    if !is_write || authentication.refusal.is_some() {
        return None;
    }
    let origin = AuditRecord {
        client: authentication.client.known_name().map(str::to_owned),
        address: peer_of(request).map(|peer| peer.address.ip()),
        request_id: request_id(request.headers()),
        method: request.method().to_string(),
        conversation: paths::conversation_of(request.uri().path()),
        ..AuditRecord::default()
    };
    Some(AuditEntry::new(Arc::clone(audit), origin))
}
