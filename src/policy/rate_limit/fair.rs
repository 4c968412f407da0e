//! The window among several payers: each has its share by weight, and what it does not need is lent.
//!
//! Whoever has less of the window than its share goes first. Beyond its share a payer borrows: only
//! what is not kept for others, and evenly over the window, so that calls come free evenly as well
//! and nobody who begins has to wait for the end of another's burst. So a payer within its share is
//! served as if it were alone, whatever the others ask for; and nearly all of what is left goes to
//! whoever wants it.

use std::time::Duration;

use super::payers::Account;
use super::{Priority, RateLimit, Want, WishId};
use crate::policy::Moment;

/// How much of the window a borrower that was kept from its turn may catch up on: one part in so many.
const CATCH_UP: u32 = 50;
/// How much later than reckoned a borrower expects its calls: one part of its wait in so many.
const MARGIN: u32 = 8;
/// How often a window it is looked whether a borrower can go on: what is kept changes with time.
const LOOKS: u32 = 50;
/// Reads of one payer get at least one in so many of its calls, whatever writes it has.
const WRITES_BEFORE_A_READ: u64 = 4;

/// The other payers, as they stand while a place is looked for: what does not depend on the place is
/// found out once, since there may be thousands of them.
struct Others<'a> {
    /// Those who have calls in the window, or wait for some.
    busy: Vec<Other<'a>>,
    /// What is kept for the rest.
    kept_for_idle: u64,
    /// Distance of borrowed calls.
    gap: Duration,
}

struct Other<'a> {
    account: &'a Account,
    waiting: u64,
    kept: u64,
}

impl RateLimit {
    /// Of the first of each payer's line, the one of whom has least of the window for its weight.
    pub(super) fn least_served(
        &self,
        priority: Priority,
        group: impl Fn(u64) -> bool,
    ) -> Option<(WishId, Want)> {
        let heads = self.queue.heads(priority).filter(|(id, _)| group(id.payer));
        heads.min_by(|(one, _), (other, _)| {
            let (a, b) = (self.level(one.payer), self.level(other.payer));
            // used / weight, without a division
            (a.0 * b.1).cmp(&(b.0 * a.1)).then(one.number.cmp(&other.number))
        })
    }

    fn level(&self, payer: u64) -> (u128, u128) {
        let account = self.payers.get(payer);
        account.map_or((0, 1), |account| (account.used().into(), account.weight().into()))
    }

    /// Whether a payer has less of the window than its share.
    pub(super) fn is_under_its_share(&self, payer: u64) -> bool {
        let capacity = self.capacity(Priority::Write);
        self.payers
            .get(payer)
            .is_none_or(|account| account.own() < self.payers.share(account, capacity))
    }

    /// Whether nobody else is wronged if `want` is granted: it is within the share, part of a write
    /// that has begun, or can be borrowed.
    pub(super) fn is_due(&self, want: Want, now: Moment) -> bool {
        !self.payers.are_several()
            || want.priority == Priority::Admitted
            || self.is_under_its_share(want.payer.id)
            || (self.next_loan <= now
                && self.used() + u64::from(want.calls) + self.kept_from(want.payer.id, now)
                    <= self.capacity(want.priority))
    }

    /// Calls that are kept free for others.
    fn kept_from(&self, payer: u64, now: Moment) -> u64 {
        let others = self.payers.iter().filter(|(id, _)| *id != payer);
        others.map(|(id, account)| self.kept(id, account, now).saturating_sub(account.used())).sum()
    }

    fn kept(&self, id: u64, account: &Account, now: Moment) -> u64 {
        let capacity = self.capacity(Priority::Write);
        self.payers.kept(account, self.queue.waits(id), capacity, now)
    }

