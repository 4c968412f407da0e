//! Turns the path of a request into the URI of a host, and adds the headers of every request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use tower::service_fn;

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::Exchange;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("attribute-gateway/", env!("CARGO_PKG_VERSION")));
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Sends requests to `base`, which may have a path of its own and ends without a slash.
pub fn layer<S: Exchange>(base: Arc<str>, inner: S) -> impl Exchange {
    service_fn(move |mut request: Request<Bytes>| {
        let mut inner = inner.clone();
        let uri = Uri::try_from(format!("{base}{}", request.uri()));
        async move {
            *request.uri_mut() = uri.map_err(|_| UpstreamError::Connect("unusable URI".into()))?;
            let trace = call(&request).cycle.traceparent().and_then(|text| text.parse().ok());
            let headers = request.headers_mut();
            headers.insert(header::ACCEPT, JSON);
            headers.insert(header::USER_AGENT, USER_AGENT);
            if let Some(trace) = trace {
                headers.insert(TRACEPARENT, trace);
            }
            inner.call(request).await
        }
    })
}
