//! Wall time.

use time::OffsetDateTime;

/// The current wall time, in UTC.
#[expect(clippy::disallowed_methods, reason = "this is where wall time comes from")]
pub(crate) fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}
