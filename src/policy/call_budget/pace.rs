//! An even pace: calls keep their distance from each other.

use std::time::Duration;

use crate::policy::MonoTime;

/// Calls that may follow at once after a pause in which others were due.
const CATCH_UP: u32 = 2;

/// Keeps calls a gap apart for as long as it holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CallPace {
    next: MonoTime,
    until: MonoTime,
}

impl CallPace {
    /// A pace that holds for ever.
    pub(super) const ALWAYS: Self = Self { next: MonoTime::ZERO, until: MonoTime::MAX };

    /// Lets it hold from `from` until `until`; it never ends earlier than before.
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

    /// The same for a call after `ahead` others.
    pub(super) fn opens_after(&self, ahead: u64, gap: Duration, now: MonoTime) -> MonoTime {
        if now >= self.until {
            return now;
        }
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        self.opens(now).saturating_add(gap.saturating_mul(ahead)).min(self.until)
    }

    /// Calls were granted.
    pub(super) fn take(&mut self, calls: u32, gap: Duration, now: MonoTime) {
        if now < self.until {
            let earliest = now.saturating_sub(gap.saturating_mul(CATCH_UP));
            self.next = self.next.max(earliest).saturating_add(gap.saturating_mul(calls));
        }
    }
}

/// The distance that spreads so many calls evenly over the window.
pub(super) fn gap(window: Duration, calls: u64) -> Duration {
    let gap = window.as_nanos().div_ceil(u128::from(calls.max(1)));
    Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_keep_their_distance_while_it_holds() {
        let mut pace = CallPace::default();
        assert_eq!(pace.opens(5 * SECOND), 5 * SECOND);
        pace.hold(5 * SECOND, 20 * SECOND);
        pace.take(3, SECOND, 5 * SECOND);
        assert_eq!((pace.opens(6 * SECOND), pace.opens(9 * SECOND)), (8 * SECOND, 9 * SECOND));
        assert_eq!(pace.opens_after(4, SECOND, 6 * SECOND), 12 * SECOND);
        // After a pause two more may follow at once, however long it was.
        pace.take(1, SECOND, 15 * SECOND);
        assert_eq!(pace.opens(15 * SECOND), 15 * SECOND);
        pace.take(2, SECOND, 15 * SECOND);
        assert_eq!(pace.opens(15 * SECOND), 16 * SECOND);
        assert_eq!(pace.opens(21 * SECOND), 21 * SECOND);
    }
}
