//! The outermost layer: nothing inside may outlast the deadline of the request.

use bytes::Bytes;
use http::{Request, Response};
use tower::service_fn;

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::Exchange;

/// Ends a call at the deadline of its request. The layers inside keep to the deadline by
/// themselves; this one holds it whatever they do.
pub fn layer<S: Exchange>(inner: S) -> impl Exchange {
    service_fn(move |request: Request<Bytes>| {
        let inner = inner.clone();
        Box::pin(async move { within(inner, request).await })
    })
}

async fn within<S: Exchange>(
    mut inner: S,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let cycle = call(&request).cycle.clone();
    let calls_before = cycle.calls();
    match tokio::time::timeout_at(cycle.deadline(), inner.call(request)).await {
        Ok(result) => result,
        Err(_) if cycle.calls() > calls_before => Err(UpstreamError::Timeout { full: false }),
        Err(_) => Err(UpstreamError::NotSentInTime),
    }
}
