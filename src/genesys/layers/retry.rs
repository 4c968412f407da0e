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

use super::{Again, Call, call};
use crate::clock::Monotonic;
use crate::genesys::error::{self, UpstreamError};
use crate::genesys::random::Jitter;
use crate::genesys::transport::Transport;
use crate::policy::{Backoff, BudgetState, RetryBudget, RetryDecision, Stop, decide};
use crate::ports::{Meter, Operation};

/// What retries of all calls share.
pub struct Retries {
    /// Waits where upstream names none.
    pub backoff: Backoff,
    /// How many retries the traffic pays for.
    pub budget: Mutex<RetryBudget>,
    /// Where jitter comes from.
    pub jitter: Jitter,
    /// Where retries are counted.
    pub meter: Arc<dyn Meter>,
    /// The time.
    pub clock: Monotonic,
}

/// Retries calls within their deadline.
pub fn layer(retries: Arc<Retries>, inner: Transport) -> Transport {
    Transport::of(move |request: Request<Bytes>| {
        let (inner, retries) = (inner.clone(), Arc::clone(&retries));
        async move { retries.run(inner, request).await }
    })
}

impl Retries {
    /// The budget of the last ten seconds, for `/readyz`.
    pub fn budget_state(&self) -> BudgetState {
        self.budget().state(self.clock.now())
    }
}

type Exchanged = Result<Response<Bytes>, UpstreamError>;

impl Retries {
    async fn run(&self, inner: Transport, request: Request<Bytes>) -> Exchanged {
        let call = call(&request).clone();
        if call.again {
            self.pay_for_repetition(&call).await?;
        } else {
            self.budget().deposit(self.clock.now());
        }
        if !call.retries {
            return inner.exchange(request).await;
        }
        let again = Again::of(&request);
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
    async fn pay_for_repetition(&self, call: &Call) -> Result<(), UpstreamError> {
        match self.pay(call, Duration::ZERO).await {
            Ok(_) => Ok(()),
            Err(Stop::NoTime) => Err(UpstreamError::NotSentInTime),
            Err(Stop::NoBudget) => Err(UpstreamError::NoBudget),
        }
    }

    /// Takes a retry that starts after `wait` out of the budget, and tells what is left to wait. A
    /// spent budget is waited for, if there is budget again before the deadline.
    async fn pay(&self, call: &Call, wait: Duration) -> Result<Duration, Stop> {
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

    fn decide(&self, call: &Call, wait: Duration) -> RetryDecision {
        let left = call.cycle.time_left().min(call.cycle.time_to_start());
        let decision = decide(wait, left, &mut self.budget(), self.clock.now());
        match decision {
            RetryDecision::After(_) => self.meter.retry(call.operation),
            RetryDecision::AskAfter(_) => {}
            RetryDecision::Stop(Stop::NoBudget) => self.meter.retry_refused(call.operation),
            RetryDecision::Stop(Stop::NoTime) => {
                if wait < call.cycle.time_left() {
                    call.cycle.hurry();
                }
            }
        }
        decision
    }

    fn wait_after(&self, result: &Exchanged, failures: u32) -> Duration {
        let asked = result.as_ref().ok().and_then(|answer| error::retry_after(answer.headers()));
        let asked = asked.or(is_throttled(result).then_some(error::DEFAULT_THROTTLE));
        asked.unwrap_or_else(|| self.backoff.delay(failures, self.jitter.unit()))
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, RetryBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_throttled(result: &Exchanged) -> bool {
    result.as_ref().is_ok_and(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS)
}

/// Whether this ending is transient, and safe to repeat for this operation.
fn may_repeat(result: &Exchanged, operation: Operation, failures: u32) -> bool {
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
    transient && !(ambiguous && operation == Operation::Patch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeats(status: u16, operation: Operation, failures: u32) -> bool {
        let answer = Response::builder().status(status).body(Bytes::new()).expect("valid");
        may_repeat(&Ok(answer), operation, failures)
    }

    #[test]
    fn a_patch_that_may_have_been_applied_is_left_to_the_use_case() {
        for status in [408, 500, 502, 503, 504, 507, 520, 599] {
            assert!(!repeats(status, Operation::Patch, 1), "{status}");
            assert!(repeats(status, Operation::Read, 1), "{status}");
        }
        for error in [UpstreamError::Timeout { full: true }, UpstreamError::Reset(String::new())] {
            assert!(!may_repeat(&Err(error.clone()), Operation::Patch, 1));
            assert!(may_repeat(&Err(error), Operation::Read, 1));
        }
    }

    #[test]
    fn what_was_certainly_not_applied_is_repeated_also_for_a_patch() {
        assert!(repeats(429, Operation::Patch, 5));
        let refused = Err(UpstreamError::Connect(String::new()));
        assert!(may_repeat(&refused, Operation::Patch, 5));
    }

    #[test]
    fn answers_are_not_repeated_and_500_once_only() {
        for status in [200, 202, 400, 401, 403, 404, 409, 413, 501] {
            assert!(!repeats(status, Operation::Read, 1), "{status}");
            assert!(!repeats(status, Operation::Patch, 1), "{status}");
        }
        assert!(!repeats(500, Operation::Read, 2));
    }
}
