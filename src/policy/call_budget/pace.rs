//! An even pace: keeps a minimum gap between calls.

use std::time::Duration;

use crate::policy::MonoTime;

/// After a pause, this many overdue calls may follow at once.
const CATCH_UP: u32 = 2;

/// Keeps calls a gap apart until it ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallPace {
    /// When the next call is due.
    next: MonoTime,
    /// When the pace ends.
    until: MonoTime,
}

impl CallPace {
    /// A pace that never ends.
    pub(super) const ALWAYS: Self = Self { next: MonoTime::ZERO, until: MonoTime::MAX };

    /// Starts the pace at `from`, or extends it, until `until`. It never shortens it.
    pub(super) fn hold(&mut self, from: MonoTime, until: MonoTime) {
        if from >= self.until {
            self.next = from;
        }
        self.until = self.until.max(until);
    }

    /// When the next call may go.
    pub(super) fn opens(&self, now: MonoTime) -> MonoTime {
        if now < self.until { now.max(self.next).min(self.until) } else { now }
    }

    /// When a call may go after `ahead` others.
    pub(super) fn opens_after(&self, ahead: u64, gap: Duration, now: MonoTime) -> MonoTime {
        if now >= self.until {
            return now;
        }
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        self.opens(now).saturating_add(gap.saturating_mul(ahead)).min(self.until)
    }

    /// Records granted calls.
    pub(super) fn take(&mut self, calls: u32, gap: Duration, now: MonoTime) {
        if now < self.until {
            let earliest = now.saturating_sub(gap.saturating_mul(CATCH_UP));
            self.next = self.next.max(earliest).saturating_add(gap.saturating_mul(calls));
        }
    }
}

/// The gap that spreads `calls` evenly over the window.
pub(super) fn gap(window: Duration, calls: u64) -> Duration {
    let gap = window.as_nanos().div_ceil(u128::from(calls.max(1)));
    Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_keep_their_gap_until_the_pace_ends() {
        let mut pace = CallPace::default();
        assert_eq!(pace.opens(5 * SECOND), 5 * SECOND);
        pace.hold(5 * SECOND, 20 * SECOND);
        pace.take(3, SECOND, 5 * SECOND);
        assert_eq!((pace.opens(6 * SECOND), pace.opens(9 * SECOND)), (8 * SECOND, 9 * SECOND));
        assert_eq!(pace.opens_after(4, SECOND, 6 * SECOND), 12 * SECOND);
        // After a pause of any length, two more may follow at once.
        pace.take(1, SECOND, 15 * SECOND);
        assert_eq!(pace.opens(15 * SECOND), 15 * SECOND);
        pace.take(2, SECOND, 15 * SECOND);
        assert_eq!(pace.opens(15 * SECOND), 16 * SECOND);
        assert_eq!(pace.opens(21 * SECOND), 21 * SECOND);
    }
}
