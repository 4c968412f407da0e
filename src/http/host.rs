//! Checks the `Host` header: an HTTP/1.1 request has exactly one (RFC 9112, section 3.2).
//!
//! A missing or second `Host` may indicate request smuggling: a proxy and the gateway could choose
//! different servers for the request.

use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Version};

use super::peer::peer_of;
use super::problem::Problem;
use crate::domain::Violation;
use crate::error::ErrorCode;

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
pub(super) async fn require(request: Request) -> Result<Request, Problem> {
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
