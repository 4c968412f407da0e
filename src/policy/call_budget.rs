//! The call budget: how many calls the gateway may make, and which request gets the next ones.
//!
//! A [`CallRequest`] is granted, queued or refused by [`TokenBudget::request`]. Queued requests are
//! granted by [`TokenBudget::grant`]. The rules, and the files that hold them:
//!
//! 1. **Limit** (`window_log`): the window never holds more calls than the limit. A call occupies it
//!    from its grant until one window after its end, because upstream counts it at some moment in
//!    between. A granted call that is not made leaves the window at once.
//! 2. **Classes** (`admission`): each class may fill the window up to its own ceiling. A fifth of
//!    the window goes to reads before writes get it.
//! 3. **Shares** (`client_usage`, `token_bucket`): each client owns a share of the window by its
//!    weight. A part of it may come as a burst, and the rest is spread over the window.
//! 4. **Lending** (`admission`): what clients do not use of their shares is lent to those that wait,
//!    at an even pace. A sixteenth is never lent, so that an idle client can start at once.
//! 5. **Order** (`admission`): clients take turns by start-time fair queueing.
//! 6. **Deadlines** (`estimate`): a request that cannot be served before its deadline is refused,
//!    with the time at which the client can return.
//! 7. **Throttling** (`throttle_window`): after a 429 nothing is granted until `Retry-After` has
//!    passed.

mod admission;
mod client_usage;
mod credits;
mod estimate;
mod throttle_window;
mod token_bucket;
mod types;
mod window_log;

use std::collections::BTreeMap;
use std::time::Duration;

use self::client_usage::ClientUsages;
use self::throttle_window::ThrottleWindow;
pub use self::throttle_window::{MAX_THROTTLE_WAIT, PROBE_INTERVAL};
use self::token_bucket::{ClassBuckets, float};
pub use self::types::{
    BudgetAccount, BudgetSettings, BudgetUsage, CallAdmission, CallRefusal, CallRequest,
    CallRequestId, CallStart, CreditLease, CreditUsage, PriorityCeilings, PriorityClass,
    RateLimitHeaders,
};
use self::window_log::SlidingWindowLog;
use super::MonoTime;

/// A new measurement moves the typical latency by one part in eight.
const LATENCY_SMOOTHING: u32 = 8;
/// Queued requests are checked at least this often in each window.
const CHECKS_PER_WINDOW: u32 = 100;

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
    /// Calls of other users of the token, as far as upstream's headers show them.
    external: SlidingWindowLog,
    clients: ClientUsages,
    queue: BTreeMap<CallRequestId, CallRequest>,
    last_id: u64,
    /// Start tag of the last granted request, in start-time fair queueing.
    virtual_time: f64,
    /// The pace at which unused capacity is lent.
    lending: ClassBuckets,
    throttle: ThrottleWindow,
    /// Smoothed duration of a call.
    typical_latency: Duration,
    refusals: u32,
    /// The part of the limit that this replica may use; `None` for all of it.
    credits: Option<CreditLease>,
    /// So many calls had ended when these credits began to count.
    credits_from: u64,
}

