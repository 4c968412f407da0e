//! The time of one attempt. It stands inside the rate limit: waiting for that is not the upstream
//! being slow.

use std::time::Duration;

use bytes::Bytes;
use http::Request;

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::Transport;

/// Ends an attempt after `limit`, or at the deadline of its request if that is sooner.
pub fn layer(limit: Duration, inner: Transport) -> Transport {
    Transport::of(move |request: Request<Bytes>| {
        let inner = inner.clone();
        async move {
            let left = call(&request).cycle.time_left();
            match tokio::time::timeout(limit.min(left), inner.exchange(request)).await {
                Ok(result) => result,
                Err(_) => Err(UpstreamError::Timeout { full: is_telling(limit, left) }),
            }
        }
    })
}

/// Whether an attempt had long enough for its time-out to say something of upstream. Three
/// quarters, so that callers whose deadline is just the time of one attempt count as well.
fn is_telling(limit: Duration, had: Duration) -> bool {
    had >= limit.mul_f64(0.75)
}
