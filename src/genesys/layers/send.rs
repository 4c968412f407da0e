//! The innermost service: sends a request to a host, with the headers that all requests have.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use url::Url;

use super::{ApiRequest, ApiService};
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::{HttpRequest, HttpTransport};

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The product and its version.
const PRODUCT: &str = concat!("attribute-gateway/", env!("CARGO_PKG_VERSION"));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Room for the headers of a request, so that their map never grows.
const HEADERS: usize = 6;

/// Sends requests to paths below `base`, which may have a path itself.
pub fn service(base: &str, transport: HttpTransport, user_agent: HeaderValue) -> ApiService {
    let base = Url::parse(base).ok().map(Arc::new);
    ApiService::from_fn(move |request: ApiRequest| {
        let (base, transport) = (base.clone(), transport.clone());
        let headers = headers(&request, user_agent.clone());
        async move {
            let base = base.ok_or_else(|| UpstreamError::Connect("unusable URL".to_owned()))?;
            let url = url(&base, &request.path);
            let ApiRequest { method, body, .. } = request;
            transport.exchange(HttpRequest { method, url, headers, body }).await
        }
    })
}

/// The URL of a path. Parsing the whole URL would cost several times as much.
fn url(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    match base.path().trim_end_matches('/') {
        "" => url.set_path(path),
        below => url.set_path(&[below, path].concat()),
    }
    url
}

/// The `User-Agent`: with several replicas, each one names itself, as in `attribute-gateway/1.0.0 (pod-1)`.
pub fn user_agent(replica: Option<&str>) -> HeaderValue {
    let named = replica.and_then(|name| format!("{PRODUCT} ({name})").parse().ok());
    named.unwrap_or(HeaderValue::from_static(PRODUCT))
}

fn headers(request: &ApiRequest, user_agent: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(header::ACCEPT, JSON);
    headers.insert(header::USER_AGENT, user_agent);
    if let Some(authorization) = &request.authorization {
        headers.insert(header::AUTHORIZATION, authorization.clone());
    }
    if !request.body.is_empty() {
        headers.insert(header::CONTENT_TYPE, request.content_type.clone());
    }
    let trace = request.call.trace().and_then(|trace| trace.to_string().parse().ok());
    if let Some(trace) = trace {
        headers.insert(TRACEPARENT, trace);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_appended_to_the_path_of_its_base() {
        for (base, path, expected) in [
            ("https://api.test", "/api/v2/x", "https://api.test/api/v2/x"),
            ("https://api.test:8443/", "/a", "https://api.test:8443/a"),
            ("http://[::1]:80/proxy/it", "/a%20b/c", "http://[::1]/proxy/it/a%20b/c"),
        ] {
            let base = Url::parse(base).expect("a URL");
            assert_eq!(url(&base, path).as_str(), expected);
        }
    }
}
