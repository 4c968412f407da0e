//! How much of the window each client uses.
//!
//! A client is known from the configuration or from its first request. A client that is not
//! configured is forgotten after an hour without a request.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::pace::CallPace;
use super::types::{BudgetAccount, CallPriority};
use super::window_log::SlidingWindowLog;
use crate::policy::MonoTime;

const IDLE_TIMEOUT: Duration = Duration::from_hours(1);
/// In the first window of a busy client, this part of its share becomes usable gradually. Otherwise
/// many clients that start together would all wait for the end of the window.
const SPREAD_ONE_IN: u64 = 2;
/// A new client's rate is measured over at least this part of the window.
const MIN_RATE_PERIOD_ONE_IN: u32 = 8;
/// Calls of a write. No share and no burst is smaller.
const CALLS_OF_A_WRITE: u64 = 3;

/// The use of the window by one client, and its pace.
#[derive(Clone, Debug)]
pub(super) struct ClientUsage {
    weight: u64,
    /// Granted calls that have not ended.
    in_flight: u64,
    /// Calls that ended less than one window ago.
    spent: SlidingWindowLog,
    /// Borrowed calls: granted beyond the client's share.
    lent: SlidingWindowLog,
    /// Granted reads and read-backs within the share.
    reads: SlidingWindowLog,
    /// The pace of each priority while its requests wait.
    pub(super) pace: [CallPace; CallPriority::ALL.len()],
    /// Virtual finish time of its last grant, in start-time fair queueing.
    pub(super) virtual_finish: u128,
    /// Refused requests: the time at which each may return, and its calls.
    pub(super) promised: VecDeque<(MonoTime, u64)>,
    /// Highest number of own calls in the window, for the previous period and the current one.
    peak: [u64; 2],
    /// When the client made its first call after it had none in the window.
    began: MonoTime,
    last_request: MonoTime,
    is_configured: bool,
}

impl ClientUsage {
    fn new(weight: u64, window: Duration, limit: u64) -> Self {
        let log = SlidingWindowLog::new(window, limit);
        Self {
            weight,
            in_flight: 0,
            spent: log.clone(),
            lent: log.clone(),
            reads: log,
            pace: [CallPace::default(); CallPriority::ALL.len()],
            virtual_finish: 0,
            promised: VecDeque::new(),
            peak: [0; 2],
            began: MonoTime::ZERO,
            last_request: MonoTime::ZERO,
            is_configured: false,
        }
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// All its calls in the window.
    pub(super) fn used(&self) -> u64 {
        self.in_flight + self.spent.len()
    }

    /// Own calls in the window: all but the borrowed ones.
    pub(super) fn own(&self) -> u64 {
        self.used().saturating_sub(self.lent.len())
    }

    /// Reads and read-backs within the share.
    pub(super) fn reads(&self) -> u64 {
        self.reads.len()
    }

    /// How much of `share` the client will probably use: its recent peak. In its first window, the
    /// peak is projected to a whole window.
    pub(super) fn demand(&self, share: u64, window: Duration, now: MonoTime) -> u64 {
        let peak = self.peak[0].max(self.peak[1]);
        let age = now.saturating_sub(self.began).clamp(window / MIN_RATE_PERIOD_ONE_IN, window);
        let projected = u128::from(peak) * window.as_nanos() / age.as_nanos().max(1);
        u64::try_from(projected).unwrap_or(u64::MAX).min(share)
    }

    /// When `calls` of its calls will have left the window, if the calls in flight end now.
    pub(super) fn leaves(&self, calls: u64, window: Duration, now: MonoTime) -> MonoTime {
        if calls == 0 { now } else { self.spent.nth(calls).unwrap_or(now + window) }
    }

    /// Whether the client is new: idle, or active for less than one window.
    pub(super) fn is_young(&self, window: Duration, now: MonoTime) -> bool {
        self.used() == 0 || now < self.began + window
    }

    /// How much of `share` the client may have used by `now`. A new client starts with half of it and
    /// gains the rest over one window.
    pub(super) fn burst(&self, share: u64, window: Duration, now: MonoTime) -> u64 {
        if !self.is_young(window, now) {
            return share;
        }
        let idle = self.used() == 0;
        let age = if idle { Duration::ZERO } else { now.saturating_sub(self.began) };
        let spread = share / SPREAD_ONE_IN;
        let grown = u128::from(spread) * age.as_nanos() / window.as_nanos().max(1);
        let burst = share - spread + u64::try_from(grown).unwrap_or(u64::MAX);
        burst.max(CALLS_OF_A_WRITE).min(share)
    }

    /// The inverse of [`Self::burst`]: when it reaches `calls`.
    pub(super) fn burst_at(
        &self,
        calls: u64,
        share: u64,
        window: Duration,
        now: MonoTime,
    ) -> MonoTime {
        let spread = share / SPREAD_ONE_IN;
        let grown = calls.saturating_sub(share - spread).min(spread);
        let age = window.as_nanos() * u128::from(grown) / u128::from(spread.max(1));
        let began = if self.used() == 0 { now } else { self.began };
        now.max(began + Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX)))
    }

    /// Books granted calls.
    pub(super) fn take(&mut self, calls: u32, priority: CallPriority, lent: bool, now: MonoTime) {
        if self.used() == 0 {
            self.began = now;
        }
        let calls = u64::from(calls);
        self.in_flight += calls;
        if lent {
            self.lent.record(now, calls);
        }
        self.peak[1] = self.peak[1].max(self.own());
        if !lent && priority >= CallPriority::Read {
            self.reads.record(now, calls);
        }
    }

    /// Ends calls. `made` is false for granted calls that were not made.
    pub(super) fn release(&mut self, calls: u64, made: bool, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(calls);
        if made {
            self.spent.record(now, calls);
        }
    }

    fn expire(&mut self, now: MonoTime) {
        self.spent.expire(now);
        self.lent.expire(now);
        self.reads.expire(now);
        while self.promised.pop_front_if(|(at, _)| *at <= now).is_some() {}
    }
}

