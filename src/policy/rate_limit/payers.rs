//! For whom calls are made, and what each of them has of the window.
//!
//! Accounts are kept only while there is more than one payer: with one the window is its own, and
//! costs what it cost without accounts. Payers are known beforehand, or learnt from what they book and
//! forgotten when they have booked nothing for an hour.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::ledger::Ledger;
use super::promises::Promises;
use crate::policy::Moment;

/// After so long without a wish a payer has no part in the window any more.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);
/// Of its share, one in so many calls is kept for a payer that makes none.
const KEPT_ONE_IN: u64 = 16;
/// No more than one in so many calls is kept for all who make none to have [`TO_BEGIN`], or one, each.
const KEPT_TO_BEGIN_ONE_IN: u64 = 5;
/// Calls of a write: with less than that kept for it, nobody could begin one at once.
const TO_BEGIN: u64 = 3;
/// How soon the rate of a payer that has just begun is believed, as a part of the window.
const BELIEVED_AFTER: u32 = 8;

/// On whose account calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    /// Tells payers apart.
    pub id: u64,
    /// Its weight among them.
    pub weight: NonZeroU32,
}

impl Payer {
    /// The only one, where payers are not told apart.
    pub const NOBODY: Self = Self { id: 0, weight: NonZeroU32::MIN };
}

/// What one payer has of the window.
#[derive(Clone, Debug)]
pub(super) struct Account {
    weight: u64,
    held: u64,
    spent: Ledger,
    /// Of those in the window, the ones beyond its share, by the time at which they were granted.
    lent: Ledger,
    /// What it was told when it was refused.
    pub(super) promises: Promises,
    /// Most calls that it had in the window, in the period before and in this one.
    most: [u64; 2],
    /// Since when it has had any.
    began: Moment,
    /// When it wished for calls last.
    last: Moment,
    /// It is known whether it calls or not.
    is_expected: bool,
}

impl Account {
    /// Calls of its own in the window.
    pub(super) fn used(&self) -> u64 {
        self.held + self.spent.len()
    }

    /// The same without those that are lent to it.
    pub(super) fn own(&self) -> u64 {
        self.used().saturating_sub(self.lent.len())
    }

    /// When the next of those leaves.
    pub(super) fn next_loan_to_end(&self) -> Option<Moment> {
        self.lent.nth(1)
    }

    /// How many of its own have left at `then`.
    pub(super) fn own_at(&self, then: Moment) -> u64 {
        let lent = self.lent.len() - self.lent.leaving_by(then);
        (self.used() - self.leaving_by(then)).saturating_sub(lent)
    }

    /// How many of them have left at `then`, calls under way not counted.
    pub(super) fn leaving_by(&self, then: Moment) -> u64 {
        self.spent.leaving_by(then)
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Calls that it will have in a window at the rate that it has now, or had lately.
    fn demand(&self, window: Duration, now: Moment) -> u64 {
        let for_now = now.saturating_sub(self.began).clamp(window / BELIEVED_AFTER, window);
        let rate = u128::from(self.used()) * window.as_nanos() / for_now.as_nanos().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX).max(self.most[0]).max(self.most[1])
    }
}

/// All payers of one budget.
#[derive(Clone, Debug)]
pub(super) struct Payers {
    window: Duration,
    limit: u64,
    /// The only one so far.
    alone: Option<Payer>,
    accounts: BTreeMap<u64, Account>,
    weights: u64,
    /// When the next period begins.
    period: Moment,
}

impl Payers {
    pub(super) fn new(window: Duration, limit: u64) -> Self {
        let (accounts, period) = (BTreeMap::new(), Moment::ZERO);
        Self { window, limit, alone: None, accounts, weights: 0, period }
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        !self.accounts.is_empty()
    }

    /// Takes note of whoever wishes for calls; `whole` is what all have of the window.
    pub(super) fn meet(&mut self, payer: Payer, whole: (u64, &Ledger, &mut Promises), now: Moment) {
        if self.accounts.is_empty() {
            let Some(other) = self.alone.filter(|alone| alone.id != payer.id) else {
                self.alone = Some(payer);
                return;
            };
            let (held, spent, promises) = whole;
            let account = Account {
                held,
                spent: spent.clone(),
                promises: std::mem::take(promises),
                most: [held + spent.len(); 2],
                ..self.fresh(other, now)
            };
            self.weights = account.weight;
            self.accounts.insert(other.id, account);
        }
        let fresh = self.fresh(payer, now);
        let account = self.accounts.entry(payer.id).or_insert_with(|| {
            self.weights += fresh.weight;
            fresh
        });
        account.last = now;
        // Weights change with the configuration.
        let weight = u64::from(payer.weight.get());
        self.weights = self.weights - std::mem::replace(&mut account.weight, weight) + weight;
    }

