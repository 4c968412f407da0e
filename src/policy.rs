//! How hard the gateway leans on the upstream.
//!
//! Pure: the time is a [`Moment`] that the caller passes in, randomness is a number it passes in.
//! Nothing here sleeps; every decision can be tested as a table.

mod backoff;
mod breaker;
mod own_rate;
mod places;
mod rate_limit;
mod retry;
mod visibility;
mod window;

use std::time::Duration;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSettings, Ticket};
pub use own_rate::OwnRate;
pub use places::{Full, Parts, Places};
pub use rate_limit::{
    Payer, Priority, RateLimit, RateSettings, Refusal, Start, Told, Verdict, Want, WishId,
};
pub use retry::{RetryBudget, RetryDecision, Stop, decide};
pub use visibility::{LONGEST_FIRST_WAIT, LagStatistics, ReadBackSchedule};
pub use window::SlidingWindow;

/// A point in time, as a duration since an origin that the caller chose. Only differences count.
pub type Moment = Duration;
