//! The middleware of the service, outermost first.
//! `HttpRequestContext` is the context of a request in its extensions, and `LoggedResult` what logs record,
//! in those of the response.

mod context;
mod headers;
mod limits;
mod observe;
mod problems;

use axum::Router;
use axum::http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use axum::middleware::{from_fn_with_state, map_request, map_request_with_state};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use super::auth::{self, X_API_KEY};
use super::idempotency;
use super::request_context::{NewRequestId, X_REQUEST_ID, remove_malformed_request_id};
use super::state::AppState;

/// The router with all layers around its routes.
pub(super) fn with_middleware(router: Router<AppState>, state: &AppState) -> Router<AppState> {
    let state = || state.clone();
    router.layer(
        ServiceBuilder::new()
            // A request id could break a log line or a header. A malformed one counts as absent.
            .layer(map_request(remove_malformed_request_id))
            // Every request has an id: the one of its client, or a new one.
            .layer(SetRequestIdLayer::new(X_REQUEST_ID, NewRequestId))
            // Every response carries the id.
            .layer(PropagateRequestIdLayer::new(X_REQUEST_ID))
            // `Debug` of a request shows no credential.
            .layer(SetSensitiveRequestHeadersLayer::new([
                AUTHORIZATION,
                PROXY_AUTHORIZATION,
                COOKIE,
                X_API_KEY,
            ]))
            // Identifies the client, because everything below depends on it. Refuses later.
            .layer(map_request_with_state(state(), auth::identify))
            // Opens the context: deadline, preferences, trace, audit entry.
            .layer(map_request_with_state(state(), context::open))
            // Drain: a stopping process waits for requests in progress, up to their audit record.
            .layer(from_fn_with_state(state(), limits::count_in_flight))
            // Logs, counts, traces and audits each request once, also if the client hangs up.
            .layer(from_fn_with_state(state(), observe::observe))
            // Adds the headers that depend on the request: timing, preferences, caching.
            .layer(from_fn_with_state(state(), headers::add))
            // Stores the answer to a write with an idempotency key.
            .layer(from_fn_with_state(state(), idempotency::keep_answer))
            // Writes each error as problem details, or in the flat form.
            .layer(from_fn_with_state(state(), problems::render))
            // A panic becomes an error response. Its payload is discarded.
            .layer(CatchPanicLayer::custom(problems::panicked))
            // Authentication: 401 without a valid credential, 429 over the client's own rate.
            .layer(map_request(auth::require))
            // A missing or repeated `Host` is a sign of request smuggling.
            .layer(map_request(limits::require_host))
            // Drain: a stopping process refuses new requests at once.
            .layer(map_request_with_state(state(), limits::refuse_while_draining))
            // Limits: a request over the limit of its address or client is refused at once.
            .layer(from_fn_with_state(state(), limits::limit_concurrency)),
    )
}

#[cfg(test)]
mod tests;
