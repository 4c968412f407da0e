//! Writes errors as problem details, or in the flat form if the request asked for it.

use std::any::Any;

use axum::extract::{MatchedPath, Request, State};
use axum::http::response::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::error::{Effect, ErrorCode};
use crate::http::idempotency::AnswerTicket;
use crate::http::negotiate::PATCHES;
use crate::http::operations::OperationRun;
use crate::http::paths;
use crate::http::problem::LoggedResult;
use crate::http::problem::{Problem, ProblemContext};
use crate::http::request_context::HttpRequestContext;
use crate::http::responses::ChosenParticipant;
use crate::http::state::AppState;
use crate::ports::WriteNotes as _;

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// Writes the problem of a response as its body, and stores a [`LoggedResult`] in the extensions.
pub(super) async fn render(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let Some(request_context) = HttpRequestContext::of(&request).cloned() else {
        return next.run(request).await;
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let run = request.extensions().get::<OperationRun>().cloned();
    let ticket = request.extensions().get::<AnswerTicket>().cloned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let found = request_context.context.participant().map(ChosenParticipant::from);
    let problem = problem.about_participant(found);
    let mut parts = response.into_parts().0;
    let correlation = request_context.context.correlation_id();
    let about = ProblemContext {
        instance: uri.path(),
        public_url: state.ops.documents.public_url(),
        request_id: &request_context.request_id,
        correlation_id: correlation.as_deref(),
        upstream_calls: request_context.context.calls(),
        total_bytes: state.settings.total_bytes,
    };
    // A safe method changes nothing, even if it panics.
    let mut effect = if method.is_safe() { Effect::NotApplied } else { problem.effect() };
    // This try has changed nothing, but an earlier one may have.
    let notes = ticket.and_then(|ticket| ticket.notes());
    let was_sent = run.is_some_and(|run| run.notes.earlier().is_some())
        || notes.is_some_and(|notes| notes.earlier().is_some());
    if was_sent {
        effect = effect.max(Effect::Unknown);
    }
    let problem = problem.with_effect(effect);
    let conversation = paths::conversation_of(uri.path());
    let flat = request_context.flat.as_deref();
    let flat = flat.and_then(|form| form.problem(&problem, conversation, &mut parts));
    let body = flat.unwrap_or_else(|| problem.write(&about, &mut parts));
    add_accept_patch(&problem, &method, route.as_ref(), &mut parts);
    let (status, code) = (problem.status(), Some(problem.code()));
    parts.extensions.insert(LoggedResult { status, effect, code });
    Response::from_parts(parts, body)
}

/// The response to a request whose handler panicked. The panic hook has logged the location; the payload
/// is discarded.
pub(super) fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    Problem::internal("a handler panicked").with_effect(Effect::Unknown).into_response()
}

/// Adds `Accept-Patch` if a PATCH had the wrong type, or if the method is not supported.
fn add_accept_patch(
    problem: &Problem,
    method: &Method,
    route: Option<&MatchedPath>,
    parts: &mut Parts,
) {
    let applies = match problem.code() {
        ErrorCode::UnsupportedMediaType => method == Method::PATCH,
        ErrorCode::MethodNotAllowed => {
            route.is_some_and(|route| route.as_str() == paths::ATTRIBUTES)
        }
        _ => false,
    };
    if applies {
        parts.headers.insert(ACCEPT_PATCH, HeaderValue::from_static(PATCHES));
    }
}
