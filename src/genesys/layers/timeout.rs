//! Limits the time of one attempt. This layer is inside the rate limit: waiting for a permit does not
//! count as a slow upstream.
//!
//! With a fixed timeout, every attempt would fail as soon as upstream is slightly slower. So the
//! timeout grows with the deadline of the request, and with the time of recent answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::time::Instant;

use super::call;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::HttpTransport;

/// An attempt may take this many times the usual time of an answer.
const SLACK: u32 = 2;

/// How long one attempt may take.
#[derive(Clone, Debug)]
pub struct AttemptTimeout {
    least: Duration,
    deadline: Duration,
    /// Smoothed time of recent answers, in microseconds.
    usual: Arc<AtomicU64>,
}

impl AttemptTimeout {
    /// A timeout of at least `least`, for requests with this `deadline`.
    pub fn new(least: Duration, deadline: Duration) -> Self {
        Self { least, deadline, usual: Arc::default() }
    }

    /// The timeout of an attempt whose request has `left` until its deadline.
    fn limit(&self, left: Duration) -> Duration {
        let share = left.as_secs_f64() / self.deadline.as_secs_f64();
        let grown = self.least.mul_f64(share.max(1.0));
        let usual = Duration::from_micros(self.usual.load(Ordering::Relaxed));
        grown.max(usual * SLACK)
    }

    /// Records the time of an answer. A faster answer moves the average by an eighth of the
    /// difference. A slower one moves it by half: otherwise the next attempt would time out.
    fn record(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let usual = self.usual.load(Ordering::Relaxed);
        let next = if took > usual { usual.midpoint(took) } else { usual - (usual - took) / 8 };
        self.usual.store(next, Ordering::Relaxed);
    }
}

/// Ends an attempt after its timeout, or at the deadline of its request if that is sooner.
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
                Err(_) => Err(UpstreamError::Timeout { full: is_meaningful(timeout.least, left) }),
            }
        }
    })
}

/// Whether an attempt had enough time, so that its timeout says something about upstream. Three
/// quarters are enough: a client's deadline may be just the time of one attempt.
fn is_meaningful(limit: Duration, left: Duration) -> bool {
    left >= limit.mul_f64(0.75)
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
