//! The call budget: how many calls the gateway may make, and which request gets the next ones.
//!
//! A [`CallRequest`] is granted, queued or refused by [`TokenBudget::request`]. Queued requests are
//! granted by [`TokenBudget::grant`]. The rules, and the files that hold them:
//!
//! 1. **Limit** (`window_log`): the window never holds more calls than the limit. A call occupies it
//!    from its grant until one window after its end, because upstream counts it at some moment in
//!    between. A granted call that is not made leaves the window at once.
//! 2. **Ceilings** (`priority`): each priority may fill the window up to its own ceiling. A fifth of
//!    the window is reserved for reads.
//! 3. **Shares** (`client_usage`, `priority`): each client owns a share of the window by its weight.
//!    A client may use its share in one burst. Once its requests wait, they are granted at an even
//!    pace (`pace`). Unused capacity is lent to other clients, also at an even pace.
//! 4. **Order** (`fair_queue`): clients take turns by start-time fair queueing.
//! 5. **Deadlines** (`estimate`): a request that cannot be served before its deadline is refused,
//!    with the time at which the client can return.
//! 6. **Throttling** (`throttle_window`): after a 429 nothing is granted until `Retry-After` has
//!    passed.
//! 7. **Other users of the token** (`external_usage`): the headers of upstream show their calls, and
//!    these occupy the window, too.

mod client_usage;
mod estimate;
mod external_usage;
mod fair_queue;
mod pace;
mod priority;
mod throttle_window;
mod types;
mod window_log;

use std::time::Duration;

use self::client_usage::ClientUsages;
use self::external_usage::ExternalUsage;
pub use self::external_usage::RateLimitHeaders;
use self::fair_queue::FairQueue;
use self::pace::CallPace;
use self::throttle_window::ThrottleWindow;
pub use self::throttle_window::{MAX_THROTTLE_WAIT, PROBE_INTERVAL};
pub use self::types::{
    BudgetAccount, BudgetSettings, CallAdmission, CallPriority, CallRefusal, CallRequest,
    CallRequestId, PriorityCeilings,
};
use self::window_log::SlidingWindowLog;
use super::MonoTime;

/// A new measurement moves the typical latency by one part in eight.
const LATENCY_SMOOTHING: u32 = 8;
/// Queued requests are checked at least this often in each window, because shares grow with time.
const CHECKS_PER_WINDOW: u32 = 100;

/// When a call started, and how many calls had left the window by then.
#[derive(Clone, Copy, Debug)]
pub struct CallStart {
    at: MonoTime,
    gone: u64,
}

/// The budget of one OAuth token.
#[derive(Clone, Debug)]
pub struct TokenBudget {
    settings: BudgetSettings,
    /// The limit that upstream states; [`u64::MAX`] if it states none.
    allowed: u64,
    /// Granted calls that have not ended.
    in_flight: u64,
    /// Calls that ended less than one window ago.
    log: SlidingWindowLog,
    /// Reads and read-backs, from their grant for one window.
    reads: SlidingWindowLog,
    external: ExternalUsage,
    clients: ClientUsages,
    queue: FairQueue,
    /// The pace at which unused capacity is lent.
    lending_pace: CallPace,
    throttle: ThrottleWindow,
    /// Smoothed duration of a call.
    typical_latency: Duration,
}

impl TokenBudget {
    /// An unused budget.
    pub fn new(settings: BudgetSettings) -> Self {
        let BudgetSettings { limit, window, .. } = settings;
        Self {
            settings,
            allowed: u64::MAX,
            in_flight: 0,
            log: SlidingWindowLog::new(window, limit),
            reads: SlidingWindowLog::new(window, limit),
            external: ExternalUsage::default(),
            clients: ClientUsages::new(window, limit),
            queue: FairQueue::default(),
            lending_pace: CallPace::ALWAYS,
            throttle: ThrottleWindow::new(window),
            typical_latency: Duration::ZERO,
        }
    }

    /// Gives each of these clients its share from now on, even before its first call.
    pub fn set_known_clients(&mut self, accounts: &[BudgetAccount], now: MonoTime) {
        self.expire(now);
        self.clients.configure(accounts, now);
    }

