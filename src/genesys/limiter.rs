//! The call budget as everything that calls the platform shares it: who may call at once, and who
//! waits.
//!
//! The decisions are those of [`TokenBudget`]. Here are its lock, which is never held across an await,
//! the waiting, and one task that looks at the queue in time. That task lives as long as a request
//! waits. A request whose future is dropped leaves the queue.

mod log;
mod waiter;
mod wakeup;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::log::SpentLog;
use self::waiter::LimiterWaiter;
use self::wakeup::{WakeupTimer, answer};
use super::error::UpstreamError;
use crate::clock::MonotonicClock;
use crate::error::Error;
use crate::policy::{
    BudgetSettings, CallAdmission, CallPriority, CallRefusal, CallRequest, CallRequestId,
    CallStart, MonoTime, RateLimitHeaders, TokenBudget,
};
use crate::ports::{
    BudgetAccount, CallBudget, CallPermits, MetricsRecorder, PermitPool, PlatformOperation,
    PriorityClass, Reservation, ReservationRequest,
};

/// The call budget. Clones share it.
#[derive(Clone)]
pub struct CallLimiter(Arc<LimiterInner>);

/// What a request that waits gets in the end.
type GrantResult = Result<CallPermits, CallRefusal>;

struct LimiterInner {
    /// Itself, as the purse of its permits.
    this: Weak<Self>,
    state: Mutex<LimiterState>,
    /// Wakes the task when a place comes free sooner than it thinks.
    kick: Notify,
    clock: MonotonicClock,
    recorder: Arc<dyn MetricsRecorder>,
    /// Whether it is the budget itself, whose state is shown.
    is_budget: bool,
}

struct LimiterState {
    policy: TokenBudget,
    waiters: HashMap<CallRequestId, oneshot::Sender<GrantResult>>,
    wakeup: WakeupTimer,
    spent: SpentLog,
}

/// What came of a request.
enum ReserveResult {
    Now(CallPermits),
    Later(MonoTime, LimiterWaiter),
}

/// What upstream made of a call.
pub struct CallFeedback {
    /// Which operation it was.
    pub operation: PlatformOperation,
    /// How long no further calls are wanted, if it was a 429.
    pub throttled: Option<Duration>,
    /// What it says about its own counting.
    pub headers: RateLimitHeaders,
}

impl CallLimiter {
    /// An unused budget.
    pub fn new(
        settings: BudgetSettings,
        recorder: Arc<dyn MetricsRecorder>,
        clock: MonotonicClock,
    ) -> Self {
        let limiter = Self::build(settings, recorder, clock, true);
        limiter.report();
        limiter
    }

    /// A lane next to the budget, for an operation that upstream throttles on its own. It bounds
    /// nothing that the budget does not.
    pub fn lane(
        settings: BudgetSettings,
        recorder: Arc<dyn MetricsRecorder>,
        clock: MonotonicClock,
    ) -> Self {
        Self::build(settings, recorder, clock, false)
    }

    fn build(
        settings: BudgetSettings,
        recorder: Arc<dyn MetricsRecorder>,
        clock: MonotonicClock,
        is_budget: bool,
    ) -> Self {
        let state = LimiterState {
            policy: TokenBudget::new(settings),
            waiters: HashMap::new(),
            wakeup: WakeupTimer::Off,
            spent: SpentLog::new(settings),
        };
        Self(Arc::new_cyclic(|this| LimiterInner {
            this: Weak::clone(this),
            state: Mutex::new(state),
            kick: Notify::new(),
            clock,
            recorder,
            is_budget,
        }))
    }

    /// Waits for the right to make one call, at most until `deadline`.
    ///
    /// # Errors
    /// As soon as it is known that the call cannot be made in time.
    pub async fn permits(
        &self,
        class: PriorityClass,
        account: BudgetAccount,
        deadline: Instant,
    ) -> Result<CallPermits, CallRefusal> {
        match self.0.reserve(ReservationRequest { calls: 1, class, deadline, account })? {
            ReserveResult::Now(permits) => Ok(permits),
            ReserveResult::Later(_, waiter) => waiter.answer().await,
        }
    }

    /// Gives each of these clients its share, also before it has called.
    pub fn set_known_clients(&self, accounts: &[BudgetAccount]) {
        self.0.act(|policy, now| policy.set_known_clients(accounts, now));
    }

    /// Whether a call that was granted may start now: not if a 429 came since.
    pub fn start(&self) -> Option<CallStart> {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        state.policy.start(now)
    }

