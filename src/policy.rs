//! Decides how many calls the gateway makes, and when: budget, throttle, retries, read-backs.
//!
//! These modules are pure. The caller passes in the time as a [`MonoTime`] and randomness as a
//! number. Nothing here sleeps, so tests can check every decision as a table.

mod adaptive_throttle;
mod backoff;
mod call_budget;
mod client_rate;
mod concurrency;
mod read_back;
mod retry;
mod rolling_counter;

use std::time::Duration;

pub use adaptive_throttle::{
    AdaptiveThrottle, CallPermit, CallResult, ThrottleLevel, ThrottleRefusal, ThrottleState,
};
pub use backoff::Backoff;
pub use call_budget::{
    BudgetAccount, BudgetSettings, BudgetUsage, CallAdmission, CallRefusal, CallRequest,
    CallRequestId, CallStart, CreditLease, CreditUsage, MAX_THROTTLE_WAIT, PROBE_INTERVAL,
    PriorityCeilings, PriorityClass, RateLimitHeaders, TokenBudget,
};
pub use client_rate::ClientRateLimiter;
pub use concurrency::{ClientWeights, SlotsExhausted, WeightedSlots};
pub use read_back::{LagStatistics, MAX_FIRST_WAIT, ReadBackSchedule};
pub use retry::{BudgetState, RetryBudget, RetryDecision, StopReason, decide};
pub use rolling_counter::RollingCounter;

/// A point in time, as a duration since an origin of the caller's choice. Only differences matter.
pub type MonoTime = Duration;
