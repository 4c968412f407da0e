//! Requests to the call budget, its answers, and its settings.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::policy::MonoTime;

/// The order in which requests are served when calls are scarce, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PriorityClass {
    /// Further calls of a write that has started.
    Committed,
    /// All calls of a new write.
    Write,
    /// A read.
    Read,
    /// The second and later read-backs, which are dropped first.
    ReadBack,
}

impl PriorityClass {
    /// All priorities, in order.
    pub const ALL: [Self; 4] = [Self::Committed, Self::Write, Self::Read, Self::ReadBack];
}

/// The client that calls are charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetAccount {
    /// Identifies the client.
    pub id: u64,
    /// Its weight among all clients.
    pub weight: NonZeroU32,
}

impl BudgetAccount {
    /// The only account, where clients are not distinguished.
    pub const SHARED: Self = Self { id: 0, weight: NonZeroU32::MIN };
}

/// Who uses a budget, at one moment.
#[derive(Clone, Debug)]
pub struct BudgetUsage {
    /// How many calls new writes could make now.
    pub available: u64,
    /// Most calls in a window.
    pub limit: u64,
    /// The length of the window.
    pub window: Duration,
    /// Requests that wait for calls.
    pub waiting: usize,
    /// Calls of other users of the token.
    pub external: u64,
    /// How long upstream still wants no calls.
    pub throttled: Option<Duration>,
    /// The calls on each account in the window, by the id of the account.
    pub clients: Vec<(u64, u64)>,
}

/// A request for calls, which are granted all or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// How many calls. At least one is granted, and never more than the window holds.
    pub calls: u32,
    /// How important the calls are.
    pub class: PriorityClass,
    /// The calls are useless from this moment on.
    pub deadline: MonoTime,
    /// The client that pays.
    pub account: BudgetAccount,
}

/// Identifies a queued request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallRequestId(pub(super) u64);

/// The answer to a [`CallRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAdmission {
    /// This many calls are granted.
    Granted(u32),
    /// The request is queued. The budget expects to grant it at this moment.
    Queued(CallRequestId, MonoTime),
    /// The request cannot be granted before its deadline.
    Refused(CallRefusal),
}

/// Why a request is refused, and when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRefusal {
    /// Estimated for this client, behind all its requests that were refused before.
    pub retry_after: Duration,
    /// Whether upstream throttles. Otherwise the budget is spent.
    pub throttled: bool,
}

/// When a call started, and how many calls had left the window by then.
#[derive(Clone, Copy, Debug)]
pub struct CallStart {
    pub(super) at: MonoTime,
    pub(super) gone: u64,
}

/// The rate-limit headers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimitHeaders {
    /// Calls that upstream has counted in its window.
    pub count: Option<u64>,
    /// Calls that upstream allows in a window.
    pub allowed: Option<u64>,
    /// Time until upstream starts a new count.
    pub reset: Option<Duration>,
}

/// How far each class may fill the window, in percent of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriorityCeilings {
    /// Writes that have started.
    pub committed: u8,
    /// New writes.
    pub writes: u8,
    /// Reads.
    pub reads: u8,
    /// The second and later read-backs.
    pub read_backs: u8,
}

impl PriorityCeilings {
    /// Every class may fill the window.
    pub const NONE: Self = Self { committed: 100, writes: 100, reads: 100, read_backs: 100 };

    pub(super) fn of(self, class: PriorityClass) -> u8 {
        match class {
            PriorityClass::Committed => self.committed,
            PriorityClass::Write => self.writes,
            PriorityClass::Read => self.reads,
            PriorityClass::ReadBack => self.read_backs,
        }
    }
}

/// The size of a budget.
#[derive(Clone, Copy, Debug)]
pub struct BudgetSettings {
    /// Calls in any window, at least 1.
    pub limit: u64,
    /// Length of the window.
    pub window: Duration,
    /// How far each class may fill the window.
    pub ceilings: PriorityCeilings,
}

impl BudgetSettings {
    /// A budget of `calls` a minute, counted in windows of the length `window`.
    pub fn per_minute(calls: u64, window: Duration, ceilings: PriorityCeilings) -> Self {
        let minute = Duration::from_mins(1).as_nanos();
        let limit = u128::from(calls).saturating_mul(window.as_nanos()) / minute;
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        Self { limit, window, ceilings }
    }
}

/// The credits of this replica. A credit is one call in any window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditLease {
    /// Credits that no other replica has.
    pub held: u64,
    /// How many of them may be used.
    pub spend: u64,
    /// More may come as soon as requests wait.
    pub can_grow: bool,
}

/// What the replicas have to know of each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreditUsage {
    /// Calls that occupy the window.
    pub in_use: u64,
    /// How long ago they were made, and how many.
    pub used: Vec<(Duration, u64)>,
    /// Calls that wait for room in the window alone.
    pub waiting: u64,
    /// Calls of other users of the token.
    pub external: u64,
    /// Calls that have ended since the start.
    pub ended: u64,
}
