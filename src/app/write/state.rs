//! The state of a write in progress: what it started from, what was sent, and what reads have shown.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::batching::LostKeyReport;
use crate::app::pending_writes::PendingWriteId;
use crate::domain::{AttributeKey, AttributeMap, Patch, WriteVerifier};
use crate::ports::StateBefore;

/// The maps that a write starts from.
#[derive(Default)]
pub(super) struct WriteBaseline {
    /// The map before the last batch.
    pub before: AttributeMap,
    /// The map before anything of this write was sent, for its audit entry; `None` if no read of
    /// this write showed it.
    pub map_before: Option<AttributeMap>,
    /// The map as last read.
    pub shown: AttributeMap,
    /// Whether `shown` was read after the last PATCH was accepted.
    pub shown_after: bool,
    /// The last map was read before this write arrived.
    pub is_remembered: bool,
}

/// What was sent of a write, and with which result.
#[derive(Default)]
pub(super) struct SentChanges {
    /// All changes of this client that were sent.
    pub changes: Patch,
    /// The last PATCH that carried changes of it, with those of other clients.
    pub batch: Arc<Patch>,
    /// The state before that PATCH, as far as it is known.
    pub state_before_batch: Arc<StateBefore>,
    /// Keys that upstream has accepted in a PATCH.
    pub accepted_keys: BTreeSet<AttributeKey>,
    /// Keys whose change was replaced by a later client's.
    pub overtaken: BTreeSet<AttributeKey>,
    /// Its `PATCH`es whose result is unknown.
    pub pending_ids: Vec<PendingWriteId>,
    /// When the first of these was sent.
    pub unknown_since: Option<Instant>,
    pub accepted: Option<Instant>,
    /// A number from 0 up to 1, the same for all members of the last batch.
    pub unit: f64,
}

/// What reads have shown of a write, and when they were made.
#[derive(Default)]
pub(super) struct VerificationState {
    /// Keys that need no sending; read-backs check that they stay.
    pub unchanged_keys: WriteVerifier,
    /// Keys that were sent, until a read shows them.
    pub sent_keys: WriteVerifier,
    pub reads: u32,
    /// The planned wait before the first read-back.
    pub first_wait: Option<Duration>,
    pub last_read: Option<Instant>,
    /// Upstream asked for no read-back before this moment.
    pub throttled: Option<Instant>,
    /// The duration of the last read.
    pub read_cost: Duration,
    /// The number of consecutive reads that showed only our PATCH.
    pub replaced_reads: u32,
    /// Other writers' keys that are gone, by the last read that showed a change of ours.
    pub lost: Vec<AttributeKey>,
    /// The lost keys that members of the last batch have reported.
    pub losses: Arc<LostKeyReport>,
}
