//! Counts requests in progress for the drain, and limits them per address and per client.
//!
//! Only API requests count. Probes and documents are always served.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version};
use axum::middleware::Next;
use axum::response::Response;

use crate::domain::Violation;
use crate::error::{Error, ErrorCode};
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
    let address_limiter = state.ops.address_limiter.as_ref();
    let _of_address = address_limiter.map(|limiter| limiter.acquire(peer)).transpose()?;
    let _of_client = state.ops.requests.acquire(&client)?;
    Ok(next.run(request).await)
}

fn is_api(request: &Request) -> bool {
    request.extensions().get::<MatchedPath>().is_some_and(|route| paths::is_api(route.as_str()))
}

fn has_valid_host(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
        (None, _) => request.version() < Version::HTTP_11,
    }
}

/// An empty value is valid: clients send it for a target without an authority.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let host = text.parse::<Authority>();
    text.is_empty() || (!text.contains('@') && host.is_ok_and(|host| !host.host().is_empty()))
}

/// Refuses a request with an invalid `Host`. A request made inside this process needs none.
pub(super) async fn require_host(request: Request) -> Result<Request, Problem> {
    if peer_of(&request).is_some() && !has_valid_host(&request) {
        return Err(refusal());
    }
    Ok(request)
}

fn refusal() -> Problem {
    let detail = "must appear exactly once, with a host name and optionally a port";
    Problem::listing(ErrorCode::InvalidHeader, Violation::new("Host", detail))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_valid(version: Version, hosts: &[&str]) -> bool {
        let request = Request::builder().version(version);
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        has_valid_host(&request.body(Body::empty()).expect("a request"))
    }

    #[test]
    fn http_1_1_needs_one_host_and_http_1_0_at_most_one() {
        for host in
            ["gateway", "gateway.example:8080", "127.0.0.1:1", "[::1]:8080", "[2001:db8::1]", ""]
        {
            assert!(is_valid(Version::HTTP_11, &[host]), "{host}");
        }
        for host in ["a b", "a, b", "user@host", "a/b", "http://a", ":80"] {
            assert!(!is_valid(Version::HTTP_11, &[host]), "{host}");
        }
        assert!(!is_valid(Version::HTTP_11, &[]));
        assert!(!is_valid(Version::HTTP_11, &["a", "a"]));
        assert!(!is_valid(Version::HTTP_10, &["a", "b"]));
        assert!(is_valid(Version::HTTP_10, &[]));
    }
}
