//! What is counted and timed, as a port: layers and use cases report here and know no metrics
//! library.
//!
//! No label ever carries a conversation id, a key or a value.

use std::time::Duration;

use super::BudgetAccount;
use crate::domain::KeyOutcome;

/// An operation of the platform, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformOperation {
    /// GET of a conversation or participant.
    Read,
    /// PATCH of a participant's attributes.
    Patch,
    /// POST to the token endpoint.
    Token,
    /// The conversation details query.
    Analytics,
}

impl PlatformOperation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Read, Self::Patch, Self::Token, Self::Analytics];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Patch => "patch",
            Self::Token => "token",
            Self::Analytics => "analytics",
        }
    }
}

/// How a call or an attempt ended, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// An HTTP status.
    Status(u16),
    /// Nothing in time.
    Timeout,
    /// No connection.
    Connect,
    /// The connection broke after the request had left.
    Reset,
    /// An answer that is not HTTP, or too large.
    Invalid,
    /// Not sent: upstream is in trouble, no token, no budget or no time.
    NotSent,
}

/// Where the metrics of `/metrics` come from.
pub trait MetricsRecorder: Send + Sync {
    /// One HTTP exchange with upstream, retries counted singly.
    fn attempt(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration);
    /// One logical call, with all its retries.
    fn call(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration);
    /// A failed attempt is tried again.
    fn retry(&self, operation: PlatformOperation);
    /// A retry was not made because the retry budget is spent.
    fn retry_refused(&self, operation: PlatformOperation);
    /// Upstream answered 429 to an operation.
    fn throttled(&self, operation: PlatformOperation);
    /// Calls were refused because the budget, or upstream's throttling, leaves none in time.
    fn rate_refused(&self);
    /// A call of the budget was made on the account of `account`.
    fn paid(&self, account: BudgetAccount);
    /// How things stand with the budget: calls that could be made now, and whether a 429 keeps all
    /// of them back.
    fn rate_window(&self, room: u64, throttled: bool);
    /// A call was refused because this upstream is in trouble.
    fn refused_by_throttle(&self, upstream: &'static str);
    /// A token was fetched that lives this long.
    fn token_fetched(&self, lifetime: Duration);
    /// No token was fetched, or none that can be used.
    fn token_failed(&self);
    /// A key was answered with this outcome.
    fn outcome(&self, outcome: KeyOutcome);
    /// From the acceptance of a PATCH until a read showed it.
    fn visibility_lag(&self, lag: Duration);
    /// Read-backs that one write took.
    fn read_backs(&self, reads: u32);
    /// So many keys that a write did not send were gone after it.
    fn keys_lost(&self, keys: usize);
    /// So many more writes wait for their turn, or so many less.
    fn writes_waiting(&self, change: i64);
    /// A write has waited for its turn this long.
    fn waited(&self, time: Duration);
    /// A PATCH left with the changes of this many writes.
    fn batch(&self, writes: usize);
    /// Upstream calls that one write took, shared ones included.
    fn write_calls(&self, calls: u32);
    /// Conversations remembered now, and the bytes that they take.
    fn remembered(&self, conversations: usize, bytes: usize);
    /// Writes that are under way now.
    fn writes_in_flight(&self, count: usize);
    /// Participants of whom something is remembered now.
    fn participants_held(&self, count: usize);
    /// An audit record was written, or was lost.
    fn audited(&self, written: bool);
}

/// Counts nothing: for unit tests of what reports.
#[cfg(test)]
pub struct NoMeter;

#[cfg(test)]
impl MetricsRecorder for NoMeter {
    fn attempt(&self, _: PlatformOperation, _: AttemptOutcome, _: Duration) {}
    fn call(&self, _: PlatformOperation, _: AttemptOutcome, _: Duration) {}
    fn retry(&self, _: PlatformOperation) {}
    fn retry_refused(&self, _: PlatformOperation) {}
    fn throttled(&self, _: PlatformOperation) {}
    fn rate_refused(&self) {}
    fn paid(&self, _: BudgetAccount) {}
    fn rate_window(&self, _: u64, _: bool) {}
    fn refused_by_throttle(&self, _: &'static str) {}
    fn token_fetched(&self, _: Duration) {}
    fn token_failed(&self) {}
    fn outcome(&self, _: KeyOutcome) {}
    fn visibility_lag(&self, _: Duration) {}
    fn read_backs(&self, _: u32) {}
    fn keys_lost(&self, _: usize) {}
    fn writes_waiting(&self, _: i64) {}
    fn waited(&self, _: Duration) {}
    fn batch(&self, _: usize) {}
    fn write_calls(&self, _: u32) {}
    fn remembered(&self, _: usize, _: usize) {}
    fn writes_in_flight(&self, _: usize) {}
    fn participants_held(&self, _: usize) {}
    fn audited(&self, _: bool) {}
}
