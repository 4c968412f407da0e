//! What a token has used of its calls: a window that slides, so that no stretch of its length ever
//! holds more calls than are allowed. Pure: the time is an argument.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::SimulatorSettings;

/// Calls that are allowed in any window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowBudget {
    pub(super) allowed: u64,
    pub(super) window: Duration,
}

impl WindowBudget {
    /// The budget of each token, unless there is no limit.
    pub(super) fn from_settings(settings: &SimulatorSettings) -> Option<Self> {
        let (a_minute, window) = (u128::from(settings.requests_per_minute?), settings.rate_window);
        let share = a_minute * window.as_millis() / 60_000;
        // A short window of a small budget would else allow nothing at all.
        let allowed = u64::try_from(share.max(a_minute.min(1))).unwrap_or(u64::MAX);
        Some(Self { allowed, window })
    }
}

/// Where a call stands in the budget of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BudgetStanding {
    /// Calls in the window, this one included.
    pub(super) count: u64,
    /// Calls that are allowed in it.
    pub(super) allowed: u64,
    /// Whole seconds until the oldest of them leaves the window, rounded up.
    pub(super) reset: u64,
}

impl BudgetStanding {
    /// Whether it is one too many.
    pub(super) fn is_refused(&self) -> bool {
        self.count > self.allowed
    }
}

/// The calls of one token.
#[derive(Default)]
pub(super) struct TokenUsage(VecDeque<Instant>);

impl TokenUsage {
    /// Counts a call. One that is refused takes no place from later ones.
    pub(super) fn count(&mut self, budget: WindowBudget, now: Instant) -> BudgetStanding {
        while self.0.front().is_some_and(|first| *first + budget.window <= now) {
            self.0.pop_front();
        }
        let before = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        if before < budget.allowed {
            self.0.push_back(now);
        }
        let oldest = self.0.front().map_or(now, |first| *first);
        let left = (oldest + budget.window).saturating_duration_since(now);
        let reset = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        BudgetStanding { count: before + 1, allowed: budget.allowed, reset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let (start, budget) =
            (Instant::now(), WindowBudget { allowed: 2, window: Duration::from_secs(10) });
        let mut used = TokenUsage::default();
        let mut count = |millis| {
            let standing = used.count(budget, start + Duration::from_millis(millis));
            (standing.count, standing.reset, standing.is_refused())
        };
        assert_eq!([count(0), count(4500)], [(1, 10, false), (2, 6, false)]);
        assert_eq!([count(9000), count(9999)], [(3, 1, true), (3, 1, true)]);
        assert_eq!([count(10_000), count(10_001)], [(2, 5, false), (3, 5, true)]);
        assert_eq!(count(14_500), (2, 6, false));
    }

    #[test]
    fn the_budget_is_the_share_of_the_minute() {
        let allowed = |requests_per_minute, millis| {
            let rate_window = Duration::from_millis(millis);
            let settings = SimulatorSettings {
                requests_per_minute,
                rate_window,
                ..SimulatorSettings::default()
            };
            WindowBudget::from_settings(&settings).map(|budget| budget.allowed)
        };
        assert_eq!((allowed(Some(300), 60_000), allowed(Some(300), 10_000)), (Some(300), Some(50)));
        assert_eq!((allowed(Some(7), 30_000), allowed(Some(1), 100)), (Some(3), Some(1)));
        assert_eq!((allowed(Some(0), 60_000), allowed(None, 60_000)), (Some(0), None));
    }
}
