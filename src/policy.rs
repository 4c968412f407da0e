//! How hard the gateway leans on the upstream.
//!
//! Pure: the time is a [`MonoTime`] that the caller passes in, randomness is a number it passes in.
//! Nothing here sleeps; every decision can be tested as a table.

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
    BudgetAccount, BudgetSettings, CallAdmission, CallPriority, CallRefusal, CallRequest,
    CallRequestId, CallStart, MAX_THROTTLE_WAIT, PROBE_INTERVAL, PriorityCeilings,
    RateLimitHeaders, TokenBudget,
};
pub use client_rate::ClientRateLimiter;
pub use concurrency::{ClientWeights, SlotsExhausted, WeightedSlots};
pub use read_back::{LagStatistics, MAX_FIRST_WAIT, ReadBackSchedule};
pub use retry::{BudgetState, RetryBudget, RetryDecision, StopReason, decide};
pub use rolling_counter::RollingCounter;

/// A point in time, as a duration since an origin that the caller chose. Only differences count.
pub type MonoTime = Duration;
