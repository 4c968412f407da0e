//! Decides whether to repeat a failed attempt: within the deadline, and within the retry budget.
//!
//! The retry budget limits retries to a part of the traffic. So an outage causes a fraction of
//! additional load, and not a multiple.

use std::time::Duration;

use super::{MonoTime, RollingCounter};

/// Retries allowed per call of the last ten seconds.
const SHARE: f64 = 0.5;
/// Retries allowed in every second without traffic, so that a quiet service can retry. They count by
/// the second: ten seconds' worth at once would leave nothing for the next ten seconds.
const FLOOR: u32 = 3;

/// Limits retries to a part of the calls of the last ten seconds.
#[derive(Clone, Debug, Default)]
pub struct RetryBudget {
    window: RollingCounter,
}

/// The state of the retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetState {
    /// Retries made in the last ten seconds.
    pub made: u32,
    /// Retries that the calls of the last ten seconds allow. Three a second are always allowed.
    pub paid_for: u32,
    /// Whether a retry is possible now.
    pub has_room: bool,
}

impl RetryBudget {
    /// Counts a first attempt.
    pub fn deposit(&mut self, now: MonoTime) {
        self.window.record(now, false);
    }

    /// The state of the budget.
    pub fn state(&self, now: MonoTime) -> BudgetState {
        let (events, made) = self.window.totals(now);
        let share = f64::from(events - made) * SHARE;
        // A share of a u32 fits into a u32, and is never negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        let paid_for = share.ceil() as u32;
        let has_room = made < paid_for || self.window.marked_in_second(now) < FLOOR;
        BudgetState { made, paid_for, has_room }
    }

    /// Takes one retry out of the budget.
    ///
    /// # Errors
    /// If the budget is spent: the time until the next second, which allows three more.
    pub fn withdraw(&mut self, now: MonoTime) -> Result<(), Duration> {
        if self.state(now).has_room {
            self.window.record(now, true);
            return Ok(());
        }
        let next = Duration::from_secs(now.as_secs() + 1);
        Err(next.saturating_sub(now))
    }
}

/// Why a failed attempt is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
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
    /// The budget is spent. Wait this long, then decide once more.
    AskAfter(Duration),
    /// Give up.
    Stop(StopReason),
}

/// Decides about a failure that is transient and safe to repeat. `wait` is `Retry-After` or the
/// backoff, `left` the time to the deadline. The budget is charged last: a retry that comes too late
/// costs nothing.
pub fn decide(
    wait: Duration,
    left: Duration,
    budget: &mut RetryBudget,
    now: MonoTime,
) -> RetryDecision {
    // An attempt that starts at the deadline cannot be answered before it.
    if wait >= left {
        return RetryDecision::Stop(StopReason::NoTime);
    }
    match budget.withdraw(now) {
        Ok(()) => RetryDecision::After(wait),
        Err(again) if again < left => RetryDecision::AskAfter(again),
        Err(_) => RetryDecision::Stop(StopReason::NoBudget),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_quiet_service_may_retry_three_times_a_second() {
        let mut budget = RetryBudget::default();
        for second in 0..30 {
            let now = second * SECOND + Duration::from_millis(250);
            let granted = (0..20).filter(|_| budget.withdraw(now).is_ok()).count();
            assert_eq!(granted, 3, "in second {second}");
            assert_eq!(budget.withdraw(now), Err(Duration::from_millis(750)));
        }
    }

    #[test]
    fn a_busy_service_may_retry_half_of_its_calls() {
        let mut budget = RetryBudget::default();
        (0..1000).for_each(|_| budget.deposit(SECOND));
        let granted = (0..1000).filter(|_| budget.withdraw(SECOND).is_ok()).count();
        assert_eq!(granted, 500);
        assert!(budget.withdraw(2 * SECOND).is_ok(), "three a second are always allowed");
    }

    #[test]
    fn a_spent_budget_means_waiting_if_there_is_time() {
        let (mut budget, half) = (RetryBudget::default(), SECOND / 2);
        let mut decide_at = |left, now| decide(Duration::ZERO, left, &mut budget, now);
        for _ in 0..3 {
            assert_eq!(decide_at(SECOND, half), RetryDecision::After(Duration::ZERO));
        }
        assert_eq!(decide_at(SECOND, half), RetryDecision::AskAfter(half));
        assert_eq!(decide_at(half, half), RetryDecision::Stop(StopReason::NoBudget));
        assert_eq!(decide_at(half, SECOND), RetryDecision::After(Duration::ZERO));
    }

    #[test]
    fn a_wait_past_the_deadline_stops_without_a_charge() {
        let mut budget = RetryBudget::default();
        for _ in 0..100 {
            let decision = decide(SECOND, SECOND, &mut budget, Duration::ZERO);
            assert_eq!(decision, RetryDecision::Stop(StopReason::NoTime));
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
                } else if budget.withdraw(now).is_ok() {
                    retries += 1;
                }
            }
            // Three for each second, and half of all calls.
            let seconds = u32::try_from(now.as_secs() + 1).expect("small");
            prop_assert!(f64::from(retries) <= f64::from(seconds * FLOOR) + f64::from(calls) * SHARE + 1.0);
        }
    }
}