impl TokenBudget {
    /// An unused budget.
    pub fn new(settings: BudgetSettings) -> Self {
        let log = SlidingWindowLog::new(settings.window, settings.limit);
        Self {
            settings,
            allowed: u64::MAX,
            in_flight: 0,
            log: log.clone(),
            external: log.clone(),
            clients: ClientUsages::new(log),
            queue: BTreeMap::new(),
            last_id: 0,
            virtual_time: 0.0,
            lending: ClassBuckets::FULL,
            throttle: ThrottleWindow::new(settings.window),
            typical_latency: Duration::ZERO,
            refusals: 0,
            credits: None,
            credits_from: 0,
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
        self.arrive(&request, now);
        if self.throttle.next_probe(now).is_some() {
            return self.request_probe(&request, now);
        }
        let offer = self.offer(&request, now);
        let may_go = self.may_go(&request, &offer, now);
        if self.queue.is_empty() && request.deadline > now && may_go {
            self.take(&request, offer.lent, now);
            return CallAdmission::Granted(request.calls);
        }
        let expected = if may_go { now } else { self.expected(&request, 0, now) };
        let returns = self.take_promise(&request, now);
        if self.is_late(&request, expected, returns, now) {
            return CallAdmission::Refused(self.refuse(&request, now));
        }
        if let Some(client) = self.clients.get_mut(request.account.id).filter(|_| !may_go) {
            client.set_busy(now);
        }
        self.last_id += 1;
        let id = CallRequestId(self.last_id);
        self.queue.insert(id, request);
        CallAdmission::Queued(id, expected)
    }

    /// Prepares the client of a new request.
    fn arrive(&mut self, request: &CallRequest, now: MonoTime) {
        let id = request.account.id;
        let waits = self.queue.values().any(|queued| queued.account.id == id);
        let virtual_time = self.virtual_time;
        let client = self.clients.register(request.account, now);
        if !waits {
            // An idle client neither saves up turns nor owes any.
            client.start_tag = client.start_tag.max(virtual_time);
        }
        self.refill(id, now);
    }

    /// During a long throttle, a request is granted as the probe that is due, or refused.
    fn request_probe(&mut self, request: &CallRequest, now: MonoTime) -> CallAdmission {
        let has_room = self.fits(request, self.ceiling(request.class));
        if has_room && self.throttle.probe(request.calls, now) {
            self.take(request, false, now);
            return CallAdmission::Granted(request.calls);
        }
        CallAdmission::Refused(self.refuse(request, now))
    }

    /// Grants the next queued request that is possible now. Repeat it until it returns `None`, after
    /// every change and at [`Self::next_wakeup`].
    pub fn grant(&mut self, now: MonoTime) -> Option<(CallRequestId, CallRequest)> {
        self.expire(now);
        // What would end after its deadline is not sent: its result would be unknown.
        let takes = |request: &CallRequest| self.typical_latency.saturating_mul(request.calls);
        self.queue.retain(|_, request| request.deadline > now.saturating_add(takes(request)));
        for (id, request, offer) in self.candidates(now) {
            if self.may_go(&request, &offer, now) {
                self.queue.remove(&id);
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
    pub fn next_wakeup(&mut self, now: MonoTime) -> Option<MonoTime> {
        if self.queue.is_empty() {
            return None;
        }
        if let Some(left) = self.throttle.left(now) {
            return Some(now + left);
        }
        let opens = self.candidates(now).into_iter().map(|(_, _, offer)| offer.opens);
        let leaves =
            [self.log.nth(1), self.external.nth(1), Some(self.throttle.opens(0, self.gap(), now))];
        let times = opens.chain(leaves.into_iter().flatten()).filter(|at| *at > now);
        Some(times.chain([now + self.settings.window / CHECKS_PER_WINDOW]).min().unwrap_or(now))
    }

    /// Removes a request from the queue, if it is still there.
    pub fn cancel(&mut self, id: CallRequestId) -> Option<CallRequest> {
        self.queue.remove(&id)
    }

    /// Refuses a request that cannot be served before its deadline. `id` names it if it was queued.
    pub fn reject(
        &mut self,
        id: Option<CallRequestId>,
        request: &CallRequest,
        now: MonoTime,
    ) -> CallRefusal {
        self.expire(now);
        id.and_then(|id| self.queue.remove(&id));
        self.clients.register(request.account, now);
        self.refuse(&self.clamped(*request), now)
    }

    /// Refuses the next queued request during a long throttle, when nothing may wait.
    pub fn reject_next(&mut self, now: MonoTime) -> Option<(CallRequestId, CallRefusal)> {
        self.throttle.next_probe(now)?;
        let (id, request) = self.queue.pop_first()?;
        Some((id, self.refuse(&request, now)))
    }

    /// Records that a call has ended.
    pub fn finish_call(&mut self, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.log.record(now, 1);
    }

    /// Takes back granted calls that were not made.
    pub fn return_calls(&mut self, account: BudgetAccount, calls: u32) {
        self.in_flight = self.in_flight.saturating_sub(u64::from(calls));
        if let Some(client) = self.clients.get_mut(account.id) {
            client.give_back(calls.into());
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
        let ours = ours.saturating_add(self.calls_elsewhere());
        let others = count.saturating_sub(ours).min(self.settings.limit);
        let new = others.saturating_sub(self.external.len());
        if new > 0 && !reset.is_zero() {
            self.external.record_until(now + reset.min(self.settings.window * 2), new);
        }
    }

    /// How many calls new writes could make now.
    pub fn room(&mut self, now: MonoTime) -> u64 {
        self.expire(now);
        let room = self.of_credits(self.ceiling(PriorityClass::Write)).saturating_sub(self.used());
        if self.throttle.left(now).is_some() { 0 } else { room }
    }

    /// Who uses the budget.
    pub fn usage(&mut self, now: MonoTime) -> BudgetUsage {
        BudgetUsage {
            available: self.room(now),
            limit: self.settings.limit.min(self.allowed),
            window: self.settings.window,
            waiting: self.queue.len(),
            external: self.external.len(),
            throttled: self.throttle.left(now),
            clients: self.clients.calls().filter(|(_, calls)| *calls > 0).collect(),
        }
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
        self.external.expire(now);
        self.clients.expire(now);
    }

    /// Calls that occupy the window.
    fn used(&self) -> u64 {
        // The limit of all replicas is lowered for calls of others.
        let others = if self.credits.is_none() { self.external.len() } else { 0 };
        let ended = self.log.len().min(self.log.since(self.credits_from));
        self.in_flight.saturating_add(ended).saturating_add(others)
    }

    /// Books granted calls.
    fn take(&mut self, request: &CallRequest, lent: bool, now: MonoTime) {
        let calls = u64::from(request.calls);
        self.in_flight = self.in_flight.saturating_add(calls);
        self.throttle.granted(request.calls, self.gap(), now);
        if lent {
            self.lending.take(request.class, calls);
        }
        if let Some(client) = self.clients.get_mut(request.account.id) {
            client.all.record(now, calls);
            if !lent {
                client.take(calls, request.class, now);
            }
            self.virtual_time = self.virtual_time.max(client.start_tag);
            client.start_tag += float(calls) / float(client.weight);
        }
    }
}

#[cfg(test)]
mod tests;
