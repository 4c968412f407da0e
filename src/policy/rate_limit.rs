//! How many calls may be made, and who makes the next: a sliding window that never admits too many.
//!
//! A call occupies the window from its grant until one window after its end: upstream counts it at
//! some moment between its sending and its answer, and only counting from the end is never too
//! early. What was granted and is not used frees its place at once.
//!
//! The wish at the head of the queue waits until it can have all of its calls; nobody overtakes it,
//! or the three calls of a write would starve behind single ones. An upstream that throttles
//! overrides the window (`throttle`), its headers correct it (`foreign`). When a wish would be
//! granted is reckoned in `estimate`.

mod estimate;
mod fair;
mod foreign;
mod ledger;
mod payers;
mod promises;
mod queue;
mod shares;
mod terms;
mod throttle;

use std::time::Duration;

use self::foreign::Foreign;
pub use self::foreign::Told;
use self::ledger::Ledger;
pub use self::payers::Payer;
use self::payers::Payers;
use self::promises::Promises;
use self::queue::Queue;
pub use self::queue::WishId;
pub use self::terms::{Priority, RateSettings, Refusal, Verdict, Want};
use self::throttle::Throttle;
use super::Moment;

/// Weight of a new measurement of how long a call takes: one in so many.
const SMOOTHING: u32 = 8;

/// When a call started, and what upstream may have counted by then.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    at: Moment,
    gone: u64,
}

/// The budget of one token.
#[derive(Clone, Debug)]
pub struct RateLimit {
    settings: RateSettings,
    /// What upstream says that it grants; [`u64::MAX`] if it says nothing.
    allowed: u64,
    held: u64,
    spent: Ledger,
    foreign: Foreign,
    /// Reads of the last window, for their share.
    reads: Ledger,
    queue: Queue,
    payers: Payers,
    /// While there are several: when calls can be lent again.
    next_loan: Moment,
    promises: Promises,
    throttle: Throttle,
    /// What a call typically takes.
    typical: Duration,
    /// Most calls that were ever wanted together.
    largest: u32,
}

impl RateLimit {
    /// An unused budget.
    pub fn new(settings: RateSettings) -> Self {
        let RateSettings { limit, window, .. } = settings;
        Self {
            settings,
            allowed: u64::MAX,
            held: 0,
            spent: Ledger::new(window, limit),
            foreign: Foreign::default(),
            reads: Ledger::new(window, limit),
            queue: Queue::default(),
            payers: Payers::new(window, limit),
            next_loan: Moment::ZERO,
            promises: Promises::default(),
            throttle: Throttle::new(window),
            typical: Duration::ZERO,
            largest: 1,
        }
    }

    /// Sees to it that each of these has its share from the beginning, before it has called at all.
    pub fn expect(&mut self, payers: &[Payer], now: Moment) {
        self.expire(now);
        for payer in payers {
            self.payers.meet(*payer, (self.held, &self.spent, &mut self.promises), now);
        }
        self.payers.expect(payers);
    }

    /// Grants calls, puts the wish into the queue, or refuses it. After a wish was put into the
    /// queue, [`Self::grant`] is to be asked: it may not have to wait after all.
    pub fn book(&mut self, want: Want, now: Moment) -> Verdict {
        self.expire(now);
        self.payers.meet(want.payer, (self.held, &self.spent, &mut self.promises), now);
        let want = Want { calls: self.whole(want.calls, want.priority), ..want };
        self.largest = self.largest.max(want.calls);
        if self.throttle.fails_fast(now) {
            return self.probed(want, now);
        }
        if self.queue.is_empty() && want.deadline > now && self.is_free(want, now) {
            self.take(want, now);
            return Verdict::Granted(want.calls);
        }
        let expected = self.expected(want, now);
        if self.is_late(want, expected, now) {
            return Verdict::Refused(self.refuse(want.payer, want.calls, now));
        }
        Verdict::Queued(self.queue.push(want), expected)
    }

    fn probed(&mut self, want: Want, now: Moment) -> Verdict {
        let has_room = self.available(want.priority) >= u64::from(want.calls);
        if has_room && self.throttle.probe(want.calls, now) {
            self.take(want, now);
            return Verdict::Granted(want.calls);
        }
        Verdict::Refused(self.refuse(want.payer, want.calls, now))
    }

    /// The next wish that can be granted now, with its calls. To be asked until there is none, after
    /// everything that happens and at the time that [`Self::wakes`] tells.
    pub fn grant(&mut self, now: Moment) -> Option<(WishId, u32)> {
        self.expire(now);
        loop {
            let (id, want) = self.head()?;
            if want.deadline <= now {
                self.queue.remove(id);
                continue;
            }
            // The window may have shrunk since the wish was put into the queue.
            let want = Want { calls: self.whole(want.calls, want.priority), ..want };
            if !self.is_free(want, now) {
                return None;
            }
            self.queue.remove(id);
            self.take(want, now);
            return Some((id, want.calls));
        }
    }

    /// When there may be something to grant, if nothing happens before. `None`: then only.
    pub fn wakes(&self, now: Moment) -> Option<Moment> {
        let (_, want) = self.head()?;
        let calls = self.whole(want.calls, want.priority);
        let rank = self.rank(u64::from(calls), self.capacity(want.priority));
        let place = if rank == 0 { Some(now) } else { self.release(rank) };
        let place = if self.is_due(want, now) { place } else { Some(self.next_look(now)) };
        let grant = place.map(|place| place.max(self.throttle.opens(now)));
        // With the share of reads another wish comes to the head; with every call that leaves, that
        // of another payer.
        let turn = self.queue.heads(Priority::Read).next().and_then(|_| self.reads.nth(1));
        let other = self.payers.are_several().then(|| self.next_to_leave()).flatten();
        [grant, turn, other].into_iter().flatten().min()
    }

