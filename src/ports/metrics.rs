//! The metrics, as a port: layers and use cases report here and know no metrics library.
//!
//! No label carries a conversation id, a key or a value.

use std::time::Duration;

use super::BudgetAccount;
use super::store::JournalSummary;
use crate::domain::KeyOutcome;

/// An operation of the platform, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformOperation {
    Read,
    Patch,
    Token,
    Analytics,
}

impl PlatformOperation {
    pub const ALL: [Self; 4] = [Self::Read, Self::Patch, Self::Token, Self::Analytics];

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
    Status(u16),
    Timeout,
    Connect,
    /// The connection broke after the request was sent.
    Reset,
    /// A response that is not HTTP, or too large.
    Invalid,
    /// Not sent: the throttle is closed, or there was no token, no budget or no time.
    NotSent,
}

impl AttemptOutcome {
    /// Why there was no response; `None` if there was one.
    pub const fn failure(self) -> Option<&'static str> {
        match self {
            Self::Status(_) => None,
            Self::Timeout => Some("timeout"),
            Self::Connect => Some("connect"),
            Self::Reset => Some("reset"),
            Self::Invalid => Some("invalid"),
            Self::NotSent => Some("notSent"),
        }
    }
}

/// Records the metrics of `/metrics`.
pub trait MetricsRecorder: Send + Sync {
    /// One HTTP exchange with upstream; each retry counts.
    fn attempt(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration);
    /// One call with all its retries.
    fn call(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration);
    fn retry(&self, operation: PlatformOperation);
    /// A retry was not made because the retry budget is spent.
    fn retry_refused(&self, operation: PlatformOperation);
    fn throttled(&self, operation: PlatformOperation);
    /// Calls were refused because the budget, or a 429 of upstream, leaves none in time.
    fn rate_refused(&self);
    fn paid(&self, account: BudgetAccount);
    /// The state of the budget: calls that could be made now, and whether a 429 blocks all of them.
    fn rate_window(&self, room: u64, throttled: bool);
    /// The adaptive throttle refused a call to this upstream.
    fn refused_by_throttle(&self, upstream: &'static str);
    fn token_fetched(&self, lifetime: Duration);
    fn token_failed(&self);
    fn outcome(&self, outcome: KeyOutcome);
    /// The time from the acceptance of a PATCH until a read showed it.
    fn visibility_lag(&self, lag: Duration);
    fn read_backs(&self, reads: u32);
    /// The number of keys that were gone after a write that did not send them.
    fn keys_lost(&self, keys: usize);
    /// The change of the number of writes waiting in the queue.
    fn writes_waiting(&self, change: i64);
    fn waited(&self, time: Duration);
    /// A PATCH was sent with the changes of this many writes.
    fn batch(&self, writes: usize);
    /// The upstream calls of one write, shared ones included.
    fn write_calls(&self, calls: u32);
    /// The content of the snapshot cache.
    fn remembered(&self, conversations: usize, bytes: usize);
    fn writes_in_flight(&self, count: usize);
    /// The number of participants with writes in flight or pending.
    fn participants_held(&self, count: usize);
    /// An audit record was written or lost.
    fn audited(&self, written: bool);
    /// The state of the journal of accepted writes; `oldest` is the age of the oldest one.
    fn operations(&self, summary: &JournalSummary, oldest: Duration);
    /// An accepted write has ended in this state.
    fn operation_ended(&self, state: &'static str);
}

/// Records nothing, for unit tests.
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
    /// The content of the snapshot cache.
    fn remembered(&self, _: usize, _: usize) {}
    fn writes_in_flight(&self, _: usize) {}
    fn participants_held(&self, _: usize) {}
    fn audited(&self, _: bool) {}
    fn operations(&self, _: &JournalSummary, _: Duration) {}
    fn operation_ended(&self, _: &'static str) {}
}
