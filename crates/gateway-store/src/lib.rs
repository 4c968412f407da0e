//! The store behind the ports of [`ports`]: a file of this process ([`embedded`]), or a
//! server that replicas share ([`redis`]).
//!
//! Contents are encrypted before they leave the process, and everything stored carries a version.

pub mod embedded;
pub mod ports;
pub mod redis;

mod clock;
mod sealed_answer;
mod sealed_operation;
mod sealing;

use std::time::Duration;

use time::OffsetDateTime;

pub use sealing::SealingKey;

use crate::ports::{OperationState, StoreError};

/// Version of everything that is stored. A gateway refuses any other.
const FORMAT_VERSION: u8 = 1;

/// How long an unfinished answer counts as being worked on: longer than any request may take.
const ANSWER_LEASE: Duration = Duration::from_secs(75);

/// How long a claimed conversation stays with its process without renewal.
const LANE_LEASE: Duration = Duration::from_secs(10);

/// Most operations of one conversation in a claim. The rest follows with the next one.
const LANE_OPERATIONS: usize = 100;

/// Bounds of what is stored.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Most unfinished operations.
    pub operations: u32,
    /// How long a finished operation is kept.
    pub operation_age: Duration,
    /// Most answers for each client; the oldest is dropped first.
    pub answers_per_client: u32,
    /// How long an answer is kept.
    pub answer_age: Duration,
    /// An upper bound for all leases of the store, so that tests need not wait for them.
    pub longest_lease: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            operations: 10_000,
            operation_age: Duration::from_hours(1),
            answers_per_client: 10_000,
            answer_age: Duration::from_hours(24),
            longest_lease: Duration::MAX,
        }
    }
}

impl StoreLimits {
    fn answer_lease(&self) -> Duration {
        ANSWER_LEASE.min(self.longest_lease)
    }

    fn lane_lease(&self) -> Duration {
        LANE_LEASE.min(self.longest_lease)
    }
}

/// Every state with its word in the store.
const STATES: [(OperationState, &str); 6] = [
    (OperationState::Queued, "queued"),
    (OperationState::Sent, "sent"),
    (OperationState::Done, "done"),
    (OperationState::Failed, "failed"),
    (OperationState::Expired, "expired"),
    (OperationState::Cancelled, "cancelled"),
];

fn state_word(state: OperationState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("failed", |(_, word)| word)
}

fn state_of(word: &str) -> Result<OperationState, StoreError> {
    let found = STATES.iter().find(|(_, known)| *known == word);
    found.map(|(state, _)| *state).ok_or_else(|| unreadable("an operation has an unknown state"))
}

fn unreadable(reason: &str) -> StoreError {
    StoreError::Unreadable(reason.to_owned())
}

/// Milliseconds since 1970, as both backends store them.
fn to_millis(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn from_millis(millis: i64) -> Result<OffsetDateTime, StoreError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .map_err(|_| unreadable("a time is out of range"))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