    /// Takes a wish out of the queue, if it is there.
    pub fn cancel(&mut self, id: WishId) -> Option<Want> {
        self.queue.remove(id)
    }

    /// Takes a wish out of the queue whose time has come, and tells it when to return.
    pub fn give_up(&mut self, id: WishId, calls: u32, now: Moment) -> Refusal {
        self.expire(now);
        let payer = self.queue.remove(id).map_or(Payer::NOBODY, |want| want.payer);
        self.refuse(payer, calls, now)
    }

    /// Tells somebody who cannot wait for the calls that others have booked when to return.
    pub fn turned_away(&mut self, payer: Payer, calls: u32, now: Moment) -> Refusal {
        self.expire(now);
        self.refuse(payer, calls, now)
    }

    /// A call has ended.
    pub fn spent(&mut self, payer: Payer, now: Moment) {
        self.held = self.held.saturating_sub(1);
        self.spent.record(now, 1);
        self.payers.spent(payer.id, now);
    }

    /// Calls were granted and not made.
    pub fn returned(&mut self, payer: Payer, calls: u32) {
        self.held = self.held.saturating_sub(u64::from(calls));
        self.payers.returned(payer.id, calls);
    }

    /// Calls were granted to a wish of whom nobody knows any more.
    pub fn forsaken(&mut self, id: WishId, calls: u32) {
        self.returned(Payer { id: id.payer, ..Payer::NOBODY }, calls);
    }

    /// Whether a call that was granted may start now. One granted before a 429 may not.
    pub fn start(&mut self, now: Moment) -> Option<Start> {
        self.expire(now);
        let gone = self.spent.gone();
        self.throttle.may_start(now).then_some(Start { at: now, gone })
    }

    /// A call was answered with 429, to be heeded for `wait`. Over three minutes, everybody who
    /// waits is to be refused ([`Self::turn_away`]).
    pub fn throttled(&mut self, wait: Duration, now: Moment) {
        self.throttle.begin(wait, now);
    }

    /// The next of those who wait in vain, since all are refused at once.
    pub fn turn_away(&mut self, now: Moment) -> Option<(WishId, Refusal)> {
        if !self.throttle.fails_fast(now) {
            return None;
        }
        let id = self.queue.any()?;
        let want = self.queue.remove(id)?;
        Some((id, self.refuse(want.payer, want.calls, now)))
    }

    /// A call was answered, and not with 429.
    pub fn answered(&mut self, start: Start, now: Moment) {
        let took = now.saturating_sub(start.at);
        self.typical = if self.typical.is_zero() {
            took
        } else {
            (self.typical * (SMOOTHING - 1)).saturating_add(took) / SMOOTHING
        };
        if self.throttle.answered(start.at, now) {
            self.promises.clear();
            self.payers.forget_promises();
        }
    }

    /// Upstream told of its counting, in the answer to a call. What it counted and we did not are
    /// calls of others with the same token; they go when upstream says so, and within two windows
    /// whatever it says. A limit of nothing is taken for none: an upstream that means it says 429.
    pub fn corrected(&mut self, start: Start, told: Told, now: Moment) {
        self.expire(now);
        if let Some(allowed) = told.allowed.filter(|allowed| *allowed > 0) {
            self.allowed = allowed;
        }
        let (Some(count), Some(reset)) = (told.count, told.reset) else { return };
        // What has left since the call started may still have been counted.
        let ours = self.held.saturating_add(self.spent.since(start.gone));
        let others = count.saturating_sub(ours).min(self.settings.limit);
        let new = others.saturating_sub(self.foreign.calls());
        if new > 0 && !reset.is_zero() {
            self.foreign.add(now + reset.min(self.settings.window * 2), new);
        }
    }

    /// Calls that could be granted now.
    pub fn room(&mut self, now: Moment) -> u64 {
        self.expire(now);
        if self.throttle.left(now).is_some() { 0 } else { self.available(Priority::Read) }
    }

    /// For how long upstream wants no calls.
    pub fn throttle_left(&self, now: Moment) -> Option<Duration> {
        self.throttle.left(now)
    }

    /// Whether nobody waits.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn expire(&mut self, now: Moment) {
        self.spent.expire(now);
        self.foreign.expire(now);
        self.reads.expire(now);
        self.promises.expire(now);
        let queue = &self.queue;
        self.payers.expire(now, |payer| queue.waits(payer));
    }

    fn used(&self) -> u64 {
        self.held.saturating_add(self.spent.len()).saturating_add(self.foreign.calls())
    }

    fn available(&self, priority: Priority) -> u64 {
        self.capacity(priority).saturating_sub(self.used())
    }

    fn is_free(&self, want: Want, now: Moment) -> bool {
        self.available(want.priority) >= u64::from(want.calls)
            && self.throttle.opens(now) <= now
            && self.is_due(want, now)
    }

    fn take(&mut self, want: Want, now: Moment) {
        let lent = self.lend(want, now);
        self.payers.take(want.payer.id, (want.calls, lent), now);
        self.held = self.held.saturating_add(u64::from(want.calls));
        self.throttle.granted(want.calls, self.gap(), now);
        // Beyond the whole window it makes no difference how many there were.
        if want.priority == Priority::Read && self.reads.len() < self.limit() {
            self.reads.record(now, u64::from(want.calls));
        }
    }
}

#[cfg(test)]
mod fairness;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
