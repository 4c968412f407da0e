//! Reads of conversations, shared by the requests that can use them.
//!
//! The cause of a client's read is the last answer to a PATCH of ours; the cause of a write's read is
//! its arrival, or the acceptance of its PATCH. So one read-back serves all verifications of a
//! conversation that wait, for any participant.

use std::sync::Arc;

use super::coalescing::{CallParts, CallSource, CoalescedCall, Coalescer};
use super::lag::LagTracker;
use super::pending_writes::PendingWrites;
use super::snapshot::{ParticipantKey, ReadTarget, Snapshot};
use super::snapshot_cache::SnapshotCache;
use crate::domain::{ConversationId, ParticipantId};
use crate::error::Error;
use crate::ports::{ConversationsPort, RequestContext, UpstreamRead};

pub type ReadCoalescer = Coalescer<ConversationReads>;

pub type CoalescedRead = CoalescedCall<ReadTarget>;

/// Makes reads, and keeps what they show.
pub struct ConversationReads {
    pub conversations: Arc<dyn ConversationsPort>,
    pub cache: Arc<SnapshotCache>,
    pub pending_writes: PendingWrites,
    /// Measured lags, which say how long a third value has to stand before it counts as another
    /// writer's.
    pub lags: Arc<LagTracker>,
}

impl CallSource for ConversationReads {
    type Key = ReadTarget;
    type Output = Snapshot;
    const IS_RESERVED: bool = true;

    async fn call(
        &self,
        key: &ReadTarget,
        parts: CallParts,
        context: &RequestContext,
    ) -> Result<Snapshot, Error> {
        let CallParts { sent, retries, permit, class } = parts;
        let (conversation, participant) = (key.conversation, key.participant);
        let read = UpstreamRead { conversation, participant, retries, permit, class };
        let conversation = Arc::new(self.conversations.read(read, context).await?);
        Ok(Snapshot { sent, conversation, spent: context.clone() })
    }

    /// Compares a snapshot with the pending writes, and caches it.
    fn keep(&self, key: &ReadTarget, snapshot: &Snapshot, is_stale: bool) {
        if !self.pending_writes.is_idle() {
            let settle = self.lags.settle().measured;
            self.pending_writes.apply_snapshot(&snapshot.conversation, snapshot.sent, settle);
        }
        self.cache.remember(*key, snapshot, is_stale);
    }
}

impl ReadCoalescer {
    /// Whether a read shows every participant of a conversation.
    pub fn reads_whole(&self) -> bool {
        !self.source().conversations.reads_participants_singly()
    }

    /// What has to be read to see this participant.
    pub fn target(
        &self,
        conversation: ConversationId,
        participant: Option<ParticipantId>,
    ) -> ReadTarget {
        ReadTarget { conversation, participant: participant.filter(|_| !self.reads_whole()) }
    }

    /// A PATCH was answered or given up: reads sent before it serve no client any more.
    pub fn patched(&self, (conversation, participant): ParticipantKey) {
        for participant in [None, Some(participant)] {
            let target = ReadTarget { conversation, participant };
            self.source().cache.patched(&target);
            self.mark_stale(&target);
        }
    }
}
