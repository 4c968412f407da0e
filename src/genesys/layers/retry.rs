//! Tries again what is transient, certainly not applied, affordable and in time.
//!
//! A PATCH that may have been applied is not repeated here: the use case reads first. `Retry-After`
//! is waited for where upstream named one, else the backoff. An answer that says "not now" is
//! handed on as it is when there is no time or budget to try again.

use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use super::{CallMetadata, RequestTemplate, call};
use crate::clock::MonotonicClock;
use crate::genesys::error::{self, UpstreamError};
use crate::genesys::random::JitterSource;
use crate::genesys::transport::HttpTransport;
use crate::policy::{Backoff, BudgetState, RetryBudget, RetryDecision, StopReason, decide};
use crate::ports::{MetricsRecorder, PlatformOperation};

/// What retries of all calls share.
pub struct RetryPolicy {
    /// Waits where upstream names none.
    pub backoff: Backoff,
    /// How many retries the traffic pays for.
    pub budget: Mutex<RetryBudget>,
    /// Where jitter comes from.
    pub jitter: JitterSource,
    /// Where retries are counted.
    pub recorder: Arc<dyn MetricsRecorder>,
    /// The time.
    pub clock: MonotonicClock,
}

/// Retries calls within their deadline.
pub fn layer(retries: Arc<RetryPolicy>, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, retries) = (inner.clone(), Arc::clone(&retries));
        async move { retries.run(inner, request).await }
    })
}

impl RetryPolicy {
    /// The budget of the last ten seconds, for `/readyz`.
    pub fn budget_state(&self) -> BudgetState {
        self.budget().state(self.clock.now())
    }
}

type RetryResult = Result<Response<Bytes>, UpstreamError>;

impl RetryPolicy {
    async fn run(&self, inner: HttpTransport, request: Request<Bytes>) -> RetryResult {
        let call = call(&request).clone();
        if call.again {
            self.pay_for_repetition(&call).await?;
        } else {
            self.budget().deposit(self.clock.now());
        }
        if !call.retries {
            return inner.exchange(request).await;
        }
        let again = RequestTemplate::from_request(&request);
        let (mut failures, mut next) = (0, Some(request));
        loop {
            let request = next.take().unwrap_or_else(|| again.request());
            let result = inner.exchange(request).await;
            failures += 1;
            if !may_repeat(&result, call.operation, failures) {
                return result;
            }
            let wait = self.wait_after(&result, failures);
            match self.pay(&call, wait).await {
                // After a 429 everybody waits: the next attempt does so in the rate limit.
                Ok(_) if is_throttled(&result) => {}
                Ok(wait) => tokio::time::sleep(wait).await,
                Err(_) => return result,
            }
        }
    }

    /// The use case repeats a PATCH of unknown fate, after a read and a wait of its own.
    async fn pay_for_repetition(&self, call: &CallMetadata) -> Result<(), UpstreamError> {
        match self.pay(call, Duration::ZERO).await {
            Ok(_) => Ok(()),
            Err(StopReason::NoTime) => Err(UpstreamError::NotSentInTime),
            Err(StopReason::NoBudget) => Err(UpstreamError::NoBudget),
        }
    }

    /// Takes a retry that starts after `wait` out of the budget, and tells what is left to wait. A
    /// spent budget is waited for, if there is budget again before the deadline.
    async fn pay(&self, call: &CallMetadata, wait: Duration) -> Result<Duration, StopReason> {
        let start = Instant::now() + wait;
        loop {
            let wait = start.saturating_duration_since(Instant::now());
            match self.decide(call, wait) {
                RetryDecision::After(wait) => return Ok(wait),
                RetryDecision::AskAfter(again) => tokio::time::sleep(again).await,
                RetryDecision::Stop(stop) => return Err(stop),
            }
        }
    }

    fn decide(&self, call: &CallMetadata, wait: Duration) -> RetryDecision {
        let left = call.context.time_left().min(call.context.time_to_start());
        let decision = decide(wait, left, &mut self.budget(), self.clock.now());
        match decision {
            RetryDecision::After(_) => self.recorder.retry(call.operation),
            RetryDecision::AskAfter(_) => {}
            RetryDecision::Stop(StopReason::NoBudget) => {
                self.recorder.retry_refused(call.operation);
            }
            RetryDecision::Stop(StopReason::NoTime) => {
                if wait < call.context.time_left() {
                    call.context.mark_cut_short();
                }
            }
        }
        decision
    }

    fn wait_after(&self, result: &RetryResult, failures: u32) -> Duration {
        let asked = result.as_ref().ok().and_then(|answer| error::retry_after(answer.headers()));
        let asked = asked.or(is_throttled(result).then_some(error::DEFAULT_THROTTLE));
        asked.unwrap_or_else(|| self.backoff.delay(failures, self.jitter.unit()))
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, RetryBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_throttled(result: &RetryResult) -> bool {
    result.as_ref().is_ok_and(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS)
}

/// Whether this ending is transient, and safe to repeat for this operation.
fn may_repeat(result: &RetryResult, operation: PlatformOperation, failures: u32) -> bool {
    let (transient, ambiguous) = match result {
        Ok(answer) => {
            let status = answer.status();
            // 500 and its kin are not on Genesys' list of retryable statuses; one more try is worth
            // it. What is not implemented stays so.
            let once_more =
                failures == 1 && status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            (error::status_is_transient(status) || once_more, error::status_is_ambiguous(status))
        }
        Err(error) => (error.is_transient(), error.may_have_been_applied()),
    };
    transient && !(ambiguous && operation == PlatformOperation::Patch)
}

#[cfg(test)]
mod tests {
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
    fn what_was_certainly_not_applied_is_repeated_also_for_a_patch() {
        assert!(repeats(429, PlatformOperation::Patch, 5));
        let refused = Err(UpstreamError::Connect(String::new()));
        assert!(may_repeat(&refused, PlatformOperation::Patch, 5));
    }

    #[test]
    fn answers_are_not_repeated_and_500_once_only() {
        for status in [200, 202, 400, 401, 403, 404, 409, 413, 501] {
            assert!(!repeats(status, PlatformOperation::Read, 1), "{status}");
            assert!(!repeats(status, PlatformOperation::Patch, 1), "{status}");
        }
        assert!(!repeats(500, PlatformOperation::Read, 2));
    }
}