    fn fresh(&self, payer: Payer, now: Moment) -> Account {
        Account {
            weight: u64::from(payer.weight.get()),
            held: 0,
            spent: Ledger::new(self.window, self.limit),
            lent: Ledger::new(self.window, self.limit),
            promises: Promises::default(),
            most: [0; 2],
            began: now,
            last: now,
            is_expected: false,
        }
    }

    /// Expects these, and no others any more.
    pub(super) fn expect(&mut self, payers: &[Payer]) {
        for account in self.accounts.values_mut() {
            account.is_expected = false;
        }
        for payer in payers {
            if let Some(account) = self.accounts.get_mut(&payer.id) {
                account.is_expected = true;
            }
        }
    }

    /// Calls were granted, within its share or `lent`.
    pub(super) fn take(&mut self, id: u64, (calls, lent): (u32, bool), now: Moment) {
        if let Some(account) = self.accounts.get_mut(&id) {
            if lent {
                account.lent.record(now, u64::from(calls));
            }
            if account.used() == 0 {
                account.began = now;
            }
            account.held += u64::from(calls);
            account.most[1] = account.most[1].max(account.used());
        }
    }

    /// A call that was granted has ended.
    pub(super) fn spent(&mut self, id: u64, now: Moment) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.held = account.held.saturating_sub(1);
            account.spent.record(now, 1);
        }
    }

    /// Calls were granted and not made.
    pub(super) fn returned(&mut self, id: u64, calls: u32) {
        if let Some(account) = self.accounts.get_mut(&id) {
            account.held = account.held.saturating_sub(u64::from(calls));
        }
    }

    /// Lets go of what has left, and of whom nothing was heard for long. `waits` tells who waits.
    pub(super) fn expire(&mut self, now: Moment, waits: impl Fn(u64) -> bool) {
        if self.accounts.is_empty() {
            return;
        }
        for account in self.accounts.values_mut() {
            account.spent.expire(now);
            account.lent.expire(now);
            account.promises.expire(now);
        }
        if now < self.period {
            return;
        }
        self.period = now + self.window;
        for account in self.accounts.values_mut() {
            account.most = [account.most[1], account.used()];
        }
        self.accounts.retain(|id, account| {
            let is_late = now >= account.last + FORGOTTEN_AFTER;
            account.is_expected || account.used() > 0 || !is_late || waits(*id)
        });
        self.weights = self.accounts.values().map(|account| account.weight).sum();
        if let (1, Some((id, last))) = (self.accounts.len(), self.accounts.first_key_value()) {
            let weight = u32::try_from(last.weight).ok().and_then(NonZeroU32::new);
            self.alone = weight.map(|weight| Payer { id: *id, weight });
            self.accounts.clear();
        }
    }

    /// Takes all promises back: what they were reckoned from has changed.
    pub(super) fn forget_promises(&mut self) {
        self.accounts.values_mut().for_each(|account| account.promises.clear());
    }

    pub(super) fn get(&self, id: u64) -> Option<&Account> {
        self.accounts.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Account> {
        self.accounts.get_mut(&id)
    }

    /// All of them, with their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Account)> {
        self.accounts.iter().map(|(id, account)| (*id, account))
    }

    /// The weights of all.
    #[cfg(test)]
    pub(super) fn weights(&self) -> u64 {
        self.weights
    }

    /// The part of `capacity` that is due to a payer.
    pub(super) fn share(&self, account: &Account, capacity: u64) -> u64 {
        let share = u128::from(capacity) * u128::from(account.weight);
        let share = share / u128::from(self.weights.max(1));
        u64::try_from(share).unwrap_or(u64::MAX).max(1)
    }

    /// What of its share nobody else gets: all while it waits, else what it will need at its rate, and
    /// something to begin with.
    pub(super) fn kept(&self, account: &Account, waits: bool, capacity: u64, now: Moment) -> u64 {
        let share = self.share(account, capacity);
        if waits {
            return share;
        }
        account.demand(self.window, now).saturating_add(self.to_begin(share, capacity)).min(share)
    }

    /// What is kept for a payer that makes no calls. Of all of them together that is no more than a
    /// little over a quarter, however many there are: else nobody could use what they do not need.
    fn to_begin(&self, share: u64, capacity: u64) -> u64 {
        let fits =
            |calls: u64| calls * self.accounts.len() as u64 <= capacity / KEPT_TO_BEGIN_ONE_IN;
        if fits(TO_BEGIN) {
            share.div_ceil(KEPT_ONE_IN).max(TO_BEGIN)
        } else if fits(1) {
            share.div_ceil(KEPT_ONE_IN)
        } else {
            share / KEPT_ONE_IN
        }
    }
}
