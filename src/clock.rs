//! Time for the policies: moments on the tokio clock, so that paused time moves them; and the date.

use time::{Date, OffsetDateTime};
use tokio::time::Instant;

use crate::policy::MonoTime;

/// The wall time, in UTC.
#[expect(clippy::disallowed_methods, reason = "this is where wall time comes from")]
pub fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}

/// The date of today, in UTC.
pub fn today() -> Date {
    now().date()
}

/// Now, in UTC, as RFC 3339 has it, to the millisecond.
#[expect(clippy::disallowed_methods, reason = "this is where wall time comes from")]
pub fn timestamp() -> String {
    let now = OffsetDateTime::from(std::time::SystemTime::now());
    let (date, (hour, minute, second, milli)) = (now.date(), now.to_hms_milli());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Turns instants into the moments that policies calculate with. Clones share their origin.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> MonoTime {
        self.origin.elapsed()
    }

    /// An instant as a moment; what lies before the start of this clock is its start.
    pub fn moment(&self, instant: Instant) -> MonoTime {
        instant.saturating_duration_since(self.origin)
    }

    /// A moment as an instant.
    pub fn instant(&self, moment: MonoTime) -> Instant {
        self.origin + moment
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::start()
    }
}
