//! How hard the gateway leans on the upstream.
//!
//! Pure: the time is a [`Moment`] that the caller passes in, randomness is a number it passes in.
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
    AdaptiveThrottle, CallPermit, CallResult, ThrottleRefusal, ThrottleState, Throttling,
};
pub use backoff::Backoff;
/// The name that callers of the budget port know it by.
pub use call_budget::BudgetAccount as Payer;
pub use call_budget::{
    Admission, BudgetAccount, BudgetSettings, CallBudget, CallRequest, CallRequestId, CallStart,
    Ceilings, MAX_THROTTLE_WAIT, PROBE_INTERVAL, Priority, RateLimitHeaders, Refusal,
};
pub use client_rate::OwnRate;
pub use concurrency::{Full, Parts, Places};
pub use read_back::{LONGEST_FIRST_WAIT, LagStatistics, ReadBackSchedule};
pub use retry::{BudgetState, RetryBudget, RetryDecision, Stop, decide};
pub use rolling_counter::SlidingWindow;

/// A point in time, as a duration since an origin that the caller chose. Only differences count.
pub type Moment = Duration;