    /// Takes note of calls that are about to be granted; `true` if it is beyond a share.
    pub(super) fn lend(&mut self, want: Want, now: Moment) -> bool {
        if !self.payers.are_several() || self.is_under_its_share(want.payer.id) {
            return false;
        }
        let earliest = now.saturating_sub(self.settings.window / CATCH_UP);
        let gap = self.loan_gap(now).saturating_mul(want.calls);
        self.next_loan = self.next_loan.max(earliest).saturating_add(gap);
        true
    }

    /// Distance of borrowed calls that spreads all there is to lend over the window.
    fn loan_gap(&self, now: Moment) -> Duration {
        let capacity = self.capacity(Priority::Write);
        let spare = |(id, account): (u64, &Account)| {
            self.payers.share(account, capacity).saturating_sub(self.kept(id, account, now))
        };
        // A share is one call at least: with many payers their sum is more than there is.
        let spare = self.payers.iter().map(spare).sum::<u64>().min(capacity);
        let gap = self.settings.window.as_nanos().div_ceil(u128::from(spare.max(1)));
        Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX))
    }

    /// When the next call leaves the window, or is lent no more.
    pub(super) fn next_to_leave(&self) -> Option<Moment> {
        let lent = self.payers.iter().filter_map(|(_, account)| account.next_loan_to_end()).min();
        [lent, self.spent.nth(1)].into_iter().flatten().min()
    }

    /// When somebody who borrows may be able to, at the latest.
    pub(super) fn next_look(&self, now: Moment) -> Moment {
        let look = now + self.settings.window / LOOKS;
        let loan = Some(self.next_loan).filter(|loan| *loan > now);
        loan.map_or(look, |loan| loan.min(look))
    }

    /// When `want` would be granted among several payers, `promised` calls of its own before it.
    pub(super) fn expected_among_others(&self, want: Want, promised: u64, now: Moment) -> Moment {
        let Some(account) = self.payers.get(want.payer.id) else {
            return self.opens_after(self.queue.all_calls() + promised, want, now);
        };
        let place = self.ahead_of_its_own(want) + promised + u64::from(want.calls);
        // In each window it gets at least so many, if all others take what is theirs.
        let a_window = self.a_window_of(want, account);
        let (turns, place) = ((place - 1) / a_window, (place - 1) % a_window + 1);
        let place = place.max(u64::from(want.calls));
        let paced = self.throttle.opens_after(place - u64::from(want.calls), self.gap(), now);
        let period = self.settings.window.saturating_add(self.typical);
        let turns = u32::try_from(turns).unwrap_or(u32::MAX);
        let at = self.place_among_others(want, account, place, now);
        // Those who borrow may be passed by others who come later.
        let is_own = self.is_under_its_share(want.payer.id) || want.priority == Priority::Admitted;
        let margin = if is_own { Duration::ZERO } else { at.saturating_sub(now) / MARGIN };
        let at = at.saturating_add(margin).max(paced);
        at.saturating_add(period.saturating_mul(turns))
            .min(now.saturating_add(super::estimate::LONGEST))
    }

    /// Calls for which the same payer waits, and that go first.
    fn ahead_of_its_own(&self, want: Want) -> u64 {
        let waiting = |priority| self.queue.calls_of(want.payer.id, priority);
        let (admitted, writes) = (waiting(Priority::Admitted), waiting(Priority::Write));
        let reads = waiting(Priority::Read);
        match want.priority {
            Priority::Admitted => admitted,
            Priority::Write => admitted + writes + reads.min(writes / WRITES_BEFORE_A_READ + 1),
            Priority::Read => {
                let reads = reads + u64::from(want.calls);
                admitted + reads - u64::from(want.calls) + writes.min(reads * WRITES_BEFORE_A_READ)
            }
            Priority::Extra => admitted + writes + reads + waiting(Priority::Extra),
        }
    }

    /// Calls for which another payer waits in earnest.
    fn waiting_of(&self, payer: u64) -> u64 {
        let classes = &Priority::ALL[..Priority::Extra as usize];
        classes.iter().map(|priority| self.queue.calls_of(payer, *priority)).sum()
    }

    /// Calls of a whole window that a payer gets, if the others take all that they wait for or need.
    fn a_window_of(&self, want: Want, account: &Account) -> u64 {
        let capacity = self.capacity(want.priority);
        let others: u64 = self
            .payers
            .iter()
            .filter(|(id, _)| *id != want.payer.id)
            .map(|(id, other)| {
                let share = self.payers.share(other, capacity);
                if self.queue.waits(id) { share } else { 0 }
            })
            .sum();
        let least = self.payers.share(account, capacity).max(u64::from(want.calls));
        capacity.saturating_sub(others).max(least)
    }

    /// When a payer gets its call number `place` from now, within one window.
    fn place_among_others(&self, want: Want, account: &Account, place: u64, now: Moment) -> Moment {
        let at = |rank| if rank == 0 { Some(now) } else { self.spent.nth(rank) };
        let others = self.others(want.payer.id, now);
        let ready = |rank| self.place_at(want, account, (place, at(rank)?), &others);
        let (mut low, mut high) = (0, self.spent.len() + 1);
        while low < high {
            let rank = u64::midpoint(low, high);
            if rank <= self.spent.len() && ready(rank).is_none_or(|then| Some(then) > at(rank)) {
                low = rank + 1;
            } else {
                high = rank;
            }
        }
        let held = now.saturating_add(self.settings.window).saturating_add(self.typical);
        let last = at(low).unwrap_or(held);
        // It may be lent before the next call leaves.
        low.checked_sub(1).and_then(ready).map_or(last, |then| then.min(last))
    }

    fn others(&self, payer: u64, now: Moment) -> Others<'_> {
        let mut others = Others { busy: Vec::new(), kept_for_idle: 0, gap: self.loan_gap(now) };
        for (id, account) in self.payers.iter().filter(|(id, _)| *id != payer) {
            let (waiting, kept) = (self.waiting_of(id), self.kept(id, account, now));
            if waiting == 0 && account.used() == 0 {
                others.kept_for_idle += kept;
            } else {
                others.busy.push(Other { account, waiting, kept });
            }
        }
        others
    }

    /// When call number `place` is granted, were the window from `then` on as it is then: there is room
    /// for it and for what others get until they are as far. `None` without room.
    fn place_at(
        &self,
        want: Want,
        account: &Account,
        (place, then): (u64, Moment),
        others: &Others<'_>,
    ) -> Option<Moment> {
        let capacity = self.capacity(want.priority);
        // What it has when its turn is to come: those who have less for their weight go first.
        let has = account.used() - account.leaving_by(then) + place - u64::from(want.calls);
        let share = self.payers.share(account, capacity);
        let own = account.own_at(then) + place - u64::from(want.calls);
        let lent = own.checked_sub(share).filter(|_| want.priority != Priority::Admitted);
        let before = |other: &Other<'_>| {
            let level = u128::from(has) * u128::from(other.account.weight());
            let level = level.div_ceil(u128::from(account.weight().max(1)));
            let used = other.account.used() - other.account.leaving_by(then);
            let level = u64::try_from(level).unwrap_or(u64::MAX);
            let first = level.saturating_sub(used).min(other.waiting);
            let kept = lent.map_or(0, |_| other.kept.saturating_sub(used));
            first.max(kept)
        };
        let idle = lent.map_or(0, |_| others.kept_for_idle);
        let before = others.busy.iter().map(before).sum::<u64>() + idle;
        let gone = self.spent.leaving_by(then) + self.foreign.leaving_by(then);
        let used = self.used().saturating_sub(gone).saturating_add(place).saturating_add(before);
        if used > capacity {
            return None;
        }
        let Some(lent) = lent else { return Some(then) };
        let lent = u32::try_from(lent).unwrap_or(u32::MAX);
        let gap = others.gap.saturating_mul(lent);
        Some(self.next_loan.saturating_add(gap).max(then))
    }
}
