//! What a write hands to the queue, and what it gets back.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::app::budget_accounts::ReservedCalls;
use crate::app::pending_writes::PendingWriteId;
use crate::domain::{AttributeKey, AttributeMap, ParticipantId, Patch, UnconfirmedValues};
use crate::error::Error;
use crate::ports::{PatchOutcome, RequestContext, StateBefore, WriteNotes};

/// The precondition of a write (`If-Match`, `If-None-Match`).
pub trait WritePrecondition: fmt::Debug + Send + Sync {
    /// Whether it holds for the participant's current map.
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool;

    /// The `ETag` of that map, for a client whose precondition failed.
    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String;
}

/// A write as it is handed to the queue.
#[derive(Debug)]
pub struct WriteSubmission {
    pub arrival: u64,
    pub arrived: Instant,
    pub patch: Patch,
    /// The map as it last read it, and when that read was sent.
    pub shown: AttributeMap,
    pub shown_at: Instant,
    pub condition: Option<Arc<dyn WritePrecondition>>,
    /// What is noted of it beyond this process.
    pub notes: Option<Arc<dyn WriteNotes>>,
    /// Its own `PATCH`es with unknown results.
    pub pending_ids: Vec<PendingWriteId>,
    /// Whether it will read back.
    pub verify: bool,
    pub context: RequestContext,
    pub reserved_calls: ReservedCalls,
}

/// A PATCH that was handed to the upstream client and has no outcome yet.
#[derive(Debug)]
pub struct PatchInFlight {
    pub context: RequestContext,
    /// The calls of that context before it.
    pub calls_before: u32,
}

impl PatchInFlight {
    /// Whether an attempt has left, and may be applied.
    pub fn has_left(&self) -> bool {
        self.context.calls() > self.calls_before
    }
}

#[derive(Debug)]
pub enum SubmissionResult {
    /// No change of it was sent.
    Refused(Error),
    /// No change of it was sent, but an earlier PATCH of its own may be the reason.
    Unsettled(Error),
    /// The worker has died.
    Lost,
    Sent(Box<BatchReceipt>),
}

/// The result of a batch, for one member.
#[derive(Debug)]
pub struct BatchReceipt {
    /// Changes of this member that were sent.
    pub carried: Patch,
    /// Keys of this member whose change was replaced by a later client's.
    pub overtaken: BTreeSet<AttributeKey>,
    /// The whole PATCH.
    pub patch: Arc<Patch>,
    /// The map as read before, and when that read was sent.
    pub shown: Arc<AttributeMap>,
    pub shown_at: Instant,
    pub state_before: Arc<StateBefore>,
    /// Our values that reads may show before they show these.
    pub unseen: Arc<UnconfirmedValues>,
    /// What became of the PATCH, when it was sent, and when its result was known.
    pub outcome: PatchOutcome,
    pub sent_at: Instant,
    pub ended: Instant,
    pub pending_id: Option<PendingWriteId>,
    /// Calls reserved for its first read-back.
    pub reserved_calls: ReservedCalls,
    /// Lost keys that members have already reported.
    pub losses: Arc<LostKeyReport>,
    /// A number from 0 up to 1, the same for all members: it keeps their next steps together.
    pub unit: f64,
}

/// The lost keys that were counted and logged after a batch: each once, by one member.
#[derive(Debug, Default)]
pub struct LostKeyReport(Mutex<(BTreeSet<AttributeKey>, bool)>);

impl LostKeyReport {
    /// The number of keys that were not counted before.
    pub fn count(&self, keys: &[AttributeKey]) -> usize {
        let mut known = self.0.lock();
        keys.iter().filter(|key| known.0.insert((*key).clone())).count()
    }

    /// Whether this member is the first to find the map replaced.
    pub fn is_first_evidence(&self) -> bool {
        let mut known = self.0.lock();
        !std::mem::replace(&mut known.1, true)
    }
}
