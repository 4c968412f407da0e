//! The budget of calls, shared by everything that calls the platform: who may call at once, and who
//! waits.
//!
//! The decisions are those of [`RateLimit`]. Here are its lock, which is never held across an await,
//! the waiting, and one task that looks at the queue when a place comes free. That task lives as
//! long as somebody waits. A wish whose future is dropped leaves the queue.

mod timer;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::timer::{Timer, answer};
use self::waiting::Waiter;
use super::error::UpstreamError;
use crate::clock::Monotonic;
use crate::error::Error;
use crate::policy::{
    self, Moment, Priority, RateLimit, RateSettings, Refusal, Start, Told, Verdict, Want, WishId,
};
use crate::ports::{Booking, Class, Meter, Operation, Pacing, Payer, Permits, Purse, Wish};

/// The budget of calls. Clones share it.
#[derive(Clone)]
pub struct Limiter(Arc<Core>);

/// What somebody who waits is told in the end.
type Answer = Result<Permits, Refusal>;

struct Core {
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
    policy: RateLimit,
    waiters: HashMap<WishId, (Payer, oneshot::Sender<Answer>)>,
    timer: Timer,
}

/// What came of a booking.
enum Booked {
    Now(Permits),
    Later(Moment, Waiter),
}

/// What upstream made of a call.
pub struct Heard {
    /// Which operation it was.
    pub operation: Operation,
    /// How long no further calls are wanted, if it was a 429.
    pub throttled: Option<Duration>,
    /// What it tells of its own counting.
    pub told: Told,
}

impl Limiter {
    /// An unused budget.
    pub fn new(settings: RateSettings, meter: Arc<dyn Meter>, clock: Monotonic) -> Self {
        let limiter = Self::made(settings, meter, clock, true);
        limiter.report();
        limiter
    }

    /// A lane beside the budget, for an operation that upstream throttles on its own: waits, paces and
    /// refuses in the same way, and bounds nothing that the budget does not.
    pub fn lane(settings: RateSettings, meter: Arc<dyn Meter>, clock: Monotonic) -> Self {
        Self::made(settings, meter, clock, false)
    }

