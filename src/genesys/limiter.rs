//! Limits the calls to the platform to the call budget, which all requests share.
//!
//! `policy::TokenBudget` decides. This module adds the lock, the waiting and the metrics.

mod inner;
mod log;
mod waiter;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use self::inner::{LimiterInner, send_answers};
use self::waiter::LimiterWaiter;
use super::error::UpstreamError;
use crate::clock::MonotonicClock;
use crate::error::Error;
use crate::policy::{
    BudgetSettings, CallAdmission, CallPriority, CallRefusal, CallRequest, CallStart, MonoTime,
    RateLimitHeaders,
};
use crate::ports::{
    BudgetAccount, CallBudget, CallPermits, MetricsRecorder, PlatformOperation, PriorityClass,
    Reservation, ReservationRequest,
};

/// The call budget. Clones share it.
#[derive(Clone)]
pub struct CallLimiter(Arc<LimiterInner>);

/// The answer to a request that was not refused.
enum ReserveResult {
    Now(CallPermits),
    Later(MonoTime, LimiterWaiter),
}

/// What an answer from upstream says about rate limits.
pub struct CallFeedback {
    /// The operation of the call.
    pub operation: PlatformOperation,
    /// After a 429: how long upstream wants no calls.
    pub throttled: Option<Duration>,
    /// Upstream's own counts.
    pub headers: RateLimitHeaders,
}

impl CallLimiter {
    /// An unused budget.
    pub fn new(
        settings: BudgetSettings,
        recorder: Arc<dyn MetricsRecorder>,
        clock: MonotonicClock,
    ) -> Self {
        let limiter = Self(LimiterInner::new(settings, recorder, clock, true));
        limiter.report();
        limiter
    }

    /// A second limiter for an operation that upstream throttles separately. Its calls need a permit
    /// of the budget, too.
    pub fn lane(
        settings: BudgetSettings,
        recorder: Arc<dyn MetricsRecorder>,
        clock: MonotonicClock,
    ) -> Self {
        Self(LimiterInner::new(settings, recorder, clock, false))
    }

    /// Waits for the right to make one call, until `deadline`.
    ///
    /// # Errors
    /// As soon as it is clear that no call is possible before the deadline.
    pub async fn permits(
        &self,
        class: PriorityClass,
        account: BudgetAccount,
        deadline: Instant,
    ) -> Result<CallPermits, CallRefusal> {
        match self.try_reserve(ReservationRequest { calls: 1, class, deadline, account })? {
            ReserveResult::Now(permits) => Ok(permits),
            ReserveResult::Later(_, waiter) => waiter.answer().await,
        }
    }

    /// Gives each of these clients its share, even before its first call.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.0.act(|policy, now| policy.set_known_clients(accounts, now));
    }

    /// Whether a granted call may start now. `None` if a 429 has arrived since the grant.
    pub fn start(&self) -> Option<CallStart> {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        state.policy.start(now)
    }

    /// Adjusts the budget to what upstream answered to a call.
    pub fn feedback(&self, start: CallStart, feedback: &CallFeedback) {
        self.0.act(|policy, now| {
            policy.apply_headers(start, feedback.headers, now);
            match feedback.throttled {
                Some(wait) => policy.record_throttle(wait, now),
                None => policy.record_answer(start, now),
            }
        });
        if let Some(wait) = feedback.throttled {
            tracing::warn!(retry_after = ?wait, "upstream throttles");
            self.0.recorder.throttled(feedback.operation);
            self.report();
        }
    }

    /// How many calls new writes could make now.
    pub fn room(&self) -> u64 {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        state.policy.room(now)
    }

    /// How long upstream still wants no calls.
    pub fn throttle_left(&self) -> Option<Duration> {
        self.0.state().policy.throttle_left(self.0.clock.now())
    }

    /// Updates the gauges of the budget. Their values also change with time.
    pub fn report(&self) {
        if self.0.is_budget {
            self.0.recorder.rate_window(self.room(), self.throttle_left().is_some());
        }
    }

    /// A function that updates the gauges while this limiter exists.
    pub fn reporter(&self) -> impl Fn() + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.0);
        move || {
            if let Some(inner) = inner.upgrade() {
                Self(inner).report();
            }
        }
    }

    fn try_reserve(&self, reservation: ReservationRequest) -> Result<ReserveResult, CallRefusal> {
        let ReservationRequest { calls, class, deadline, account } = reservation;
        let inner = &self.0;
        let mut state = inner.state();
        let now = inner.clock.now();
        let request = CallRequest {
            calls,
            priority: priority(class),
            deadline: inner.clock.moment(deadline),
            account,
        };
        match state.policy.request(request, now) {
            CallAdmission::Granted(calls) => Ok(ReserveResult::Now(inner.permits(account, calls))),
            CallAdmission::Refused(refusal) => {
                inner.record_refused(&mut state);
                Err(refusal)
            }
            CallAdmission::Queued(id, expected) => {
                let (sender, receiver) = oneshot::channel();
                state.waiters.insert(id, sender);
                let answers = inner.settle(&mut state, now);
                if state.waiters.contains_key(&id) {
                    inner.record_waited(&mut state);
                }
                drop(state);
                send_answers(answers);
                let mut waiter =
                    LimiterWaiter::new(Arc::clone(inner), id, (request, deadline), receiver);
                match waiter.ready() {
                    Some(grant) => grant.map(ReserveResult::Now),
                    None => Ok(ReserveResult::Later(expected, waiter)),
                }
            }
        }
    }
}

impl CallBudget for CallLimiter {
    fn reserve(&self, reservation_request: ReservationRequest) -> Result<Reservation, Error> {
        match self.try_reserve(reservation_request).map_err(error)? {
            ReserveResult::Now(permits) => Ok(Reservation::Now(permits)),
            ReserveResult::Later(expected, waiter) => Ok(Reservation::Later {
                expected: self.0.clock.instant(expected),
                granted: Box::pin(async move { waiter.answer().await.map_err(error) }),
            }),
        }
    }

    fn refusal(&self, account: BudgetAccount, calls: u32) -> Error {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        self.0.record_refused(&mut state);
        let class = if calls > 1 { CallPriority::Write } else { CallPriority::Read };
        error(state.policy.reject(None, (account, class, calls), now))
    }
}

fn error(refusal: CallRefusal) -> Error {
    UpstreamError::from(refusal).into_error(false)
}

fn priority(class: PriorityClass) -> CallPriority {
    match class {
        PriorityClass::Committed => CallPriority::Committed,
        PriorityClass::Write => CallPriority::Write,
        PriorityClass::Read => CallPriority::Read,
        PriorityClass::ReadBack => CallPriority::ReadBack,
    }
}

#[cfg(test)]
mod tests;
