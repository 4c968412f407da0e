//! What is asked of the budget, and what it answers.

use std::time::Duration;

use super::{Payer, WishId};
use crate::policy::Moment;

/// Who goes first, the first of them first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Further calls of writes that have begun. May take from the reserve.
    Admitted,
    /// All that a write needs.
    Write,
    /// A read.
    Read,
    /// What can be dropped.
    Extra,
}

impl Priority {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Admitted, Self::Write, Self::Read, Self::Extra];
}

/// Calls that somebody would like to make, all or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// How many. Granted are at least one, and no more than the window holds altogether.
    pub calls: u32,
    /// How important they are.
    pub priority: Priority,
    /// From when on they are of no use.
    pub deadline: Moment,
    /// On whose account.
    pub payer: Payer,
}

/// What comes of a [`Want`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many calls are granted.
    Granted(u32),
    /// It waits, and will be granted about then.
    Queued(WishId, Moment),
    /// It cannot be granted in time.
    Refused(Refusal),
}

/// Why there are no calls, and when there will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who returns then is admitted, unless others came in between. At most a day.
    pub retry_after: Duration,
    /// Whether upstream throttles; else the budget is used up.
    pub throttled: bool,
}

/// The budget.
#[derive(Clone, Copy, Debug)]
pub struct RateSettings {
    /// Calls in any window; at least 1.
    pub limit: u64,
    /// Length of the window.
    pub window: Duration,
    /// Share of the limit in percent that only [`Priority::Admitted`] may use. Rounded up.
    pub reserve: u8,
}

impl RateSettings {
    /// A budget of so many calls a minute, counted in windows of this length.
    pub fn per_minute(calls: u64, window: Duration, reserve: u8) -> Self {
        let minute = Duration::from_mins(1).as_nanos();
        let limit = u128::from(calls).saturating_mul(window.as_nanos()) / minute;
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        Self { limit, window, reserve }
    }
}