    /// A call was answered.
    pub fn feedback(&self, start: CallStart, feedback: &CallFeedback) {
        self.0.act(|policy, now| {
            policy.corrected(start, feedback.headers, now);
            match feedback.throttled {
                Some(wait) => policy.throttled(wait, now),
                None => policy.answered(start, now),
            }
        });
        if let Some(wait) = feedback.throttled {
            tracing::warn!(retry_after = ?wait, "upstream throttles");
            self.0.recorder.throttled(feedback.operation);
            self.report();
        }
    }

    /// Calls that could be made now.
    pub fn room(&self) -> u64 {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        state.policy.room(now)
    }

    /// For how long upstream wants no calls.
    pub fn throttle_left(&self) -> Option<Duration> {
        self.0.state().policy.throttle_left(self.0.clock.now())
    }

    /// Updates the gauges of the budget; they change with time alone, too.
    pub fn report(&self) {
        if self.0.is_budget {
            self.0.recorder.rate_window(self.room(), self.throttle_left().is_some());
        }
    }

    /// Updates the gauges whenever it is called and as long as this limiter is there.
    pub fn reporter(&self) -> impl Fn() + Send + Sync + 'static {
        let inner = Arc::downgrade(&self.0);
        move || {
            if let Some(inner) = inner.upgrade() {
                Self(inner).report();
            }
        }
    }
}

impl LimiterInner {
    fn reserve(
        &self,
        reservation_request: ReservationRequest,
    ) -> Result<ReserveResult, CallRefusal> {
        let mut state = self.state();
        let now = self.clock.now();
        let request = CallRequest {
            calls: reservation_request.calls,
            priority: priority(reservation_request.class),
            deadline: self.clock.moment(reservation_request.deadline),
            account: reservation_request.account,
        };
        match state.policy.request(request, now) {
            CallAdmission::Granted(calls) => {
                Ok(ReserveResult::Now(self.permits(reservation_request.account, calls)))
            }
            CallAdmission::Refused(refusal) => {
                self.refused(&mut state);
                Err(refusal)
            }
            CallAdmission::Queued(id, expected) => {
                let (sender, receiver) = oneshot::channel();
                state.waiters.insert(id, sender);
                let answers = self.settle(&mut state, now);
                if state.waiters.contains_key(&id) {
                    self.count(&mut state, |spent| spent.waited += 1);
                }
                drop(state);
                answer(answers);
                let mut waiter = LimiterWaiter::new(
                    self.this(),
                    id,
                    (request, reservation_request.deadline),
                    receiver,
                );
                match waiter.ready() {
                    Some(grant) => grant.map(ReserveResult::Now),
                    None => Ok(ReserveResult::Later(expected, waiter)),
                }
            }
        }
    }

    /// Changes something, and grants what can be granted then.
    fn act<T>(&self, change: impl FnOnce(&mut TokenBudget, MonoTime) -> T) -> T {
        let mut state = self.state();
        let now = self.clock.now();
        let result = change(&mut state.policy, now);
        let answers = self.settle(&mut state, now);
        drop(state);
        answer(answers);
        result
    }

    /// Takes a request out of the queue that has no answer yet; `None` if it has one.
    fn leave<T>(
        &self,
        id: CallRequestId,
        change: impl FnOnce(&mut TokenBudget, MonoTime) -> T,
    ) -> Option<T> {
        self.state().waiters.remove(&id)?;
        Some(self.act(change))
    }

    fn refused(&self, state: &mut LimiterState) {
        self.recorder.rate_refused();
        self.count(state, |spent| spent.refused += 1);
    }

    fn permits(&self, account: BudgetAccount, calls: u32) -> CallPermits {
        CallPermits::new(self.this(), account, calls)
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("the caller holds it")
    }

    fn state(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallBudget for CallLimiter {
    fn reserve(&self, reservation_request: ReservationRequest) -> Result<Reservation, Error> {
        match self.0.reserve(reservation_request).map_err(error)? {
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
        self.0.refused(&mut state);
        let class = if calls > 1 { CallPriority::Write } else { CallPriority::Read };
        error(state.policy.turn_away(None, (account, class, calls), now))
    }
}

impl PermitPool for LimiterInner {
    fn spent(&self, account: BudgetAccount) {
        if self.is_budget {
            self.recorder.paid(account);
        }
        self.act(|policy, now| policy.spent(account, now));
    }

    fn returned(&self, account: BudgetAccount, calls: u32) {
        self.act(|policy, now| policy.returned(account, calls, now));
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
