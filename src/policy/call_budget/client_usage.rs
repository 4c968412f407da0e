//! What each client uses of the window, its share, and the pace of its calls.
//!
//! A client is known from the configuration or from its first request. A client that is not
//! configured is forgotten after an hour without a request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::token_bucket::{ClassBuckets, float};
use super::types::{BudgetAccount, PriorityClass};
use super::window_log::SlidingWindowLog;
use crate::policy::MonoTime;

const IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// Calls of a write. No share is smaller.
pub(super) const CALLS_OF_A_WRITE: u64 = 3;
/// No burst is smaller, unless the share is.
const MIN_BURST: u64 = 2 * CALLS_OF_A_WRITE;
/// So much of each share is spread over the window that a busy client can write this often.
const WRITE_INTERVAL: Duration = Duration::from_secs(9);

/// A client is busy for this part of the window after a request that was not granted at once. While
/// it is busy, it saves up this part of its burst.
const BUSY_ONE_IN: u32 = 8;

/// Half a write: requests do not come exactly at their pace.
const PACE_SLACK: f64 = 1.5;
/// The rate of a client is measured over at least this part of the window.
const MIN_RATE_PERIOD_ONE_IN: u32 = 8;

/// The share of a client in the window, for one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientShare {
    /// Calls in any window.
    pub(super) calls: u64,
    /// How many of them may come at once.
    pub(super) burst: u64,
}

impl ClientShare {
    fn new(calls: u64, window: Duration) -> Self {
        let writes = window.as_nanos() / WRITE_INTERVAL.as_nanos().max(1);
        let spread = u64::try_from(writes).unwrap_or(u64::MAX).saturating_mul(CALLS_OF_A_WRITE);
        let burst = calls - spread.max(calls / 2).min(calls);
        Self { calls, burst: burst.max(MIN_BURST).min(calls) }
    }
}

/// A refused request that was promised to be served at a later time.
#[derive(Clone, Copy, Debug)]
pub(super) struct PromisedReturn {
    pub(super) at: MonoTime,
    pub(super) calls: u64,
    pub(super) class: PriorityClass,
}

/// The use of the window by one client.
#[derive(Clone, Debug)]
pub(super) struct ClientUsage {
    pub(super) weight: u64,
    /// Calls within its share, from their grant for one window. Borrowed calls do not count.
    own: SlidingWindowLog,
    /// The reads and read-backs among them.
    pub(super) reads: SlidingWindowLog,
    /// The pace of its calls.
    buckets: ClassBuckets,
    /// Virtual start time of its next request, in start-time fair queueing.
    pub(super) start_tag: f64,
    /// Refused requests that will return, in the order of their time.
    pub(super) promised: VecDeque<PromisedReturn>,
    /// Until then it has more requests than it can be served with.
    busy_until: MonoTime,
    last_request: MonoTime,
    is_configured: bool,
}

impl ClientUsage {
    fn new(weight: u64, log: SlidingWindowLog) -> Self {
        Self {
            weight,
            own: log.clone(),
            reads: log,
            buckets: ClassBuckets::FULL,
            start_tag: 0.0,
            promised: VecDeque::new(),
            busy_until: MonoTime::ZERO,
            last_request: MonoTime::ZERO,
            is_configured: false,
        }
    }

    /// Records that a request was not granted at once.
    pub(super) fn set_busy(&mut self, now: MonoTime) {
        self.busy_until = now + self.own.window() / BUSY_ONE_IN;
    }

    /// How many calls it will probably make in a window, within its share: its recent rate, or all if
    /// it is busy.
    pub(super) fn demand(&self, share: ClientShare, now: MonoTime) -> u64 {
        let window = self.own.window();
        let Some(leaves) = self.own.nth(1).filter(|_| now >= self.busy_until) else {
            return if now < self.busy_until { share.calls } else { 0 };
        };
        let age =
            (now + window).saturating_sub(leaves).clamp(window / MIN_RATE_PERIOD_ONE_IN, window);
        let calls = u128::from(self.own.len()) * window.as_nanos() / age.as_nanos().max(1);
        u64::try_from(calls).unwrap_or(u64::MAX).min(share.calls)
    }

    /// Refills the bucket of a class. A busy client saves up no burst.
    pub(super) fn refill(&mut self, class: PriorityClass, share: ClientShare, now: MonoTime) {
        let few = (share.burst / u64::from(BUSY_ONE_IN)).max(CALLS_OF_A_WRITE).min(share.burst);
        let gains_to = if now < self.busy_until { few } else { share.burst };
        self.buckets.refill(class, self.per_second(share.calls), (share.burst, gains_to), now);
    }

