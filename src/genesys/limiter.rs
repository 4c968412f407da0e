//! The call budget as everything that calls the platform shares it: who may call at once, and who
//! waits.
//!
//! The decisions are those of [`CallBudget`]. Here are its lock, which is never held across an await,
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
use self::waiter::Waiter;
use self::wakeup::{Wakeup, answer};
use super::error::UpstreamError;
use crate::clock::Monotonic;
use crate::error::Error;
use crate::policy::{
    Admission, BudgetSettings, CallBudget, CallRequest, CallRequestId, CallStart, Moment, Priority,
    RateLimitHeaders, Refusal,
};
use crate::ports::{Booking, Class, Meter, Operation, Pacing, Payer, Permits, Purse, Wish};

/// The call budget. Clones share it.
#[derive(Clone)]
pub struct Limiter(Arc<LimiterInner>);

/// What a request that waits gets in the end.
type Grant = Result<Permits, Refusal>;

struct LimiterInner {
    /// Itself, as the purse of its permits.
    this: Weak<Self>,
    state: Mutex<State>,
    /// Wakes the task when a place comes free sooner than it thinks.
    kick: Notify,
    clock: Monotonic,
    meter: Arc<dyn Meter>,
    /// Whether it is the budget itself, whose state is shown.
    is_budget: bool,
}

struct State {
    policy: CallBudget,
    waiters: HashMap<CallRequestId, oneshot::Sender<Grant>>,
    wakeup: Wakeup,
    spent: SpentLog,
}

/// What came of a request.
enum ReserveResult {
    Now(Permits),
    Later(Moment, Waiter),
}

/// What upstream made of a call.
pub struct CallFeedback {
    /// Which operation it was.
    pub operation: Operation,
    /// How long no further calls are wanted, if it was a 429.
    pub throttled: Option<Duration>,
    /// What it says about its own counting.
    pub headers: RateLimitHeaders,
}

impl Limiter {
    /// An unused budget.
    pub fn new(settings: BudgetSettings, meter: Arc<dyn Meter>, clock: Monotonic) -> Self {
        let limiter = Self::build(settings, meter, clock, true);
        limiter.report();
        limiter
    }

    /// A lane next to the budget, for an operation that upstream throttles on its own. It bounds
    /// nothing that the budget does not.
    pub fn lane(settings: BudgetSettings, meter: Arc<dyn Meter>, clock: Monotonic) -> Self {
        Self::build(settings, meter, clock, false)
    }

    fn build(
        settings: BudgetSettings,
        meter: Arc<dyn Meter>,
        clock: Monotonic,
        is_budget: bool,
    ) -> Self {
        let state = State {
            policy: CallBudget::new(settings),
            waiters: HashMap::new(),
            wakeup: Wakeup::Off,
            spent: SpentLog::new(settings),
        };
        Self(Arc::new_cyclic(|this| LimiterInner {
            this: Weak::clone(this),
            state: Mutex::new(state),
            kick: Notify::new(),
            clock,
            meter,
            is_budget,
        }))
    }

    /// Waits for the right to make one call, at most until `deadline`.
    ///
    /// # Errors
    /// As soon as it is known that the call cannot be made in time.
    pub async fn permits(
        &self,
        class: Class,
        payer: Payer,
        deadline: Instant,
    ) -> Result<Permits, Refusal> {
        match self.0.reserve(Wish { calls: 1, class, deadline, payer })? {
            ReserveResult::Now(permits) => Ok(permits),
            ReserveResult::Later(_, waiter) => waiter.answer().await,
        }
    }

    /// Gives each of these clients its share, also before it has called.
    pub fn expect(&self, payers: &[Payer]) {
        self.0.act(|policy, now| policy.set_known_clients(payers, now));
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
            self.0.meter.throttled(feedback.operation);
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
            self.0.meter.rate_window(self.room(), self.throttle_left().is_some());
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
    fn reserve(&self, wish: Wish) -> Result<ReserveResult, Refusal> {
        let mut state = self.state();
        let now = self.clock.now();
        let request = CallRequest {
            calls: wish.calls,
            priority: priority(wish.class),
            deadline: self.clock.moment(wish.deadline),
            account: wish.payer,
        };
        match state.policy.request(request, now) {
            Admission::Granted(calls) => Ok(ReserveResult::Now(self.permits(wish.payer, calls))),
            Admission::Refused(refusal) => {
                self.refused(&mut state);
                Err(refusal)
            }
            Admission::Queued(id, expected) => {
                let (sender, receiver) = oneshot::channel();
                state.waiters.insert(id, sender);
                let answers = self.settle(&mut state, now);
                if state.waiters.contains_key(&id) {
                    self.count(&mut state, |spent| spent.waited += 1);
                }
                drop(state);
                answer(answers);
                let mut waiter = Waiter::new(self.this(), id, (request, wish.deadline), receiver);
                match waiter.ready() {
                    Some(grant) => grant.map(ReserveResult::Now),
                    None => Ok(ReserveResult::Later(expected, waiter)),
                }
            }
        }
    }

    /// Changes something, and grants what can be granted then.
    fn act<T>(&self, change: impl FnOnce(&mut CallBudget, Moment) -> T) -> T {
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
        change: impl FnOnce(&mut CallBudget, Moment) -> T,
    ) -> Option<T> {
        self.state().waiters.remove(&id)?;
        Some(self.act(change))
    }

    fn refused(&self, state: &mut State) {
        self.meter.rate_refused();
        self.count(state, |spent| spent.refused += 1);
    }

    fn permits(&self, payer: Payer, calls: u32) -> Permits {
        Permits::new(self.this(), payer, calls)
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("the caller holds it")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pacing for Limiter {
    fn book(&self, wish: Wish) -> Result<Booking, Error> {
        match self.0.reserve(wish).map_err(error)? {
            ReserveResult::Now(permits) => Ok(Booking::Now(permits)),
            ReserveResult::Later(expected, waiter) => Ok(Booking::Later {
                expected: self.0.clock.instant(expected),
                granted: Box::pin(async move { waiter.answer().await.map_err(error) }),
            }),
        }
    }

    fn refusal(&self, payer: Payer, calls: u32) -> Error {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        self.0.refused(&mut state);
        let class = if calls > 1 { Priority::Write } else { Priority::Read };
        error(state.policy.turn_away(None, (payer, class, calls), now))
    }
}

impl Purse for LimiterInner {
    fn spent(&self, payer: Payer) {
        if self.is_budget {
            self.meter.paid(payer);
        }
        self.act(|policy, now| policy.spent(payer, now));
    }

    fn returned(&self, payer: Payer, calls: u32) {
        self.act(|policy, now| policy.returned(payer, calls, now));
    }
}

fn error(refusal: Refusal) -> Error {
    UpstreamError::from(refusal).into_error(false)
}

fn priority(class: Class) -> Priority {
    match class {
        Class::Admitted => Priority::Committed,
        Class::Write => Priority::Write,
        Class::Read => Priority::Read,
        Class::Extra => Priority::ReadBack,
    }
}

#[cfg(test)]
mod tests;
