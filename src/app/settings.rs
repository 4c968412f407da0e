//! The settings of the use cases.

use std::time::Duration;

use crate::domain::AttributeLimits;
use crate::policy::Backoff;

/// The settings of the use cases.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Limits on attributes.
    pub limits: AttributeLimits,
    /// Whether a PATCH contains the merged map, for an upstream that replaces.
    pub patch_full: bool,
    /// Read-backs of one write at most.
    pub max_reads: u32,
    /// How long a third value has to stand before it counts as a later one, until enough lags were
    /// measured.
    pub settle: Duration,
    /// How long the keys of an unconfirmed write do not count as unchanged.
    pub outstanding: Duration,
    /// How often a 409 is answered by reading, merging and sending again.
    pub conflict_retries: u32,
    /// The pauses before a read after a PATCH of unknown result.
    pub backoff: Backoff,
    /// How long after a read a write needs no read of its own.
    pub warm_for: Duration,
    /// The size of the read cache, in bytes.
    pub memory: usize,
    /// The maximum age of a read that is served to another client; zero for no cache.
    pub max_age: Duration,
    /// Writes in flight at most.
    pub waiting: usize,
    /// Writes in flight to one participant at most.
    pub waiting_per_participant: usize,
}