    /// Grants calls, queues the request, or refuses it. Call [`Self::grant`] after a request was
    /// queued: it may be possible at once.
    pub fn request(&mut self, request: CallRequest, now: MonoTime) -> CallAdmission {
        self.expire(now);
        let request = self.clamped(request);
        self.clients.register(request.account, now);
        if self.throttle.next_probe(now).is_some() {
            return self.request_probe(&request, now);
        }
        if self.queue.is_empty() && request.deadline > now {
            let offer = self.offer(&request, self.reserved(request.priority, now), now);
            if self.may_go(&request, offer, now) {
                self.take(&request, offer.lent, now);
                return CallAdmission::Granted(request.calls);
            }
        }
        let expected = self.expected(&request, now);
        if self.is_late(&request, expected, now) {
            let refused = (request.priority, request.calls);
            return CallAdmission::Refused(self.refuse(request.account, refused, now));
        }
        if expected > now {
            let client = self.clients.register(request.account, now);
            client.pace[request.priority as usize].hold(now, now + self.settings.window);
        }
        CallAdmission::Queued(self.queue.push(request), expected)
    }

    /// During a long throttle, a request is granted as the probe that is due, or refused.
    fn request_probe(&mut self, request: &CallRequest, now: MonoTime) -> CallAdmission {
        let ceiling = self.ceiling(request.priority);
        let has_room = self.used() + u64::from(request.calls) <= ceiling;
        if has_room && self.throttle.probe(request.calls, now) {
            self.take(request, false, now);
            return CallAdmission::Granted(request.calls);
        }
        let refused = (request.priority, request.calls);
        CallAdmission::Refused(self.refuse(request.account, refused, now))
    }

    /// Whether throttle, window and pace allow a request now.
    fn may_go(
        &self,
        request: &CallRequest,
        offer: priority::AdmissionOffer,
        now: MonoTime,
    ) -> bool {
        let throttle = self.throttle.opens_after(0, Duration::ZERO, now);
        let fits = self.used() + u64::from(request.calls) <= offer.ceiling;
        fits && offer.opens <= now && throttle <= now
    }

    /// Grants the next queued request that is possible now. Repeat it until it returns `None`, after
    /// every change and at [`Self::next_wakeup`].
    pub fn grant(&mut self, now: MonoTime) -> Option<(CallRequestId, CallRequest)> {
        self.expire(now);
        for (id, request, offer) in self.candidates(now) {
            if request.deadline <= now {
                self.queue.remove(id);
                return self.grant(now);
            }
            if self.may_go(&request, offer, now) {
                self.queue.remove(id);
                self.take(&request, offer.lent, now);
                return Some((id, request));
            }
            if offer.opens <= now {
                // This request waits for room alone. Later requests must not overtake it: a write
                // needs several calls at once and would starve behind reads.
                return None;
            }
        }
        None
    }

    /// When to call [`Self::grant`] next, if nothing changes before. `None` if the queue is empty.
    pub fn next_wakeup(&self, now: MonoTime) -> Option<MonoTime> {
        if self.queue.is_empty() {
            return None;
        }
        let leaves = self.external.groups().first().map(|group| group.leaves);
        let opens = self.candidates(now).into_iter().map(|(_, _, offer)| offer.opens);
        let throttle = self.throttle.opens_after(0, Duration::ZERO, now);
        if throttle > now {
            return Some(throttle);
        }
        let later = opens.filter(|at| *at > now);
        let wakes = later.chain(leaves).chain(self.log.nth(1)).min();
        let check = now + self.settings.window / CHECKS_PER_WINDOW;
        Some(wakes.map_or(check, |at| at.min(check)))
    }

    /// Removes a request from the queue, if it is still there.
    pub fn cancel(&mut self, id: CallRequestId) -> Option<CallRequest> {
        self.queue.remove(id)
    }

    /// Refuses a request that cannot be served before its deadline. `id` names it if it was queued.
    pub fn reject(
        &mut self,
        id: Option<CallRequestId>,
        (account, priority, calls): (BudgetAccount, CallPriority, u32),
        now: MonoTime,
    ) -> CallRefusal {
        self.expire(now);
        id.and_then(|id| self.queue.remove(id));
        self.refuse(account, (priority, calls), now)
    }

    /// Refuses the next queued request during a long throttle, when nothing may wait.
    pub fn reject_next(&mut self, now: MonoTime) -> Option<(CallRequestId, CallRefusal)> {
        self.throttle.next_probe(now)?;
        let id = self.queue.first()?;
        let request = self.queue.remove(id)?;
        Some((id, self.refuse(request.account, (request.priority, request.calls), now)))
    }

