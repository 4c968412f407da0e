//! What is asked of the call budget, and what it answers.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::policy::MonoTime;

/// Who goes first when calls are scarce, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallPriority {
    /// Further calls of writes that have begun.
    Committed,
    /// All calls that a new write needs.
    Write,
    /// A read.
    Read,
    /// Second and further read-backs: the first to be dropped.
    ReadBack,
}

impl CallPriority {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Committed, Self::Write, Self::Read, Self::ReadBack];
}

/// The client that calls are charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetAccount {
    /// Tells clients apart.
    pub id: u64,
    /// Its weight among them.
    pub weight: NonZeroU32,
}

impl BudgetAccount {
    /// The only account, where clients are not told apart.
    pub const SHARED: Self = Self { id: 0, weight: NonZeroU32::MIN };
}

/// Calls that are wanted together, all or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// How many. At least one is granted, and never more than the window holds.
    pub calls: u32,
    /// How important they are.
    pub priority: CallPriority,
    /// From this moment on they are of no use.
    pub deadline: MonoTime,
    /// The client that pays.
    pub account: BudgetAccount,
}

/// Names a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallRequestId(pub(super) u64);

/// The answer to a [`CallRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAdmission {
    /// So many calls are granted.
    Granted(u32),
    /// The request waits, and is expected to be granted at this moment.
    Queued(CallRequestId, MonoTime),
    /// It cannot be granted in time.
    Refused(CallRefusal),
}

/// Why there are no calls, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRefusal {
    /// An estimate for this client, different for each of its refused requests.
    pub retry_after: Duration,
    /// Whether upstream throttles; else the budget is spent.
    pub throttled: bool,
}

/// Most of the window that a class and those below it may fill, in percent of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityCeilings {
    /// Writes that have begun.
    pub committed: u8,
    /// New writes.
    pub writes: u8,
    /// Reads.
    pub reads: u8,
    /// Second and further read-backs.
    pub read_backs: u8,
}

impl PriorityCeilings {
    /// No class leaves room for another one.
    pub const NONE: Self = Self { committed: 100, writes: 100, reads: 100, read_backs: 100 };

    pub(super) fn of(self, priority: CallPriority) -> u8 {
        match priority {
            CallPriority::Committed => self.committed,
            CallPriority::Write => self.writes,
            CallPriority::Read => self.reads,
            CallPriority::ReadBack => self.read_backs,
        }
    }
}

/// Size of the budget.
#[derive(Clone, Copy, Debug)]
pub struct BudgetSettings {
    /// Calls in any window; at least 1.
    pub limit: u64,
    /// Length of the window.
    pub window: Duration,
    /// What each class may use of it.
    pub ceilings: PriorityCeilings,
}

impl BudgetSettings {
    /// A budget of so many calls a minute, counted in windows of this length.
    pub fn per_minute(calls: u64, window: Duration, ceilings: PriorityCeilings) -> Self {
        let minute = Duration::from_mins(1).as_nanos();
        let limit = u128::from(calls).saturating_mul(window.as_nanos()) / minute;
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        Self { limit, window, ceilings }
    }
}