    fn made(
        settings: RateSettings,
        meter: Arc<dyn Meter>,
        clock: Monotonic,
        is_budget: bool,
    ) -> Self {
        let policy = RateLimit::new(settings);
        let state = State { policy, waiters: HashMap::new(), timer: Timer::Off };
        Self(Arc::new_cyclic(|this| Core {
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
        match self.0.book(Wish { calls: 1, class, deadline, payer })? {
            Booked::Now(permits) => Ok(permits),
            Booked::Later(_, waiter) => waiter.answer().await,
        }
    }

    /// Sees to it that each of these has its share, whether it has called yet or not.
    pub fn expect(&self, payers: &[Payer]) {
        let payers: Vec<_> = payers.iter().copied().map(on_account).collect();
        self.0.act(|policy, now| policy.expect(&payers, now));
    }

    /// Whether a call that was granted may start now: not if a 429 came since.
    pub fn start(&self) -> Option<Start> {
        let mut state = self.0.state();
        let now = self.0.clock.now();
        state.policy.start(now)
    }

    /// A call was answered.
    pub fn heard(&self, start: Start, heard: &Heard) {
        self.0.act(|policy, now| {
            policy.corrected(start, heard.told, now);
            match heard.throttled {
                Some(wait) => policy.throttled(wait, now),
                None => policy.answered(start, now),
            }
        });
        if let Some(wait) = heard.throttled {
            tracing::warn!(retry_after = ?wait, "upstream throttles");
            self.0.meter.throttled(heard.operation);
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

    /// Tells the meter how things stand; they change with time alone, too.
    pub fn report(&self) {
        if !self.0.is_budget {
            return;
        }
        self.0.meter.rate_window(self.room(), self.throttle_left().is_some());
    }

    /// How things stand, whenever it is called and as long as this limiter is there.
    pub fn reporter(&self) -> impl Fn() + Send + Sync + 'static {
        let core = Arc::downgrade(&self.0);
        move || {
            if let Some(core) = core.upgrade() {
                Self(core).report();
            }
        }
    }
}

impl Core {
    fn book(&self, wish: Wish) -> Result<Booked, Refusal> {
        let mut state = self.state();
        let now = self.clock.now();
        let deadline = self.clock.moment(wish.deadline);
        let (calls, priority) = (wish.calls, priority(wish.class));
        let want = Want { calls, priority, deadline, payer: on_account(wish.payer) };
        match state.policy.book(want, now) {
            Verdict::Granted(calls) => Ok(Booked::Now(self.permits(wish.payer, calls))),
            Verdict::Refused(refusal) => {
                self.meter.rate_refused();
                Err(refusal)
            }
            Verdict::Queued(id, expected) => {
                let (sender, receiver) = oneshot::channel();
                state.waiters.insert(id, (wish.payer, sender));
                let answers = self.settle(&mut state, now);
                drop(state);
                answer(answers);
                let mut waiter = Waiter::new(self.this(), id, wish, receiver);
                match waiter.ready() {
                    Some(answer) => answer.map(Booked::Now),
                    None => Ok(Booked::Later(expected, waiter)),
                }
            }
        }
    }

    /// Changes something, and grants what can be granted then.
    fn act<T>(&self, change: impl FnOnce(&mut RateLimit, Moment) -> T) -> T {
        let mut state = self.state();
        let now = self.clock.now();
        let result = change(&mut state.policy, now);
        let answers = self.settle(&mut state, now);
        drop(state);
        answer(answers);
        result
    }

    /// Takes somebody out of the queue who has not been answered; `None` if that was done.
    fn leave<T>(&self, id: WishId, change: impl FnOnce(&mut RateLimit, Moment) -> T) -> Option<T> {
        let mut state = self.state();
        state.waiters.remove(&id)?;
        let now = self.clock.now();
        let result = change(&mut state.policy, now);
        let answers = self.settle(&mut state, now);
        drop(state);
        answer(answers);
        Some(result)
    }

    fn permits(&self, payer: Payer, calls: u32) -> Permits {
        Permits::new(self.this(), payer, calls)
    }

    fn this(&self) -> Arc<Self> {
        self.this.upgrade().expect("it is held by whoever calls this")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pacing for Limiter {
    fn book(&self, wish: Wish) -> Result<Booking, Error> {
        match self.0.book(wish).map_err(error)? {
            Booked::Now(permits) => Ok(Booking::Now(permits)),
            Booked::Later(expected, waiter) => Ok(Booking::Later {
                expected: self.0.clock.instant(expected),
                granted: Box::pin(async move { waiter.answer().await.map_err(error) }),
            }),
        }
    }

    fn refusal(&self, payer: Payer, calls: u32) -> Error {
        error(self.0.turn_away(payer, calls))
    }
}

impl Core {
    fn turn_away(&self, payer: Payer, calls: u32) -> Refusal {
        let mut state = self.state();
        let now = self.clock.now();
        self.meter.rate_refused();
        state.policy.turned_away(on_account(payer), calls, now)
    }
}

impl Purse for Core {
    fn spent(&self, payer: Payer) {
        if self.is_budget {
            self.meter.paid(payer);
        }
        self.act(|policy, now| policy.spent(on_account(payer), now));
    }

    fn returned(&self, payer: Payer, calls: u32) {
        self.act(|policy, _| policy.returned(on_account(payer), calls));
    }
}

fn on_account(Payer { id, weight }: Payer) -> policy::Payer {
    policy::Payer { id, weight }
}

fn error(refusal: Refusal) -> Error {
    UpstreamError::from(refusal).into_error(false)
}

fn priority(class: Class) -> Priority {
    match class {
        Class::Admitted => Priority::Admitted,
        Class::Write => Priority::Write,
        Class::Read => Priority::Read,
        Class::Extra => Priority::Extra,
    }
}

#[cfg(test)]
mod tests;
