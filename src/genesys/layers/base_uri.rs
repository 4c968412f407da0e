//! Turns the path of a request into an absolute URI, and adds the common headers.

use std::sync::Arc;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Request, Uri, header};

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::HttpTransport;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("attribute-gateway/", env!("CARGO_PKG_VERSION")));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A base URL, parsed once for all requests.
#[derive(Clone)]
struct BaseUri {
    scheme: Scheme,
    authority: Authority,
    /// Its path, without a trailing slash.
    path: String,
}

impl BaseUri {
    fn parse(url: &str) -> Option<Self> {
        let parts = Uri::try_from(url).ok()?.into_parts();
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let path = path.trim_end_matches('/').to_owned();
        Some(Self { scheme: parts.scheme?, authority: parts.authority?, path })
    }

    /// The absolute URI of a path.
    fn uri(&self, path: &Uri) -> Option<Uri> {
        let path = path.path_and_query()?;
        let path = match self.path.as_str() {
            "" => path.clone(),
            base => PathAndQuery::try_from(format!("{base}{path}")).ok()?,
        };
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        uri.path_and_query(path).build().ok()
    }
}

/// Sends requests to `base`, which may have a path and has no trailing slash.
pub fn layer(base: &str, inner: HttpTransport) -> HttpTransport {
    let base = Arc::new(BaseUri::parse(base));
    HttpTransport::from_fn(move |mut request: Request<Bytes>| {
        let (inner, base) = (inner.clone(), Arc::clone(&base));
        async move {
            let uri = base.as_ref().as_ref().and_then(|base| base.uri(request.uri()));
            *request.uri_mut() =
                uri.ok_or_else(|| UpstreamError::Connect("unusable URI".into()))?;
            let trace = call(&request).trace().and_then(|trace| trace.to_string().parse().ok());
            let has_body = !request.body().is_empty();
            let headers = request.headers_mut();
            if has_body {
                // The body of a token request is a form, and has its content type already.
                headers.entry(header::CONTENT_TYPE).or_insert(JSON);
            }
            headers.insert(header::ACCEPT, JSON);
            headers.insert(header::USER_AGENT, USER_AGENT);
            if let Some(trace) = trace {
                headers.insert(TRACEPARENT, trace);
            }
            inner.exchange(request).await
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_appended_to_the_path_of_its_base() {
        for (base, path, expected) in [
            ("https://api.test", "/api/v2/x?y=1", "https://api.test/api/v2/x?y=1"),
            ("https://api.test:8443/", "/a", "https://api.test:8443/a"),
            ("http://[::1]:80/proxy/it", "/a%20b/c", "http://[::1]:80/proxy/it/a%20b/c"),
        ] {
            let uri =
                BaseUri::parse(base).and_then(|base| base.uri(&path.parse().expect("a path")));
            assert_eq!(uri.map(|uri| uri.to_string()).as_deref(), Some(expected));
        }
        assert!(BaseUri::parse("/nowhere").is_none());
    }
}
