//! The settings of the use cases.

use std::time::Duration;

use crate::domain::AttributeLimits;
use crate::policy::Backoff;

/// The settings of the use cases.
#[derive(Clone, Debug)]
pub struct AppSettings {
    /// Limits on attributes.
    pub limits: AttributeLimits,
    /// Whether a PATCH holds the merged map, for an upstream that replaces.
    pub patch_full: bool,
    /// Read-backs of one write at most.
    pub max_reads: u32,
    /// How long a third value has to stand before it counts as a later one, until enough lags were
    /// measured.
    pub settle: Duration,
    /// How long a write that was not seen keeps its keys from counting as unchanged.
    pub outstanding: Duration,
    /// How often a 409 is answered by reading, merging and sending again.
    pub conflict_retries: u32,
    /// Waits before a PATCH of unknown fate is looked at.
    pub backoff: Backoff,
    /// How long after a read a write needs none of its own.
    pub warm_for: Duration,
    /// Bytes of conversations remembered for that.
    pub memory: usize,
    /// How old a read may be that serves another reader; zero for no cache at all.
    pub max_age: Duration,
    /// Writes under way at most.
    pub waiting: usize,
    /// Writes to one participant under way at most.
    pub waiting_per_participant: usize,
}
