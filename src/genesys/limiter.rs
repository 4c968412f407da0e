//! Limits the calls to the platform to the call budget, which all requests share.
//!
//! `policy::TokenBudget` decides. This module adds the lock, the waiting and the metrics.

mod state;
mod waiter;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use self::state::{LimiterInner, send_answers};
use self::waiter::LimiterWaiter;
use super::error::UpstreamError;
use crate::clock::MonotonicClock;
use crate::error::Error;
use crate::policy::{
    BudgetAccount, BudgetSettings, BudgetUsage, CallAdmission, CallRefusal, CallRequest, CallStart,
    CreditLease, CreditUsage, PriorityClass, RateLimitHeaders,
};
use crate::ports::{
    CallBudget, CallPermits, MetricsRecorder, PlatformOperation, Reservation, ReservationRequest,
};

/// The call budget. Clones share it.
#[derive(Clone)]
pub struct CallLimiter(Arc<LimiterInner>);

/// What an answer from upstream says about rate limits.
pub struct CallFeedback {
    /// The operation of the call.
    pub operation: PlatformOperation,
    /// After a 429: how long upstream wants no calls.
    pub throttled: Option<Duration>,
    /// After a 429: the limit that upstream names, of a closed set.
    pub limit: &'static str,
    /// Upstream's own counts.
    pub headers: RateLimitHeaders,
}

impl CallLimiter {
    /// An unused budget.
    pub fn new(
        settings: BudgetSettings,
        recorder: Arc<MetricsRecorder>,
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
        recorder: Arc<MetricsRecorder>,
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
            Ok(permits) => Ok(permits),
            Err((_, waiter)) => waiter.answer().await,
        }
    }

    /// Gives each of these clients its share, even before its first call.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.0.act(|policy, now| policy.set_known_clients(accounts, now));
    }

    /// Changes the credits of this replica, knowing their use. Nothing is granted in between.
    pub fn adjust_credits(&self, credits: impl FnOnce(&CreditUsage) -> CreditLease) -> CreditUsage {
        self.0.act(|policy, now| {
            let usage = policy.credit_usage(now);
            policy.set_credits(credits(&usage));
            usage
        })
    }

    /// Sets credits that the first `ended` calls do not use.
    pub fn restart_credits(&self, credits: CreditLease, ended: u64) {
        self.0.act(|policy, _| {
            policy.restart_credits(ended);
            policy.set_credits(credits);
        });
    }

    /// Makes no calls for this time, because another replica has got a 429.
    pub fn pause(&self, wait: Duration) {
        self.0.act(|policy, now| policy.record_throttle(wait, now));
    }

    /// Waits until a request has to wait.
    pub async fn shortage(&self) {
        self.0.shortage.notified().await;
    }

    /// Whether a granted call may start now. `None` if a 429 has arrived since the grant.
    pub fn start(&self) -> Option<CallStart> {
        self.0.state().policy.start(self.0.clock.now())
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
            tracing::warn!(retry_after = ?wait, limit = feedback.limit, "upstream throttles");
            self.0.shortage.notify_one();
            let labels = [feedback.operation.into(), feedback.limit.into()];
            self.0.recorder.upstream.throttled.with(&labels).inc();
            self.report();
        }
    }

    /// How many calls new writes could make now.
    pub fn room(&self) -> u64 {
        self.0.state().policy.room(self.0.clock.now())
    }

    /// How long upstream still wants no calls.
    pub fn throttle_left(&self) -> Option<Duration> {
        self.0.state().policy.throttle_left(self.0.clock.now())
    }

    /// Who uses the budget.
    pub fn usage(&self) -> BudgetUsage {
        self.0.state().policy.usage(self.0.clock.now())
    }

    /// Updates the gauges of the budget. Their values also change with time.
    pub fn report(&self) {
        if self.0.is_budget {
            let limit = self.0.state().policy.limit();
            let is_throttled = self.throttle_left().is_some();
            self.0.recorder.budget.set_window(self.room(), limit, is_throttled);
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

    /// The permits, or the expected time and what waits for them.
    fn try_reserve(
        &self,
        reservation: ReservationRequest,
    ) -> Result<Result<CallPermits, (Instant, LimiterWaiter)>, CallRefusal> {
        let ReservationRequest { calls, class, deadline, account } = reservation;
        let inner = &self.0;
        let mut state = inner.state();
        let now = inner.clock.now();
        let request = CallRequest { calls, class, deadline: inner.clock.moment(deadline), account };
        let (id, expected) = match state.policy.request(request, now) {
            CallAdmission::Granted(calls) => return Ok(Ok(inner.permits(account, calls))),
            CallAdmission::Refused(refusal) => {
                inner.record_refused(&mut state);
                return Err(refusal);
            }
            CallAdmission::Queued(id, expected) => (id, inner.clock.instant(expected)),
        };
        let (sender, receiver) = oneshot::channel();
        state.waiters.insert(id, sender);
        let answers = inner.settle(&mut state, now);
        if state.waiters.contains_key(&id) {
            inner.record_waited(&mut state);
            inner.shortage.notify_one();
        }
        drop(state);
        send_answers(answers);
        let mut waiter =
            LimiterWaiter { inner: Arc::clone(inner), id, request, deadline, receiver };
        match waiter.receiver.try_recv() {
            Ok(granted) => granted.map(Ok),
            Err(_) => Ok(Err((expected, waiter))),
        }
    }
}

impl CallBudget for CallLimiter {
    fn reserve(&self, reservation_request: ReservationRequest) -> Result<Reservation, Error> {
        Ok(match self.try_reserve(reservation_request).map_err(error)? {
            Ok(permits) => Reservation::Now(permits),
            Err((expected, waiter)) => Reservation::Later {
                expected,
                granted: Box::pin(async move { waiter.answer().await.map_err(error) }),
            },
        })
    }

    fn refusal(&self, account: BudgetAccount, calls: u32) -> Error {
        let mut state = self.0.state();
        self.0.record_refused(&mut state);
        let class = if calls > 1 { PriorityClass::Write } else { PriorityClass::Read };
        let now = self.0.clock.now();
        error(state.policy.reject(None, &CallRequest { calls, class, deadline: now, account }, now))
    }
}

fn error(refusal: CallRefusal) -> Error {
    UpstreamError::from(refusal).into_error(false)
}

#[cfg(test)]
mod tests;
