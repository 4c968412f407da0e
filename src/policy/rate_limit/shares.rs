//! How the budget is divided: what a class may use, and whose turn it is.

use std::time::Duration;

use super::{Priority, RateLimit, Want, WishId};

/// Reads get at least one in so many calls, whatever writes there are.
const READS_ONE_IN: u64 = 5;
/// Most calls that a write books together. Where the window holds no more than these and a read,
/// reads and writes take turns: reads with a right of way would never leave room for a write.
const CALLS_OF_A_WRITE: u64 = 3;

impl RateLimit {
    /// Calls in any window, as configured and as upstream says.
    pub(super) fn limit(&self) -> u64 {
        self.settings.limit.min(self.allowed)
    }

    /// How much of it a class may use.
    pub(super) fn capacity(&self, priority: Priority) -> u64 {
        let limit = self.limit();
        if priority == Priority::Admitted {
            return limit;
        }
        let share = u128::from(limit) * u128::from(self.settings.reserve);
        let reserve = u64::try_from(share.div_ceil(100)).unwrap_or(u64::MAX);
        limit.saturating_sub(reserve).max(1)
    }

    /// A wish for more than the window holds could never be granted whole.
    pub(super) fn whole(&self, calls: u32, priority: Priority) -> u32 {
        let most = u32::try_from(self.capacity(priority)).unwrap_or(u32::MAX);
        calls.clamp(1, most)
    }

    /// Distance of calls that would spread the limit evenly over the window.
    pub(super) fn gap(&self) -> Duration {
        let gap = self.settings.window.as_nanos().div_ceil(u128::from(self.limit()));
        Duration::from_nanos(u64::try_from(gap).unwrap_or(u64::MAX))
    }

    /// Calls of a window that reads may have before writes; 0 where they take turns.
    pub(super) fn share_of_reads(&self) -> u64 {
        let capacity = self.capacity(Priority::Read);
        let share = capacity.div_ceil(READS_ONE_IN);
        if capacity < share + CALLS_OF_A_WRITE { 0 } else { share }
    }

    /// The wish whose turn it is: of whoever has less than its share first.
    pub(super) fn head(&self) -> Option<(WishId, Want)> {
        let everybody = |_| true;
        if let Some(admitted) = self.least_served(Priority::Admitted, everybody) {
            return Some(admitted);
        }
        if !self.payers.are_several() {
            return self.head_of(&everybody);
        }
        let is_under = |payer| self.is_under_its_share(payer);
        self.head_of(&is_under).or_else(|| self.head_of(&everybody))
    }

    /// The same among a group of payers, for calls of what has not begun.
    fn head_of(&self, group: &dyn Fn(u64) -> bool) -> Option<(WishId, Want)> {
        let head = |priority| self.least_served(priority, group);
        match (head(Priority::Write), head(Priority::Read)) {
            (Some(write), Some(read)) => {
                let share = self.share_of_reads();
                let reads_first = if share == 0 {
                    read.0.number < write.0.number
                } else {
                    self.reads.len() < share
                };
                Some(if reads_first { read } else { write })
            }
            (write, read) => write.or(read).or_else(|| head(Priority::Extra)),
        }
    }
}
