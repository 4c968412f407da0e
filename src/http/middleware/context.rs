//! Opens the context of a request: who asks, until when, in which trace, and what is recorded.

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;

use super::audit;
use crate::http::auth::Recognition;
use crate::http::request_context::{Exchange, traceparent};
use crate::http::state::AppState;
use crate::http::{flat, paths};
use crate::ports::Span;
use crate::telemetry::SpanExport;

/// Puts the [`Exchange`] into the extensions of the request. Needs the [`Recognition`] there.
pub(super) async fn open(State(state): State<AppState>, mut request: Request) -> Request {
    let asks = request.extensions().get::<Recognition>().cloned().unwrap_or_default();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let pattern = route.as_ref().map(MatchedPath::as_str);
    let is_api = pattern.is_some_and(paths::is_api);
    let span = span_of(request.headers(), state.ops.spans.as_ref().filter(|_| is_api));
    let mut exchange =
        Exchange::open(request.headers(), &state.settings, asks.client.clone(), span);
    exchange.flat = flat::Ask::of(pattern, request.uri().query(), request.method().is_safe());
    // A client without rights cannot displace what is kept of others.
    let is_kept = state.ops.recent.is_some() && asks.refusal.is_none();
    let is_exported = exchange.cycle.span().is_some_and(|span| span.spans().is_some());
    let dossier = audit::open(&state, &request, &asks, &exchange.request_id);
    exchange.cycle = exchange.cycle.recorded(is_kept || is_exported).audited(dossier);
    request.extensions_mut().insert(exchange);
    request
}

/// The place of the request in a trace: below the client's span, or, without export, that span itself.
fn span_of(headers: &HeaderMap, spans: Option<&SpanExport>) -> Option<Span> {
    let given = traceparent(headers);
    match spans {
        Some(spans) => Some(spans.open(given)),
        None => given.map(Span::passed_on),
    }
}
