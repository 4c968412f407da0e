//! One writer for each participant, over all replicas, and what replicas know of each other's writes.
//!
//! The note of the last PATCH has all values of the participant that were sent and that no read of the
//! writer has shown yet. The next writer adds them to its own pending writes. So the rules for unproved
//! values hold over all replicas.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::pending_writes::{PendingWrites, UnprovedValue};
use super::snapshot::ParticipantKey;
use crate::domain::{AttributeKey, AttributeValue};
use crate::error::Error;
use crate::ports::StoreLink;
use crate::ports::store::{LastPatch, PrivateBytes, StoreError, WriteLease, WriteLeases};

/// What writes do while the shared store is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutagePolicy {
    /// They go on with what this replica knows.
    Local,
    /// They are refused.
    Refuse,
}

/// Why a write is refused.
const AWAY: &str = "the write was not sent, because the store that replicas share does not answer";

/// Version of the note.
const VERSION: u8 = 1;

/// A note as it is stored.
#[derive(Serialize, Deserialize)]
struct PatchNote {
    version: u8,
    /// The process that wrote it, which knows its contents.
    writer: String,
    values: Vec<NotedValue>,
}

#[derive(Serialize, Deserialize)]
struct NotedValue {
    key: String,
    value: Option<String>,
    before: Option<String>,
    accepted: bool,
}

/// The right to send one PATCH.
#[derive(Debug)]
pub enum WritePermit {
    /// No other replica writes until this moment.
    Leased(WriteLease),
    /// The store is away, so other replicas may write, too.
    Unshared,
}

/// Gets the right to write, and exchanges notes with other replicas.
pub struct WriteCoordinator {
    leases: Arc<dyn WriteLeases>,
    link: Arc<StoreLink>,
    outage: OutagePolicy,
    keep: Duration,
    process: String,
}

impl WriteCoordinator {
    /// Notes are kept for `keep`.
    pub fn new(
        leases: Arc<dyn WriteLeases>,
        link: Arc<StoreLink>,
        outage: OutagePolicy,
        keep: Duration,
    ) -> Self {
        Self { leases, link, outage, keep, process: Uuid::new_v4().to_string() }
    }

    /// Whether other replicas may have sent values that this one cannot know of.
    pub fn is_unproved(&self) -> bool {
        self.link.is_unproved()
    }

    /// Takes the right to write. `None`: another replica has it.
    pub(super) async fn acquire(
        &self,
        participant_key: ParticipantKey,
        pending_writes: &PendingWrites,
    ) -> Result<Option<WritePermit>, Error> {
        if !self.link.is_up() {
            return self.unshared().map(Some);
        }
        match self.leases.acquire(&name(participant_key)).await {
            Ok(Some(lease)) => {
                if let Some(patch) = &lease.last_patch {
                    self.adopt(participant_key, patch, pending_writes);
                }
                Ok(Some(WritePermit::Leased(lease)))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.link.failed(&error);
                self.unshared().map(Some)
            }
        }
    }

    /// Learns what other replicas have sent and not proved.
    pub(super) async fn learn(
        &self,
        participant_key: ParticipantKey,
        pending_writes: &PendingWrites,
    ) -> Result<(), Error> {
        if self.link.is_up() {
            match self.leases.last_patch(&name(participant_key)).await {
                Ok(Some(patch)) => self.adopt(participant_key, &patch, pending_writes),
                Ok(None) => {}
                Err(error) => self.link.failed(&error),
            }
        }
        if self.link.is_up() { Ok(()) } else { self.unshared().map(|_| ()) }
    }

    /// Notes what is about to be sent. `false`: the lease is lost, so nothing may be sent.
    pub(super) async fn record(
        &self,
        permit: &mut WritePermit,
        participant_key: ParticipantKey,
        pending_writes: &PendingWrites,
    ) -> Result<bool, Error> {
        let WritePermit::Leased(lease) = permit else { return Ok(true) };
        match self.leases.record(lease, self.note(participant_key, pending_writes), self.keep).await
        {
            Ok(held) => Ok(held),
            Err(error) => {
                self.link.failed(&error);
                *permit = self.unshared()?;
                Ok(true)
            }
        }
    }

    /// Ends the lease, and notes what became of the PATCH.
    pub(super) async fn release(
        &self,
        permit: WritePermit,
        participant_key: ParticipantKey,
        pending_writes: &PendingWrites,
        has_sent: bool,
    ) {
        let WritePermit::Leased(lease) = permit else { return };
        // Without the store, the lease ends by itself.
        if self.link.is_up() {
            let note = has_sent.then(|| (self.note(participant_key, pending_writes), self.keep));
            if let Err(error) = self.leases.release(lease, note).await {
                self.link.failed(&error);
            }
        }
    }

    fn unshared(&self) -> Result<WritePermit, Error> {
        match self.outage {
            OutagePolicy::Local => Ok(WritePermit::Unshared),
            OutagePolicy::Refuse => Err(Error::StoreUnavailable(AWAY.to_owned())),
        }
    }

    fn note(&self, participant_key: ParticipantKey, pending_writes: &PendingWrites) -> LastPatch {
        let text = |value: &AttributeValue| value.expose().to_owned();
        let values =
            pending_writes.unproved(participant_key).into_iter().map(|unproved| NotedValue {
                key: unproved.key.as_str().to_owned(),
                value: unproved.value.as_ref().map(text),
                before: unproved.before.as_ref().map(text),
                accepted: unproved.accepted,
            });
        let note =
            PatchNote { version: VERSION, writer: self.process.clone(), values: values.collect() };
        let text = serde_json::to_vec(&note).unwrap_or_default();
        LastPatch { id: Uuid::new_v4(), note: PrivateBytes(text) }
    }

    /// Adds the unproved values of another replica to those of this one.
    fn adopt(
        &self,
        participant_key: ParticipantKey,
        patch: &LastPatch,
        pending_writes: &PendingWrites,
    ) {
        match serde_json::from_slice::<PatchNote>(&patch.note.0) {
            Ok(note) if note.version == VERSION && note.writer == self.process => {}
            Ok(note) if note.version == VERSION => {
                let values = note.values.into_iter().filter_map(|noted| {
                    Some(UnprovedValue {
                        key: AttributeKey::new(&noted.key).ok()?,
                        value: noted.value.as_deref().map(AttributeValue::new),
                        before: noted.before.as_deref().map(AttributeValue::new),
                        accepted: noted.accepted,
                    })
                });
                pending_writes.adopt(participant_key, patch.id, values.collect());
            }
            _ => {
                let what = "a note of another replica; do not mix versions of the gateway";
                self.link.failed(&StoreError::Unreadable(what.to_owned()));
            }
        }
    }
}

/// The name of a participant in the store.
fn name((conversation, participant): ParticipantKey) -> String {
    format!("{conversation}:{participant}")
}
