//! The outermost layer: ends every call at the deadline of its request.

use bytes::Bytes;
use http::{Request, Response};

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::HttpTransport;

/// Ends a call at the deadline of its request. The inner layers respect the deadline themselves; this
/// layer guarantees it.
pub fn layer(inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let inner = inner.clone();
        async move { within(inner, request).await }
    })
}

async fn within(
    inner: HttpTransport,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let context = call(&request).context.clone();
    let calls_before = context.calls();
    match tokio::time::timeout_at(context.deadline(), inner.exchange(request)).await {
        Ok(result) => result,
        Err(_) if context.calls() > calls_before => Err(UpstreamError::Timeout { full: false }),
        Err(_) => Err(UpstreamError::NotSentInTime),
    }
}
