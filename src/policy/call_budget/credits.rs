//! Credits: the part of the limit that this replica may use, while replicas share one budget.
//!
//! Shares and paces of clients are those of the whole limit. Only the room in the window is that of
//! the credits, so that a replica whose requests wait can get more credits and go on at once.

use std::time::Duration;

use super::types::{CreditLease, CreditUsage};
use super::{MonoTime, TokenBudget};

/// Groups of calls in a report.
const GROUPS: u32 = 60;

impl TokenBudget {
    /// Changes the credits of this replica. Calls that were granted before still count.
    pub fn set_credits(&mut self, credits: CreditLease) {
        self.credits = Some(credits);
    }

    /// The use of the credits.
    pub fn credit_usage(&mut self, now: MonoTime) -> CreditUsage {
        self.expire(now);
        let mut used = self.log.ages(self.credits_from, GROUPS, now);
        if self.in_flight > 0 {
            used.push((Duration::ZERO, self.in_flight));
        }
        let candidates = self.candidates(now).into_iter();
        let open: Vec<_> = candidates
            .filter(|(_, _, offer)| offer.opens <= now)
            .map(|(_, request, _)| (request.account.id, request.class))
            .collect();
        let waiting =
            self.queue.values().filter(|queued| open.contains(&(queued.account.id, queued.class)));
        CreditUsage {
            in_use: self.used(),
            used,
            waiting: waiting.map(|queued| u64::from(queued.calls)).sum(),
            external: self.external.len(),
            ended: self.log.since(0),
        }
    }

    /// The first `ended` calls use no credits: they are counted elsewhere until they leave the window.
    pub fn restart_credits(&mut self, ended: u64) {
        self.credits_from = ended;
    }

    /// The part of a ceiling that the credits leave to this replica.
    pub(super) fn of_credits(&self, ceiling: u64) -> u64 {
        let Some(CreditLease { spend, .. }) = self.credits else { return ceiling };
        let part =
            (u128::from(ceiling) * u128::from(spend)).div_ceil(u128::from(self.limit().max(1)));
        u64::try_from(part).unwrap_or(u64::MAX).min(spend)
    }

    /// The part of a ceiling that a waiting request can hope for.
    pub(super) fn expected_ceiling(&self, ceiling: u64) -> u64 {
        if self.credits.is_some_and(|credits| credits.can_grow) {
            ceiling
        } else {
            self.of_credits(ceiling)
        }
    }

    /// How many calls other replicas may have made in this window.
    pub(super) fn calls_elsewhere(&self) -> u64 {
        self.credits.map_or(0, |credits| self.settings.limit.saturating_sub(credits.held))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        BudgetAccount, BudgetSettings, CallAdmission, CallRequest, PriorityCeilings, PriorityClass,
        RateLimitHeaders,
    };
    use super::*;

    const WINDOW: Duration = Duration::from_mins(1);

    fn budget(held: u64, can_grow: bool) -> TokenBudget {
        let mut budget = TokenBudget::new(BudgetSettings {
            limit: 300,
            window: WINDOW,
            ceilings: PriorityCeilings::NONE,
        });
        budget.set_credits(CreditLease { held, spend: held, can_grow });
        budget
    }

    fn write(budget: &mut TokenBudget, now: MonoTime) -> CallAdmission {
        let (account, deadline) = (BudgetAccount::SHARED, now + Duration::from_secs(10));
        budget
            .request(CallRequest { calls: 3, class: PriorityClass::Write, deadline, account }, now)
    }

    #[test]
    fn a_request_waits_for_credits_that_may_come_and_is_refused_without_hope() {
        let now = WINDOW;
        let mut growing = budget(3, true);
        assert_eq!(write(&mut growing, now), CallAdmission::Granted(3));
        assert!(matches!(write(&mut growing, now), CallAdmission::Queued(..)));
        assert_eq!(growing.credit_usage(now).waiting, 3);
        growing.set_credits(CreditLease { held: 6, spend: 6, can_grow: true });
        assert!(growing.grant(now).is_some());
        assert_eq!(growing.credit_usage(now).used, [(Duration::ZERO, 6)]);

        let mut full = budget(3, false);
        assert_eq!(write(&mut full, now), CallAdmission::Granted(3));
        assert!(matches!(write(&mut full, now), CallAdmission::Refused(_)));
        let mut none = budget(0, false);
        assert!(matches!(write(&mut none, now), CallAdmission::Refused(_)));
    }

    #[test]
    fn calls_of_other_replicas_are_not_those_of_strangers() {
        let now = WINDOW;
        let mut budget = budget(100, true);
        let start = budget.start(now).expect("no throttle");
        let headers = |count| RateLimitHeaders {
            count: Some(count),
            allowed: None,
            reset: Some(Duration::from_secs(30)),
        };
        budget.apply_headers(start, headers(200), now);
        assert_eq!(budget.credit_usage(now).external, 0);
        budget.apply_headers(start, headers(250), now);
        let usage = budget.credit_usage(now);
        assert_eq!((usage.external, usage.in_use), (50, 0));
    }
}