    /// The rate that fills the window with so many calls.
    fn per_second(&self, calls: u64) -> f64 {
        float(calls) / self.own.window().as_secs_f64()
    }

    /// When a request of this class is possible within the share, after `ahead` other calls. `all` is
    /// the share of all classes.
    ///
    /// What is not a burst is spread over the window: each request leaves enough of the share to go
    /// on at this pace, but for half a write, until earlier calls leave the window.
    pub(super) fn opens(
        &self,
        class: PriorityClass,
        (ahead, calls): (u64, u64),
        (share, all): (ClientShare, ClientShare),
        now: MonoTime,
    ) -> MonoTime {
        let spread = |log: &SlidingWindowLog, share: ClientShare| {
            let free = float(share.calls) - float(log.len() + ahead + calls);
            let pace = self.per_second(share.calls - share.burst);
            log.opens_at_pace(free, pace, PACE_SLACK, now)
        };
        let mut opens = spread(&self.own, all);
        if class >= PriorityClass::Read {
            opens = opens.max(spread(&self.reads, share));
        }
        // A larger request than a burst would wait for ever: it takes tokens in advance.
        let tokens = ahead + calls.min(share.burst).min(CALLS_OF_A_WRITE);
        self.buckets.opens(class, tokens, self.per_second(share.calls), now).max(opens)
    }

    /// Books granted calls within the share.
    pub(super) fn take(&mut self, calls: u64, class: PriorityClass, now: MonoTime) {
        self.own.record(now, calls);
        if class >= PriorityClass::Read {
            self.reads.record(now, calls);
        }
        self.buckets.take(class, calls);
    }

    /// Takes back granted calls that were not made.
    pub(super) fn give_back(&mut self, calls: u64) {
        self.buckets.give_back(self.own.forget(calls));
        self.reads.forget(self.reads.len().saturating_sub(self.own.len()));
    }
}

/// All clients of one budget.
#[derive(Clone, Debug)]
pub(super) struct ClientUsages {
    empty: SlidingWindowLog,
    clients: BTreeMap<u64, ClientUsage>,
    /// Sum of all weights.
    weights: u64,
    /// When idle clients are removed next.
    next_cleanup: MonoTime,
}

impl ClientUsages {
    pub(super) fn new(empty: SlidingWindowLog) -> Self {
        Self { empty, clients: BTreeMap::new(), weights: 0, next_cleanup: MonoTime::ZERO }
    }

    /// Records that a client asks for calls, with its current weight.
    pub(super) fn register(&mut self, account: BudgetAccount, now: MonoTime) -> &mut ClientUsage {
        let weight = u64::from(account.weight.get());
        let before = self.clients.get(&account.id).map_or(0, |client| client.weight);
        self.weights = self.weights - before + weight;
        let new = || ClientUsage::new(weight, self.empty.clone());
        let client = self.clients.entry(account.id).or_insert_with(new);
        client.weight = weight;
        client.last_request = now;
        client
    }

    /// Replaces the configured clients.
    pub(super) fn configure(&mut self, accounts: &[BudgetAccount], now: MonoTime) {
        self.clients.values_mut().for_each(|client| client.is_configured = false);
        for account in accounts {
            self.register(*account, now).is_configured = true;
        }
    }

    /// Drops calls that have left the window, and idle clients.
    pub(super) fn expire(&mut self, now: MonoTime) {
        for client in self.clients.values_mut() {
            client.own.expire(now);
            client.reads.expire(now);
        }
        if now < self.next_cleanup {
            return;
        }
        self.next_cleanup = now + self.empty.window();
        self.clients.retain(|_, client| {
            let is_idle = client.own.len() == 0 && now >= client.last_request + IDLE_TIMEOUT;
            client.is_configured || !is_idle
        });
        self.weights = self.clients.values().map(|client| client.weight).sum();
    }

    pub(super) fn get(&self, id: u64) -> Option<&ClientUsage> {
        self.clients.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut ClientUsage> {
        self.clients.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &ClientUsage> {
        self.clients.values()
    }

    /// The part of `calls` that a client of this weight owns, and at least enough for a write.
    pub(super) fn share(&self, weight: u64, calls: u64) -> ClientShare {
        let share = u128::from(calls) * u128::from(weight) / u128::from(self.weights.max(1));
        let share = u64::try_from(share).unwrap_or(u64::MAX).max(CALLS_OF_A_WRITE).min(calls);
        ClientShare::new(share, self.empty.window())
    }

    /// Sum of all weights.
    #[cfg(test)]
    pub(super) fn weights(&self) -> u64 {
        self.weights
    }
}
