//! What logs, metrics and the audit record of a response.

use axum::http::StatusCode;

use crate::error::{Effect, ErrorCode};

/// Outcome of a request as an extension of its response. A response without it is recorded with its
/// own status, and with the effect `notApplied`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoggedResult {
    /// The status; the flat form may have sent 200 instead.
    pub status: StatusCode,
    pub effect: Effect,
    pub code: Option<ErrorCode>,
}
