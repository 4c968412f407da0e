//! The time of one attempt. It stands inside the rate limit: waiting for that is not the upstream
//! being slow.
//!
//! A fixed time would fail every attempt of an upstream that is a little slower than it. So it grows
//! with the deadline of the request, and with the time that good answers took lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::Instant;

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::HttpTransport;

/// How often as long as a usual answer an attempt may take.
const SLACK: u32 = 2;

/// How long one attempt may take.
#[derive(Clone, Debug)]
pub struct AttemptTimeout {
    least: Duration,
    deadline: Duration,
    /// Smoothed time of the answers, in microseconds.
    usual: Arc<AtomicU64>,
}

impl AttemptTimeout {
    /// At least `least`, which is meant for requests with this `deadline`.
    pub fn new(least: Duration, deadline: Duration) -> Self {
        Self { least, deadline, usual: Arc::default() }
    }

    /// The time for an attempt of a request that has `left` until its deadline.
    fn limit(&self, left: Duration) -> Duration {
        let share = left.as_secs_f64() / self.deadline.as_secs_f64();
        let grown = self.least.mul_f64(share.max(1.0));
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        grown.max(usual * SLACK)
    }

    /// Takes note of the time of an answer: an eighth of the difference counts, but a slower one
    /// counts by half, since the next attempt would be cut short.
    fn record(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        let next = if took > usual { usual.midpoint(took) } else { usual - (usual - took) / 8 };
        self.usual.store(next, Ordering::Relaxed);
    }
}

/// Ends an attempt after its time, or at the deadline of its request if that is sooner.
pub fn layer(timeout: AttemptTimeout, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, timeout) = (inner.clone(), timeout.clone());
        async move {
            let (start, left) = (Instant::now(), call(&request).context.time_left());
            let limit = timeout.limit(left);
            match tokio::time::timeout(limit.min(left), inner.exchange(request)).await {
                Ok(result) => {
                    if result.is_ok() {
                        timeout.record(start.elapsed());
                    }
                    result
                }
                Err(_) => Err(UpstreamError::Timeout { full: is_telling(timeout.least, left) }),
            }
        }
    })
}

/// Whether an attempt had long enough for its time-out to say something of upstream. Three
/// quarters, so that clients whose deadline is just the time of one attempt count as well.
fn is_telling(limit: Duration, had: Duration) -> bool {
    had >= limit.mul_f64(0.75)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_later_deadline_gives_an_attempt_more_time() {
        let timeout = AttemptTimeout::new(2 * SECOND, 5 * SECOND);
        assert_eq!(timeout.limit(10 * SECOND), 4 * SECOND);
        assert_eq!(timeout.limit(5 * SECOND), 2 * SECOND);
        assert_eq!(timeout.limit(SECOND), 2 * SECOND);
    }

    #[test]
    fn an_attempt_gets_twice_the_time_of_usual_answers() {
        let timeout = AttemptTimeout::new(2 * SECOND, 5 * SECOND);
        (0..20).for_each(|_| timeout.record(3 * SECOND));
        assert!(timeout.limit(SECOND) > SECOND * 59 / 10, "{:?}", timeout.limit(SECOND));
        (0..60).for_each(|_| timeout.record(SECOND / 50));
        assert_eq!(timeout.limit(SECOND), 2 * SECOND);
    }
}
