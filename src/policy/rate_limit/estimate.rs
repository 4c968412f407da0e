//! When a wish would be granted, without playing the whole queue through.
//!
//! Places in the window come free one by one: those available now, then one with every entry that
//! leaves. With a capacity of N calls, the place after the next N is the same place again, one
//! window and one call later; so any place, however far, is found in a look-up. The result is exact
//! for places within one window, and never too early beyond that.

use std::time::Duration;

use super::{Payer, Priority, RateLimit, Refusal, Want};
use crate::policy::Moment;

/// Nobody plans further ahead.
pub(super) const LONGEST: Duration = Duration::from_hours(24);

/// How often an estimate of who goes first is refined, before all are taken to.
const ROUNDS: u32 = 8;

impl RateLimit {
    /// When `want` would be granted if it were put into the queue and nobody came after it.
    pub(super) fn expected(&self, want: Want, now: Moment) -> Moment {
        if self.payers.are_several() {
            return self.expected_among_others(want, 0, now);
        }
        let waiting = |priority| self.queue.calls(priority);
        let admitted = waiting(Priority::Admitted);
        match want.priority {
            Priority::Admitted => self.opens_after(admitted, want, now),
            Priority::Write => self.expected_write(admitted + waiting(Priority::Write), want, now),
            Priority::Read => self.expected_read(admitted, want, now),
            Priority::Extra => self.opens_after(self.queue.all_calls(), want, now),
        }
    }

    /// A write waits for the reads that go first by their share: what is left of it, and what comes
    /// back to it in the meantime.
    fn expected_write(&self, ahead: u64, want: Want, now: Moment) -> Moment {
        let reads = self.queue.calls(Priority::Read);
        let share = self.share_of_reads();
        if share == 0 {
            return self.opens_after(ahead.saturating_add(reads), want, now);
        }
        let left = share.saturating_sub(self.reads.len());
        let mut first = reads.min(left);
        // Reads that go first make the wait longer, in which more of their share comes back.
        for _ in 0..ROUNDS {
            let expected = self.opens_after(ahead.saturating_add(first), want, now);
            let ahead_of_it = expected.saturating_sub(now).as_nanos();
            let windows = ahead_of_it / self.settings.window.as_nanos().max(1);
            let again = u64::try_from(windows).unwrap_or(u64::MAX).saturating_mul(share);
            let back = self.reads.leaving_by(expected).saturating_add(again);
            let then = reads.min(left.saturating_add(back));
            if then == first {
                return expected;
            }
            first = then;
        }
        self.opens_after(ahead.saturating_add(reads), want, now)
    }

    /// A read goes after all writes, or as soon as the share of reads has a place for it.
    fn expected_read(&self, admitted: u64, want: Want, now: Moment) -> Moment {
        let (reads, writes) = (self.queue.calls(Priority::Read), self.queue.calls(Priority::Write));
        let last =
            self.opens_after(admitted.saturating_add(writes).saturating_add(reads), want, now);
        let share = self.share_of_reads();
        if share == 0 || writes == 0 {
            return last;
        }
        let place = reads.saturating_add(u64::from(want.calls));
        let (turns, place) = ((place - 1) / share, (place - 1) % share + 1);
        let rank = (place + self.reads.len()).saturating_sub(share);
        let turn = if rank == 0 { Some(now) } else { self.reads.nth(rank) };
        let turn = later(turn.unwrap_or(now + self.settings.window), self.settings.window, turns);
        let by_share = self.opens_after(admitted.saturating_add(reads), want, now);
        last.min(self.opening_from(by_share.max(turn), now))
    }

    /// When calls are granted that `ahead` others go before.
    pub(super) fn opens_after(&self, ahead: u64, want: Want, now: Moment) -> Moment {
        let (calls, capacity) = (u64::from(want.calls), self.capacity(want.priority));
        let (turns, place) = self.turn(ahead.saturating_add(calls), capacity);
        let rank = self.rank(place, capacity);
        let free = if rank == 0 { now } else { self.release_or_held(rank, now) };
        let paced = self.throttle.opens_after(place.saturating_sub(calls), self.gap(), now);
        let period = self.settings.window.saturating_add(self.typical);
        later(free.max(paced), period, turns).min(now.saturating_add(LONGEST))
    }

