//! Errors leave as problem details, or in the flat form where the request asked for that.
//!
//! A handler or layer returns a [`Problem`]. Only here it is completed: with the path, the id of the
//! request, and what the request spent.

use axum::extract::{MatchedPath, Request, State};
use axum::http::response::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;

use super::LoggedResult;
use crate::error::{Code, Effect};
use crate::http::negotiate::PATCHES;
use crate::http::paths;
use crate::http::problem::{About, Problem};
use crate::http::request_context::Exchange;
use crate::http::responses::ChosenView;
use crate::http::state::AppState;

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Writes the problem of an answer as its body, and leaves a [`LoggedResult`].
pub(super) async fn render(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(exchange) = Exchange::of(&request).cloned() else { return next.run(request).await };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let found = exchange.cycle.participant().map(ChosenView::from);
    let problem = problem.about_participant(found);
    let mut parts = response.into_parts().0;
    let correlation = exchange.cycle.correlation_id();
    let about = About {
        instance: uri.path(),
        public_url: state.ops.documents.public_url(),
        request_id: &exchange.request_id,
        correlation_id: correlation.as_deref(),
        upstream_calls: exchange.cycle.calls(),
        total_bytes: state.settings.total_bytes,
    };
    // A safe method changes nothing, whatever a panic leaves open.
    let effect = if method.is_safe() { Effect::NotApplied } else { problem.effect() };
    let problem = problem.with_effect(effect);
    let conversation = paths::conversation_of(uri.path());
    let flat = exchange.flat.as_deref();
    let flat = flat.and_then(|ask| ask.problem(&problem, conversation, &mut parts));
    let body = flat.unwrap_or_else(|| problem.write(&about, &mut parts));
    add_accept_patch(&problem, &method, route.as_ref(), &mut parts);
    let (status, code) = (problem.status(), Some(problem.code()));
    parts.extensions.insert(LoggedResult { status, effect, code });
    Response::from_parts(parts, body)
}

/// Says what a PATCH may be, to a client that sent something else or another method.
fn add_accept_patch(
    problem: &Problem,
    method: &Method,
    route: Option<&MatchedPath>,
    parts: &mut Parts,
) {
    let applies = match problem.code() {
        Code::UnsupportedMediaType => method == Method::PATCH,
        Code::MethodNotAllowed => route.is_some_and(|route| route.as_str() == paths::ATTRIBUTES),
        _ => false,
    };
    if applies {
        parts.headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
    }
}
