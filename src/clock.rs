//! Wall time, and monotonic time on the tokio clock, which tests can pause.

use time::{Date, OffsetDateTime};
use tokio::time::Instant;

use crate::policy::MonoTime;

/// The current wall time, in UTC.
#[expect(clippy::disallowed_methods, reason = "this is where wall time comes from")]
pub fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}

/// The current date, in UTC.
pub fn today() -> Date {
    now().date()
}

/// The current time in UTC, in the notation of RFC 3339 with milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is where wall time comes from")]
pub fn timestamp() -> String {
    let now = OffsetDateTime::from(std::time::SystemTime::now());
    let (date, (hour, minute, second, milli)) = (now.date(), now.to_hms_milli());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Converts instants to the [`MonoTime`] of the policies. Clones share their origin.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The current time.
    pub fn now(&self) -> MonoTime {
        self.origin.elapsed()
    }

    /// Converts an instant; one before the start of this clock becomes its start.
    pub fn moment(&self, instant: Instant) -> MonoTime {
        instant.saturating_duration_since(self.origin)
    }

    /// Converts to an instant.
    pub fn instant(&self, moment: MonoTime) -> Instant {
        self.origin + moment
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::start()
    }
}
