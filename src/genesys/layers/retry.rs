//! Records calls, and repeats those that failed with a transient error, within the deadline and the
//! retry budget.
//!
//! A PATCH that may have been applied is not repeated here: the use case reads first. The layer waits
//! for `Retry-After` if upstream sent one, and otherwise for the backoff. Without time or budget for
//! another attempt, it returns the last result.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{ApiRequest, ApiService, CallMetadata};
use crate::clock::MonotonicClock;
use crate::genesys::error::{self, ResultTraits, UpstreamError};
use crate::genesys::random::JitterSource;
use crate::genesys::transport::ExchangeResult;
use crate::policy::{Backoff, BudgetState, RetryBudget, RetryDecision, StopReason, decide};
use crate::ports::{MetricsRecorder, PlatformOperation};

/// The state that retries of all calls share.
pub struct RetryPolicy {
    pub backoff: Backoff,
    pub budget: Mutex<RetryBudget>,
    pub jitter: JitterSource,
    pub recorder: Arc<MetricsRecorder>,
    pub clock: MonotonicClock,
}

/// Makes one call, with retries within its deadline.
pub async fn run(
    retries: Arc<RetryPolicy>,
    request: ApiRequest,
    next: ApiService,
) -> ExchangeResult {
    let (operation, start) = (request.call.operation, Instant::now());
    let result = retries.repeat(request, next).await;
    let outcome = ResultTraits::of(&result).outcome;
    retries.recorder.upstream.calls.observe(operation, outcome, start.elapsed());
    result
}

impl RetryPolicy {
    pub fn budget_state(&self) -> BudgetState {
        self.budget.lock().state(self.clock.now())
    }

    async fn repeat(&self, request: ApiRequest, next: ApiService) -> ExchangeResult {
        let call = &request.call;
        if call.again {
            // The use case repeats a PATCH, because the fate of the first one is unknown.
            self.pay(call, Duration::ZERO).await?;
        } else {
            self.budget.lock().deposit(self.clock.now());
        }
        if !call.retries {
            return next.exchange(request).await;
        }
        let mut failures = 0;
        loop {
            let result = next.exchange(request.clone()).await;
            failures += 1;
            if !may_repeat(&result, call.operation, failures) {
                return result;
            }
            let wait = self.wait_after(&result, failures);
            match self.pay(call, wait).await {
                // After a 429 all calls wait in the rate limit, and so does the next attempt.
                Ok(_) if is_throttled(&result) => {}
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(_) => return result,
            }
        }
    }

    /// Charges an attempt that starts after `wait`, and returns the remaining wait. If the budget is
    /// spent, it waits until there is budget again, provided that this is before the deadline.
    async fn pay(&self, call: &CallMetadata, wait: Duration) -> Result<Duration, UpstreamError> {
        let start = Instant::now() + wait;
        loop {
            let wait = start.saturating_duration_since(Instant::now());
            let left = call.context.time_left().min(call.context.time_to_start());
            let decision = decide(wait, left, &mut self.budget.lock(), self.clock.now());
            match decision {
                RetryDecision::After(wait) => {
                    self.recorder.upstream.retries.with(&[call.operation.into()]).inc();
                    return Ok(wait);
                }
                RetryDecision::AskAfter(again) => tokio::time::sleep(again).await,
                RetryDecision::Stop(StopReason::NoBudget) => {
                    let refused = &self.recorder.upstream.retries_refused;
                    refused.with(&[call.operation.into()]).inc();
                    return Err(UpstreamError::NoBudget);
                }
                RetryDecision::Stop(StopReason::NoTime) => {
                    if wait < call.context.time_left() {
                        call.context.mark_cut_short();
                    }
                    return Err(UpstreamError::NotSentInTime);
                }
            }
        }
    }

    fn wait_after(&self, result: &ExchangeResult, failures: u32) -> Duration {
        let asked = result.as_ref().ok().and_then(|answer| error::retry_after(answer.headers()));
        let asked = asked.or(is_throttled(result).then_some(error::DEFAULT_THROTTLE));
        asked.unwrap_or_else(|| self.backoff.delay(failures, self.jitter.unit()))
    }
}

fn is_throttled(result: &ExchangeResult) -> bool {
    result.as_ref().is_ok_and(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS)
}

/// Whether this result is transient, and the operation safe to repeat.
fn may_repeat(result: &ExchangeResult, operation: PlatformOperation, failures: u32) -> bool {
    let ResultTraits { is_transient, may_be_applied, .. } = ResultTraits::of(result);
    // Genesys' list of retryable statuses does not hold 500 and most other 5xx. One more attempt is
    // worth it, except for 501: a retry cannot change it.
    let once_more = failures == 1
        && result.as_ref().is_ok_and(|answer| {
            answer.status().is_server_error() && answer.status() != StatusCode::NOT_IMPLEMENTED
        });
    (is_transient || once_more) && !(may_be_applied && operation == PlatformOperation::Patch)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Response;

    use super::*;

    fn repeats(status: u16, operation: PlatformOperation, failures: u32) -> bool {
        let answer = Response::builder().status(status).body(Bytes::new()).expect("valid");
        may_repeat(&Ok(answer), operation, failures)
    }

    #[test]
    fn a_patch_that_may_have_been_applied_is_left_to_the_use_case() {
        for status in [408, 500, 502, 503, 504, 507, 520, 599] {
            assert!(!repeats(status, PlatformOperation::Patch, 1), "{status}");
            assert!(repeats(status, PlatformOperation::Read, 1), "{status}");
        }
        for error in [UpstreamError::Timeout { full: true }, UpstreamError::Reset(String::new())] {
            assert!(!may_repeat(&Err(error.clone()), PlatformOperation::Patch, 1));
            assert!(may_repeat(&Err(error), PlatformOperation::Read, 1));
        }
    }

    #[test]
    fn a_patch_that_was_certainly_not_applied_is_repeated() {
        assert!(repeats(429, PlatformOperation::Patch, 5));
        let refused = Err(UpstreamError::Connect(String::new()));
        assert!(may_repeat(&refused, PlatformOperation::Patch, 5));
    }

    #[test]
    fn final_answers_are_not_repeated_and_500_only_once() {
        for status in [200, 202, 400, 401, 403, 404, 409, 413, 501] {
            assert!(!repeats(status, PlatformOperation::Read, 1), "{status}");
            assert!(!repeats(status, PlatformOperation::Patch, 1), "{status}");
        }
        assert!(!repeats(500, PlatformOperation::Read, 2));
    }
}
