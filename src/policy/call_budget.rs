//! The call budget: how many calls may be made, and who makes the next.
//!
//! 1. A sliding-window log never holds more calls than the limit. A call occupies it from its grant
//!    until one window after its end, since upstream counts it at some moment in between. What was
//!    granted and is not used frees its place at once.
//! 2. Each class may fill the window up to its ceiling only, and reads always have a fifth of it.
//! 3. Each client owns a share by weight. It may burst up to it; once its requests have to wait, they
//!    are served at an even pace. The rest is lent, also at an even pace (`priority`).
//! 4. Clients take turns by start-time fair queueing (`fair_queue`).
//! 5. What cannot be served before its deadline is refused, with an estimate (`estimate`).
//! 6. An upstream that throttles overrides all of this (`throttle_window`); its headers correct the
//!    count (`external_usage`).

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

/// Weight of a new measurement of how long a call takes: one in so many.
const SMOOTHING: u32 = 8;
/// While requests wait, they are looked at so often in a window: shares grow with time.
const LOOKS: u32 = 100;

/// When a call started, and what upstream may have counted by then.
#[derive(Clone, Copy, Debug)]
pub struct CallStart {
    at: MonoTime,
    gone: u64,
}

/// The budget of one token.
#[derive(Clone, Debug)]
pub struct TokenBudget {
    settings: BudgetSettings,
    /// The limit that upstream names; [`u64::MAX`] if it names none.
    allowed: u64,
    /// Calls that were granted and have not ended.
    in_flight: u64,
    log: SlidingWindowLog,
    /// Reads and read-backs of the window, by the time of their grant.
    reads: SlidingWindowLog,
    external: ExternalUsage,
    clients: ClientUsages,
    queue: FairQueue,
    /// The pace at which calls are lent.
    loans: CallPace,
    throttle: ThrottleWindow,
    /// What a call typically takes.
    typical: Duration,
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
            loans: CallPace::ALWAYS,
            throttle: ThrottleWindow::new(window),
            typical: Duration::ZERO,
        }
    }

    /// Gives each of these clients its share from now on, also before it has called at all.
    pub fn set_known_clients(&mut self, accounts: &[BudgetAccount], now: MonoTime) {
        self.expire(now);
        self.clients.configure(accounts, now);
    }

    /// Grants calls, queues the request, or refuses it. Ask [`Self::grant`] after a request was
    /// queued: it may not have to wait.
    pub fn request(&mut self, request: CallRequest, now: MonoTime) -> CallAdmission {
        self.expire(now);
        let request = self.whole(request);
        self.clients.register(request.account, now);
        let refused = (request.priority, request.calls);
        if self.throttle.next_probe(now).is_some() {
            let ceiling = self.ceiling(request.priority);
            let has_room = self.used() + u64::from(request.calls) <= ceiling;
            if has_room && self.throttle.probe(request.calls, now) {
                self.take(&request, false, now);
                return CallAdmission::Granted(request.calls);
            }
            return CallAdmission::Refused(self.refuse(request.account, refused, now));
        }
        if self.queue.is_empty() && request.deadline > now {
            let offer = self.offer(&request, self.kept(request.priority, now), now);
            if self.may_go(&request, offer, now) {
                self.take(&request, offer.lent, now);
                return CallAdmission::Granted(request.calls);
            }
        }
        let expected = self.expected(&request, now);
        if self.is_late(&request, expected, now) {
            return CallAdmission::Refused(self.refuse(request.account, refused, now));
        }
        if expected > now {
            let client = self.clients.register(request.account, now);
            client.pace[request.priority as usize].hold(now, now + self.settings.window);
        }
        CallAdmission::Queued(self.queue.push(request), expected)
    }

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

    /// The next request that can be granted now, with its calls. Ask until there is none, after
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
                // It waits for room. Nobody overtakes it, or writes would starve behind reads.
                return None;
            }
        }
        None
    }

    /// When there may be something to grant, if nothing happens before. `None` if nobody waits.
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
        let look = now + self.settings.window / LOOKS;
        Some(wakes.map_or(look, |at| at.min(look)))
    }

    /// Takes a request out of the queue, if it is there.
    pub fn cancel(&mut self, id: CallRequestId) -> Option<CallRequest> {
        self.queue.remove(id)
    }

    /// Refuses a request that cannot be served before its deadline; also one that waits.
    pub fn turn_away(
        &mut self,
        id: Option<CallRequestId>,
        (account, priority, calls): (BudgetAccount, CallPriority, u32),
        now: MonoTime,
    ) -> CallRefusal {
        self.expire(now);
        id.and_then(|id| self.queue.remove(id));
        self.refuse(account, (priority, calls), now)
    }

    /// The next request that waits in vain, since all are refused at once.
    pub fn reject_next(&mut self, now: MonoTime) -> Option<(CallRequestId, CallRefusal)> {
        self.throttle.next_probe(now)?;
        let id = self.queue.first()?;
        let request = self.queue.remove(id)?;
        Some((id, self.refuse(request.account, (request.priority, request.calls), now)))
    }

    /// A call has ended.
    pub fn spent(&mut self, account: BudgetAccount, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.log.record(now, 1);
        if let Some(client) = self.clients.get_mut(account.id) {
            client.release(1, true, now);
        }
    }

    /// Calls were granted and not made.
    pub fn returned(&mut self, account: BudgetAccount, calls: u32, now: MonoTime) {
        self.in_flight = self.in_flight.saturating_sub(u64::from(calls));
        if let Some(client) = self.clients.get_mut(account.id) {
            client.release(u64::from(calls), false, now);
        }
    }

    /// Whether a granted call may start now. One granted before a 429 may not.
    pub fn start(&mut self, now: MonoTime) -> Option<CallStart> {
        self.expire(now);
        let gone = self.log.gone();
        self.throttle.may_start(now).then_some(CallStart { at: now, gone })
    }

    /// A call was answered with 429 and this `Retry-After`. Over three minutes, all requests that
    /// wait are to be refused ([`Self::reject_next`]).
    pub fn throttled(&mut self, wait: Duration, now: MonoTime) {
        self.throttle.begin(wait, now);
    }

    /// A call was answered, and not with 429.
    pub fn answered(&mut self, start: CallStart, now: MonoTime) {
        let took = now.saturating_sub(start.at);
        self.typical = if self.typical.is_zero() {
            took
        } else {
            (self.typical * (SMOOTHING - 1)).saturating_add(took) / SMOOTHING
        };
        self.throttle.answered(start.at, now);
    }

    /// The headers of an answer. What upstream counted and we did not are calls of others with the
    /// same token; they go when upstream says so, and within two windows whatever it says. A limit
    /// of 0 counts as none: an upstream that means it answers 429.
    pub fn corrected(&mut self, start: CallStart, headers: RateLimitHeaders, now: MonoTime) {
        self.expire(now);
        if let Some(allowed) = headers.allowed.filter(|allowed| *allowed > 0) {
            self.allowed = allowed;
        }
        let (Some(count), Some(reset)) = (headers.count, headers.reset) else { return };
        // What has left since the call started may still have been counted.
        let ours = self.in_flight.saturating_add(self.log.since(start.gone));
        let others = count.saturating_sub(ours).min(self.settings.limit);
        let new = others.saturating_sub(self.external.calls());
        if new > 0 && !reset.is_zero() {
            self.external.add(now + reset.min(self.settings.window * 2), new);
        }
    }

    /// Calls that new writes could make now.
    pub fn room(&mut self, now: MonoTime) -> u64 {
        self.expire(now);
        let room = self.ceiling(CallPriority::Write).saturating_sub(self.used());
        if self.throttle.left(now).is_some() { 0 } else { room }
    }

    /// For how long upstream wants no calls.
    pub fn throttle_left(&self, now: MonoTime) -> Option<Duration> {
        self.throttle.left(now)
    }

    /// Whether no request waits.
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

    fn used(&self) -> u64 {
        self.in_flight.saturating_add(self.log.len()).saturating_add(self.external.calls())
    }

    fn take(&mut self, request: &CallRequest, lent: bool, now: MonoTime) {
        let (calls, class) = (request.calls, request.priority);
        let loan_gap = if lent { self.loan_gap(class, now) } else { Duration::ZERO };
        let client = self.clients.get(request.account.id);
        let own_gap = client.map_or(Duration::ZERO, |client| self.own_gap(client, class));
        self.in_flight = self.in_flight.saturating_add(u64::from(calls));
        self.throttle.granted(calls, pace::gap(self.settings.window, self.limit()), now);
        if class >= CallPriority::Read {
            self.reads.record(now, u64::from(calls));
        }
        if lent {
            self.loans.take(calls, loan_gap, now);
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
