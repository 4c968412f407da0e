//! The `Host` header: a request of HTTP/1.1 has exactly one (RFC 9112, section 3.2).
//!
//! Two of them, or none, are a sign of request smuggling: a proxy and the service could disagree about
//! the server that the request is for.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version};
use axum::middleware::Next;
use axum::response::Response;

use super::peer::peer_of;
use super::problem::Problem;
use crate::domain::Violation;
use crate::error::ErrorCode;

/// Whether the request has the `Host` that its version of HTTP demands.
fn is_sound(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (Some(_), Some(_)) => false,
        (None, _) => request.version() < Version::HTTP_11,
    }
}

/// An empty value is sound: it is what a client sends that asks for no authority.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let host = text.parse::<Authority>();
    text.is_empty() || (!text.contains('@') && host.is_ok_and(|host| !host.host().is_empty()))
}

/// Refuses a request over a connection whose `Host` is not sound. One from this process needs none.
pub(super) async fn require(request: Request, next: Next) -> Result<Response, Problem> {
    if peer_of(&request).is_some() && !is_sound(&request) {
        return Err(refusal());
    }
    Ok(next.run(request).await)
}

fn refusal() -> Problem {
    let detail = "has to be there exactly once, with a host name and optionally a port";
    Problem::listing(ErrorCode::InvalidHeader, Violation::new("Host", detail))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn sound(version: Version, hosts: &[&str]) -> bool {
        let request = Request::builder().version(version);
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        is_sound(&request.body(Body::empty()).expect("a request"))
    }

    #[test]
    fn http_1_1_wants_one_host_and_http_1_0_at_most_one() {
        for host in
            ["gateway", "gateway.example:8080", "127.0.0.1:1", "[::1]:8080", "[2001:db8::1]", ""]
        {
            assert!(sound(Version::HTTP_11, &[host]), "{host}");
        }
        for host in ["a b", "a, b", "user@host", "a/b", "http://a", ":80"] {
            assert!(!sound(Version::HTTP_11, &[host]), "{host}");
        }
        assert!(!sound(Version::HTTP_11, &[]));
        assert!(!sound(Version::HTTP_11, &["a", "a"]));
        assert!(!sound(Version::HTTP_10, &["a", "b"]));
        assert!(sound(Version::HTTP_10, &[]));
    }
}