    /// In which turn of the window place number `place` is, counted from 0, and where in it, from 1.
    /// Calls of one wish are granted with the last of them, so they return later than places of
    /// their own would; a few places of each later turn are left out for that.
    fn turn(&self, place: u64, capacity: u64) -> (u64, u64) {
        let Some(beyond) = place.checked_sub(capacity).and_then(|beyond| beyond.checked_sub(1))
        else {
            return (0, place);
        };
        let left_out = 2 * u64::from(self.largest - 1);
        let places = capacity.saturating_sub(left_out).max(1);
        (1 + beyond / places, (beyond % places + 1 + left_out).min(capacity))
    }

    /// The first place that comes free at `then` or after it.
    fn opening_from(&self, then: Moment, now: Moment) -> Moment {
        if self.available(Priority::Read) > 0 || self.spent.nth(1).is_none() {
            return then;
        }
        let before = self.spent.leaving_by(then);
        // A place that came free before was taken by a write at once.
        match self.spent.nth(before.max(1)) {
            Some(at) if at >= then => at,
            _ => self.spent.nth(before + 1).unwrap_or(then.max(now + self.settings.window)),
        }
    }

    /// How many entries have to leave before there is a place number `place`; 0 if it is free.
    pub(super) fn rank(&self, place: u64, capacity: u64) -> u64 {
        place.saturating_add(self.used()).saturating_sub(capacity)
    }

    /// When entry number `rank` leaves; `None` if that is a call that has not ended yet.
    pub(super) fn release(&self, rank: u64) -> Option<Moment> {
        let mut others = 0;
        for group in self.foreign.groups() {
            let ours = self.spent.leaving_by(group.leaves);
            if rank <= ours.saturating_add(others) {
                break;
            }
            if rank <= ours.saturating_add(others).saturating_add(group.calls) {
                return Some(group.leaves);
            }
            others += group.calls;
        }
        self.spent.nth(rank - others)
    }

    /// Calls under way are taken to end after the typical time, counted from now.
    fn release_or_held(&self, rank: u64, now: Moment) -> Moment {
        let held = now.saturating_add(self.settings.window).saturating_add(self.typical);
        self.release(rank).unwrap_or(held)
    }

    /// Whether the answers would not come in time. At most half of the time left is set aside for
    /// them: upstream may be faster than it was.
    pub(super) fn is_late(&self, want: Want, expected: Moment, now: Moment) -> bool {
        let left = want.deadline.saturating_sub(now);
        let calls = self.typical.saturating_mul(want.calls).min(left / 2);
        expected.saturating_add(calls) >= want.deadline
    }

    /// Promises calls for the first time that nobody who waits or was refused before will use.
    pub(super) fn refuse(&mut self, payer: Payer, calls: u32, now: Moment) -> Refusal {
        let want = Want { calls, priority: Priority::Read, deadline: now, payer };
        let at = if let Some(account) = self.payers.get(payer.id) {
            let at = self.expected_among_others(want, account.promises.calls(), now);
            if let Some(account) = self.payers.get_mut(payer.id) {
                account.promises.add(at, u64::from(calls));
            }
            at
        } else {
            let ahead = self.queue.all_calls().saturating_add(self.promises.calls());
            let at = self.opens_after(ahead, want, now);
            self.promises.add(at, u64::from(calls));
            at
        };
        let retry_after = at.saturating_sub(now);
        Refusal { retry_after, throttled: self.throttle.left(now).is_some() }
    }
}

/// So many periods after `at`.
fn later(at: Moment, period: Duration, turns: u64) -> Moment {
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    at.saturating_add(period.saturating_mul(turns))
}
