//! Counts requests in progress for the drain, and limits them per address and per client.
//!
//! Only API requests count. Probes and documents are always served.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::error::Error;
use crate::http::paths;
use crate::http::peer::peer_of;
use crate::http::problem::Problem;
use crate::http::request_context::HttpRequestContext;
use crate::http::state::AppState;

/// Holds a token while the request is in progress. A drain waits until all tokens are released.
pub(super) async fn count_in_flight(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let _token = is_api(&request).then(|| state.ops.in_flight.token());
    next.run(request).await
}

/// Refuses API requests while the process is shutting down.
pub(super) async fn refuse_while_draining(
    State(state): State<AppState>,
    request: Request,
) -> Result<Request, Problem> {
    if is_api(&request) && state.ops.readiness.draining() {
        return Err(Error::ShuttingDown.into());
    }
    Ok(request)
}

/// Refuses requests over the limit of an address behind a proxy, or of a client.
pub(super) async fn limit_concurrency(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let client =
        HttpRequestContext::of(&request).map(|request_context| request_context.client.clone());
    let Some(client) = client.filter(|_| is_api(&request)) else {
        return Ok(next.run(request).await);
    };
    let peer = peer_of(&request);
    let of_address = state
        .ops
        .address_limiter
        .as_ref()
        .map(|address_limiter| address_limiter.acquire(peer))
        .transpose();
    let _of_address = of_address.map_err(|_| Error::Overloaded("from this address"))?;
    let _of_client = state.ops.requests.acquire(&client)?;
    Ok(next.run(request).await)
}

fn is_api(request: &Request) -> bool {
    request.extensions().get::<MatchedPath>().is_some_and(|route| paths::is_api(route.as_str()))
}
