//! Limits the time of one attempt, and records it. This layer is inside the rate limit: waiting for a
//! permit does not count as a slow upstream.
//!
//! With a fixed timeout, every attempt would fail as soon as upstream is slightly slower. So the
//! timeout grows with the deadline of the request, and with the time of recent answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderName;
use tokio::time::{Instant, timeout};

use super::{ApiRequest, ApiService};
use crate::genesys::error::{ResultTraits, UpstreamError};
use crate::genesys::transport::ExchangeResult;
use crate::ports::{AttemptOutcome, MetricsRecorder, PlatformOperation, UpstreamAttempt};

/// Genesys' correlation id, a header of every answer of the platform. Its support asks for it.
const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// An attempt may take this many times the usual time of an answer.
const SLACK: u32 = 2;

/// What the attempts of one upstream share.
#[derive(Clone)]
pub struct AttemptSettings {
    /// Time of an attempt under the default deadline. It may get more, but never less.
    pub least: Duration,
    /// The default deadline of a request.
    pub deadline: Duration,
    /// Smoothed time of recent answers, in microseconds.
    pub usual: Arc<AtomicU64>,
    pub recorder: Arc<MetricsRecorder>,
}

impl AttemptSettings {
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

/// Makes one attempt. It ends after its timeout, or at the deadline of its request if that is sooner.
pub async fn run(
    settings: AttemptSettings,
    mut request: ApiRequest,
    next: ApiService,
) -> ExchangeResult {
    let (operation, context) = (request.call.operation, request.call.context.clone());
    let left = context.time_left();
    let mut record = AttemptRecorder::start(&settings, &mut request);
    let limit = settings.limit(left).min(left);
    let Ok(result) = timeout(limit, next.exchange(request)).await else {
        // Without enough time, a timeout says nothing about upstream. Three quarters are enough: a
        // client's deadline may be just the time of one attempt.
        return Err(UpstreamError::Timeout { full: left >= settings.least.mul_f64(0.75) });
    };
    record.outcome = ResultTraits::of(&result).outcome;
    let took = record.start.elapsed();
    context.set_last_attempt(took);
    if result.is_ok() {
        settings.record(took);
    }
    let id =
        result.as_ref().ok().and_then(|answer| answer.headers().get(CORRELATION_ID)?.to_str().ok());
    if let Some(id) = id {
        context.set_correlation_id(id);
        record.correlation_id = record.attempt_entry.is_some().then(|| id.to_owned());
    }
    tracing::debug!(
        upstream.operation = operation.as_str(),
        upstream.answer = ?record.outcome,
        upstream.correlation_id = id,
        "upstream answered",
    );
    result
}

/// Records an attempt when it is dropped, so that cancelled ones and timeouts count, too.
struct AttemptRecorder {
    recorder: Arc<MetricsRecorder>,
    operation: PlatformOperation,
    start: Instant,
    outcome: AttemptOutcome,
    attempt_entry: Option<Arc<UpstreamAttempt>>,
    correlation_id: Option<String>,
}

impl AttemptRecorder {
    fn start(settings: &AttemptSettings, request: &mut ApiRequest) -> Self {
        let (operation, context) = (request.call.operation, &request.call.context);
        if operation != PlatformOperation::Token {
            context.count_call();
        }
        request.call.attempt = context.note_attempt(operation);
        Self {
            recorder: Arc::clone(&settings.recorder),
            operation,
            start: Instant::now(),
            outcome: AttemptOutcome::Timeout,
            attempt_entry: request.call.attempt.clone(),
            correlation_id: None,
        }
    }
}

impl Drop for AttemptRecorder {
    fn drop(&mut self) {
        if let Some(attempt) = &self.attempt_entry {
            attempt.end(self.outcome, self.correlation_id.as_deref());
        }
        let attempts = &self.recorder.upstream.attempts;
        attempts.observe(self.operation, self.outcome, self.start.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> AttemptSettings {
        let (least, deadline) = (2 * SECOND, 5 * SECOND);
        AttemptSettings { least, deadline, usual: Arc::default(), recorder: Arc::default() }
    }

    #[test]
    fn a_later_deadline_gives_an_attempt_more_time() {
        let attempts = settings();
        assert_eq!(attempts.limit(10 * SECOND), 4 * SECOND);
        assert_eq!(attempts.limit(5 * SECOND), 2 * SECOND);
        assert_eq!(attempts.limit(SECOND), 2 * SECOND);
    }

    #[test]
    fn an_attempt_gets_twice_the_time_of_usual_answers() {
        let attempts = settings();
        (0..20).for_each(|_| attempts.record(3 * SECOND));
        assert!(attempts.limit(SECOND) > SECOND * 59 / 10, "{:?}", attempts.limit(SECOND));
        (0..60).for_each(|_| attempts.record(SECOND / 50));
        assert_eq!(attempts.limit(SECOND), 2 * SECOND);
    }
}