/// All clients of one budget.
#[derive(Clone, Debug)]
pub(super) struct ClientUsages {
    window: Duration,
    limit: u64,
    clients: BTreeMap<u64, ClientUsage>,
    /// Sum of all weights.
    weights: u64,
    /// When the next period of the peaks begins.
    period: MonoTime,
}

impl ClientUsages {
    pub(super) fn new(window: Duration, limit: u64) -> Self {
        Self { window, limit, clients: BTreeMap::new(), weights: 0, period: MonoTime::ZERO }
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.clients.len() > 1
    }

    /// Records that a client asks for calls, with its current weight.
    pub(super) fn register(&mut self, account: BudgetAccount, now: MonoTime) -> &mut ClientUsage {
        let (weight, window, limit) = (u64::from(account.weight.get()), self.window, self.limit);
        let new = || ClientUsage::new(weight, window, limit);
        let is_new = !self.clients.contains_key(&account.id);
        let client = self.clients.entry(account.id).or_insert_with(new);
        let before = if is_new { 0 } else { client.weight };
        self.weights = self.weights - before + weight;
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

    /// Drops calls that have left the window, and idle clients. `waits` tells whether a client has a
    /// queued request.
    pub(super) fn expire(&mut self, now: MonoTime, waits: impl Fn(u64) -> bool) {
        self.clients.values_mut().for_each(|client| client.expire(now));
        if now < self.period {
            return;
        }
        self.period = now + self.window;
        self.clients.retain(|id, client| {
            client.peak = [client.peak[1], client.own()];
            let is_idle = client.used() == 0 && now >= client.last_request + IDLE_TIMEOUT;
            client.is_configured || !is_idle || waits(*id)
        });
        self.weights = self.clients.values().map(|client| client.weight).sum();
    }

    pub(super) fn get(&self, id: u64) -> Option<&ClientUsage> {
        self.clients.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut ClientUsage> {
        self.clients.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &ClientUsage)> {
        self.clients.iter().map(|(id, client)| (*id, client))
    }

    /// The client's part of `calls` by weight, and at least enough for a write.
    pub(super) fn share(&self, client: &ClientUsage, calls: u64) -> u64 {
        let share = u128::from(calls) * u128::from(client.weight);
        let share = u64::try_from(share / u128::from(self.weights.max(1))).unwrap_or(u64::MAX);
        share.max(CALLS_OF_A_WRITE).min(calls)
    }

    /// Borrowed calls in the window.
    pub(super) fn lent(&self) -> u64 {
        self.clients.values().map(|client| client.lent.len()).sum()
    }

    /// Sum of all weights.
    #[cfg(test)]
    pub(super) fn weights(&self) -> u64 {
        self.weights
    }
}