    /// Records that a call has ended.
    pub fn finish_call(&mut self, account: BudgetAccount, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.log.record(now, 1);
        if let Some(client) = self.clients.get_mut(account.id) {
            client.release(1, true, now);
        }
    }

    /// Takes back granted calls that were not made.
    pub fn return_calls(&mut self, account: BudgetAccount, calls: u32, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(u64::from(calls));
        if let Some(client) = self.clients.get_mut(account.id) {
            client.release(u64::from(calls), false, now);
        }
    }

    /// Starts a granted call. `None` if a 429 has arrived since its grant.
    pub fn start(&mut self, now: MonoTime) -> Option<CallStart> {
        self.expire(now);
        let gone = self.log.gone();
        self.throttle.may_start(now).then_some(CallStart { at: now, gone })
    }

    /// Records a 429 with this `Retry-After`. If it is longer than [`MAX_THROTTLE_WAIT`], refuse all
    /// queued requests ([`Self::reject_next`]).
    pub fn record_throttle(&mut self, wait: Duration, now: MonoTime) {
        self.throttle.begin(wait, now);
    }

    /// Records an answer that is not a 429.
    pub fn record_answer(&mut self, start: CallStart, now: MonoTime) {
        let took = now.saturating_sub(start.at);
        self.typical_latency = if self.typical_latency.is_zero() {
            took
        } else {
            (self.typical_latency * (LATENCY_SMOOTHING - 1)).saturating_add(took)
                / LATENCY_SMOOTHING
        };
        self.throttle.record_answer(start.at, now);
    }

    /// Adjusts the budget to the headers of an answer. Calls that upstream counted and the gateway
    /// did not make belong to other users of the token. They leave the window when upstream says so,
    /// and after two windows at the latest. A limit of 0 is ignored: an upstream that means it
    /// answers 429.
    pub fn apply_headers(&mut self, start: CallStart, headers: RateLimitHeaders, now: MonoTime) {
        self.expire(now);
        if let Some(allowed) = headers.allowed.filter(|allowed| *allowed > 0) {
            self.allowed = allowed;
        }
        let (Some(count), Some(reset)) = (headers.count, headers.reset) else { return };
        // Upstream may still count calls that have left our window since this call started.
        let ours = self.in_flight.saturating_add(self.log.since(start.gone));
        let others = count.saturating_sub(ours).min(self.settings.limit);
        let new = others.saturating_sub(self.external.calls());
        if new > 0 && !reset.is_zero() {
            self.external.add(now + reset.min(self.settings.window * 2), new);
        }
    }

    /// How many calls new writes could make now.
    pub fn room(&mut self, now: MonoTime) -> u64 {
        self.expire(now);
        let room = self.ceiling(CallPriority::Write).saturating_sub(self.used());
        if self.throttle.left(now).is_some() { 0 } else { room }
    }

    /// How long upstream still wants no calls.
    pub fn throttle_left(&self, now: MonoTime) -> Option<Duration> {
        self.throttle.left(now)
    }

    /// Whether the queue is empty.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn expire(&mut self, now: MonoTime) {
        self.log.expire(now);
        self.reads.expire(now);
        self.external.expire(now);
        let queue = &self.queue;
        self.clients.expire(now, |client| queue.waits(client));
    }

    /// Calls that occupy the window.
    fn used(&self) -> u64 {
        self.in_flight.saturating_add(self.log.len()).saturating_add(self.external.calls())
    }

    /// Books granted calls.
    fn take(&mut self, request: &CallRequest, lent: bool, now: MonoTime) {
        let (calls, class) = (request.calls, request.priority);
        let lending_gap = if lent { self.lending_gap(class, now) } else { Duration::ZERO };
        let client = self.clients.get(request.account.id);
        let own_gap = client.map_or(Duration::ZERO, |client| self.own_gap(client, class));
        self.in_flight = self.in_flight.saturating_add(u64::from(calls));
        self.throttle.granted(calls, pace::gap(self.settings.window, self.limit()), now);
        if class >= CallPriority::Read {
            self.reads.record(now, u64::from(calls));
        }
        if lent {
            self.lending_pace.take(calls, lending_gap, now);
        }
        if let Some(client) = self.clients.get_mut(request.account.id) {
            if !lent {
                client.pace[class as usize].take(calls, own_gap, now);
            }
            client.take(calls, class, lent, now);
            self.queue.advance(client, calls);
        }
    }
}

#[cfg(test)]
mod fairness;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
