//! The time of one attempt. It stands inside the rate limit: waiting for that is not the upstream
//! being slow.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tower::service_fn;

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::Exchange;

/// Ends an attempt after `limit`, or at the deadline of its request if that is sooner.
pub fn layer<S: Exchange>(limit: Duration, inner: S) -> impl Exchange {
    service_fn(move |request: Request<Bytes>| {
        let mut inner = inner.clone();
        Box::pin(async move {
            let left = call(&request).cycle.time_left();
            match tokio::time::timeout(limit.min(left), inner.call(request)).await {
                Ok(result) => result,
                Err(_) => Err(UpstreamError::Timeout { full: is_telling(limit, left) }),
            }
        })
    })
}

/// Whether an attempt had long enough for its time-out to say something of upstream. Three
/// quarters, so that callers whose deadline is just the time of one attempt count as well.
fn is_telling(limit: Duration, had: Duration) -> bool {
    had >= limit.mul_f64(0.75)
}
