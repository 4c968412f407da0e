//! What a write hands to the queue, and what it gets back.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::app::budget_accounts::ReservedCalls;
use crate::app::pending_writes::PendingWriteId;
use crate::domain::{AttributeKey, AttributeMap, ParticipantId, Patch, UnconfirmedValues};
use crate::error::Error;
use crate::ports::{RequestContext, StateBefore, UpstreamFailure};

/// What must be true of a map for a write to be made (`If-Match`, `If-None-Match`).
pub trait WritePrecondition: fmt::Debug + Send + Sync {
    /// Whether it is true of the map that the participant holds now.
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool;

    /// The `ETag` of that map, for a client whose condition is not true.
    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String;
}

/// What a write brings along into the turn.
#[derive(Debug)]
pub struct WriteSubmission {
    /// Its number in the order of arrival.
    pub arrival: u64,
    /// When it arrived.
    pub arrived: Instant,
    /// What it wants to be sent.
    pub patch: Patch,
    /// The map as it has seen it last, and when that read was sent.
    pub shown: AttributeMap,
    pub shown_at: Instant,
    /// What must be true of the map.
    pub condition: Option<Arc<dyn WritePrecondition>>,
    /// `PATCH`es of its own whose fate is unknown.
    pub marks: Vec<PendingWriteId>,
    /// Whether it will read back.
    pub verify: bool,
    /// Deadline and spending.
    pub context: RequestContext,
    /// Calls that were booked for it.
    pub reserved_calls: ReservedCalls,
}

/// What a member of a batch is told.
#[derive(Debug)]
pub enum SubmissionResult {
    /// Nothing of it was sent.
    Refused(Error),
    /// The same, but an earlier PATCH of its own may be the reason.
    Unsettled(Error),
    /// The task of the turn has died; something of it may have been sent.
    Lost,
    /// It was its batch's turn.
    Sent(Box<BatchReceipt>),
}

/// How it went with a batch, for one member.
#[derive(Debug)]
pub struct BatchReceipt {
    /// Changes of this member that were sent.
    pub carried: Patch,
    /// Keys of this member that a later client's change was sent in place of.
    pub overtaken: BTreeSet<AttributeKey>,
    /// All that was sent.
    pub patch: Arc<Patch>,
    /// What reads showed before, and when that read was sent.
    pub shown: Arc<AttributeMap>,
    pub shown_at: Instant,
    /// What stood there, as far as it is known.
    pub state_before: Arc<StateBefore>,
    /// Values that were ours already and may show before these do.
    pub unseen: Arc<UnconfirmedValues>,
    /// When upstream accepted it, or why it did not, or is not known to have.
    pub result: Result<Instant, UpstreamFailure>,
    /// Names the PATCH in the memory of open writes.
    pub pending_id: Option<PendingWriteId>,
    /// Booked for its first read-back.
    pub reserved_calls: ReservedCalls,
    /// What members have told of lost keys already.
    pub losses: Arc<LostKeyReport>,
    /// A number from 0 up to 1, the same for all members: what they do next, they do together.
    pub unit: f64,
}

/// What was counted and logged of keys that are gone after a batch: each once, by one member.
#[derive(Debug, Default)]
pub struct LostKeyReport(Mutex<(BTreeSet<AttributeKey>, bool)>);

impl LostKeyReport {
    /// How many of these keys were not counted before.
    pub fn count(&self, keys: &[AttributeKey]) -> usize {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter(|key| known.0.insert((*key).clone())).count()
    }

    /// Whether this is the first member to find the map replaced.
    pub fn is_first_evidence(&self) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut known.1, true)
    }
}
