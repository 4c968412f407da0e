//! Whether a failed attempt is made again: it must be worth it, safe, affordable and in time.
//!
//! The budget ties retries to the traffic there is, so that an outage is met with a fraction more
//! load instead of a multiple of it.

use std::time::Duration;

use super::{Moment, SlidingWindow};

/// Retries allowed per call of the last ten seconds.
const SHARE: f64 = 0.2;
/// Retries allowed in any ten seconds whatever the traffic: one a second, so that a quiet service
/// can retry at all.
const FLOOR: u32 = 10;

/// How many retries the traffic of the last ten seconds pays for.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget {
    window: SlidingWindow,
}

impl RetryBudget {
    /// Counts a first attempt.
    pub fn deposit(&mut self, now: Moment) {
        self.window.record(now, false);
    }

    /// Retries made in the last ten seconds, and how many the traffic pays for.
    pub fn spent(&self, now: Moment) -> (u32, u32) {
        let (events, retries) = self.window.totals(now);
        let share = f64::from(events - retries) * SHARE;
        // A share of a u32 is one, and never negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let allowed = FLOOR.max(share.ceil() as u32);
        (retries, allowed)
    }

    /// Takes one retry out of the budget; `false` if it is spent.
    pub fn withdraw(&mut self, now: Moment) -> bool {
        let (retries, allowed) = self.spent(now);
        let granted = retries < allowed;
        if granted {
            self.window.record(now, true);
        }
        granted
    }
}

/// Why a failed attempt is not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The wait would not fit before the deadline.
    NoTime,
    /// The retry budget is spent.
    NoBudget,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Wait this long, then try again.
    After(Duration),
    /// Give up.
    Stop(Stop),
}

/// Decides about a failure that is transient and safe to repeat. `wait` is what upstream asked
/// for, or the backoff; `left` is the time to the deadline. The budget is asked last, so that a
/// retry that would come too late is not paid for.
pub fn decide(
    wait: Duration,
    left: Duration,
    budget: &mut RetryBudget,
    now: Moment,
) -> RetryDecision {
    // An attempt that starts at the deadline cannot be answered before it.
    if wait >= left {
        RetryDecision::Stop(Stop::NoTime)
    } else if budget.withdraw(now) {
        RetryDecision::After(wait)
    } else {
        RetryDecision::Stop(Stop::NoBudget)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quiet_service_may_retry_once_a_second() {
        let mut budget = RetryBudget::default();
        let granted = (0..20).filter(|_| budget.withdraw(Duration::ZERO)).count();
        assert_eq!(granted, 10);
        assert!(budget.withdraw(10 * SECOND), "ten seconds later there is budget again");
    }

    #[test]
    fn a_busy_service_may_retry_a_fifth_of_its_calls() {
        let mut budget = RetryBudget::default();
        (0..1000).for_each(|_| budget.deposit(SECOND));
        let granted = (0..1000).filter(|_| budget.withdraw(SECOND)).count();
        assert_eq!(granted, 200);
    }

    #[test]
    fn a_wait_that_does_not_fit_stops_without_paying() {
        let mut budget = RetryBudget::default();
        for _ in 0..100 {
            let decision = decide(SECOND, SECOND, &mut budget, Duration::ZERO);
            assert_eq!(decision, RetryDecision::Stop(Stop::NoTime));
        }
        let decision = decide(SECOND, 2 * SECOND, &mut budget, Duration::ZERO);
        assert_eq!(decision, RetryDecision::After(SECOND));
    }

    proptest! {
        #[test]
        fn the_budget_is_never_overdrawn(steps in proptest::collection::vec((0_u64..3000, any::<bool>()), 1..200)) {
            let (mut budget, mut now) = (RetryBudget::default(), Duration::ZERO);
            let (mut calls, mut retries) = (0_u32, 0_u32);
            for (advance, is_call) in steps {
                now += Duration::from_millis(advance);
                if is_call {
                    budget.deposit(now);
                    calls += 1;
                } else if budget.withdraw(now) {
                    retries += 1;
                }
            }
            // Ten for each ten seconds begun, and a fifth of everything.
            let tens = u32::try_from(now.as_secs() / 10 + 2).expect("small");
            prop_assert!(f64::from(retries) <= f64::from(tens * 10) + f64::from(calls) * SHARE);
        }
    }
}
