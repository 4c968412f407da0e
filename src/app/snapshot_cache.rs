//! The last read of each conversation, kept for a short while.
//!
//! A write to a participant that was read moments ago needs no read of its own: the cache knows the
//! participants, the size of the map and the old values well enough, and the read-back verifies
//! anyway. Nothing from the cache is reported as verified or unchanged. The size is bounded in
//! bytes; the oldest entry goes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::snapshot::{ById, ParticipantKey, ReadTarget, Snapshot};
use crate::domain::Conversation;
use crate::ports::MetricsRecorder;

/// Bytes of a conversation or participant besides its texts: the structs, the map's node and the
/// index below. Counted generously, so that the bound holds for the process.
const CONVERSATION_OVERHEAD: usize = 320;
/// The same for an attribute: two shared texts with their counters, and a tree entry.
const ATTRIBUTE_OVERHEAD: usize = 160;

/// A cache of the last reads.
pub struct SnapshotCache {
    state: Mutex<CacheState>,
    recorder: Arc<dyn MetricsRecorder>,
    keep_for: Duration,
    bytes: usize,
}

#[derive(Default)]
struct CacheState {
    seen: ById<ReadTarget, CacheEntry>,
    /// By the order of insertion, which is nearly the order of the reads.
    order: BTreeMap<u64, ReadTarget>,
    next: u64,
    bytes: usize,
}

struct CacheEntry {
    snapshot: Snapshot,
    order: u64,
    bytes: usize,
    /// A PATCH of ours was answered since: no read may be served from it.
    overwritten: bool,
}

impl SnapshotCache {
    /// A cache that keeps entries for `keep_for`, and at most `bytes`.
    pub fn new(keep_for: Duration, bytes: usize, recorder: Arc<dyn MetricsRecorder>) -> Self {
        Self { state: Mutex::default(), recorder, keep_for, bytes }
    }

    /// Keeps a read, unless a later one is known. `overwritten` says that a PATCH was answered
    /// since it was sent. Returns `true` if the cache was empty: the caller then starts a
    /// [`sweep`](Self::sweep), so that entries expire even without traffic.
    pub fn remember(
        &self,
        read_target: ReadTarget,
        snapshot: &Snapshot,
        overwritten: bool,
    ) -> bool {
        if self.keep_for.is_zero() {
            return false;
        }
        let bytes = weight(&snapshot.conversation);
        let mut state = self.state();
        if state.seen.get(&read_target).is_some_and(|seen| seen.snapshot.sent > snapshot.sent) {
            return false;
        }
        let was_empty = state.seen.is_empty();
        state.forget(&read_target);
        // A conversation that is too large must not push out all others first.
        if bytes > self.bytes {
            self.recorder.remembered(state.seen.len(), state.bytes);
            return false;
        }
        let order = state.next;
        state.next += 1;
        state.bytes += bytes;
        state.order.insert(order, read_target);
        let seen = CacheEntry { snapshot: snapshot.clone(), order, bytes, overwritten };
        state.seen.insert(read_target, seen);
        while state.bytes > self.bytes || state.oldest_is_older_than(self.keep_for) {
            state.forget_oldest();
        }
        self.recorder.remembered(state.seen.len(), state.bytes);
        was_empty
    }

    /// The last read of a target, if it was sent less than `within` ago.
    pub fn recall(&self, read_target: ReadTarget, within: Duration) -> Option<Snapshot> {
        let state = self.state();
        let seen = state.seen.get(&read_target)?;
        (seen.snapshot.sent.elapsed() < within).then(|| seen.snapshot.clone())
    }

    /// The same for a client's read, which must show all that was written since.
    pub fn recall_unwritten(&self, read_target: ReadTarget, within: Duration) -> Option<Snapshot> {
        let overwritten = self.state().seen.get(&read_target).is_none_or(|seen| seen.overwritten);
        self.recall(read_target, within).filter(|_| !overwritten)
    }

    /// A PATCH to this conversation was answered.
    pub fn patched(&self, (conversation, participant): ParticipantKey) {
        let mut state = self.state();
        for participant in [None, Some(participant)] {
            if let Some(seen) = state.seen.get_mut(&ReadTarget { conversation, participant }) {
                seen.overwritten = true;
            }
        }
    }

    /// Removes expired entries, until nothing is left.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.keep_for).await;
            let mut state = self.state();
            while state.oldest_is_older_than(self.keep_for) {
                state.forget_oldest();
            }
            if state.seen.is_empty() {
                // Empty maps would keep their allocation.
                *state = CacheState { next: state.next, ..CacheState::default() };
            }
            self.recorder.remembered(state.seen.len(), state.bytes);
            if state.seen.is_empty() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheState {
    fn forget(&mut self, read_target: &ReadTarget) {
        if let Some(seen) = self.seen.remove(read_target) {
            self.order.remove(&seen.order);
            self.bytes -= seen.bytes;
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, read_target)) = self.order.pop_first()
            && let Some(seen) = self.seen.remove(&read_target)
        {
            self.bytes -= seen.bytes;
        }
    }

    fn oldest_is_older_than(&self, age: Duration) -> bool {
        let oldest =
            self.order.first_key_value().and_then(|(_, read_target)| self.seen.get(read_target));
        oldest.is_some_and(|seen| seen.snapshot.sent.elapsed() >= age)
    }
}

/// The approximate bytes of a conversation, estimated high.
fn weight(conversation: &Conversation) -> usize {
    let participants = conversation.participants.iter().map(|participant| {
        let texts = participant.attributes.iter();
        let texts = texts
            .map(|(key, value)| key.as_str().len() + value.expose().len() + ATTRIBUTE_OVERHEAD);
        let name = participant.name.as_ref().map_or(0, |name| name.expose().len());
        CONVERSATION_OVERHEAD + name + texts.sum::<usize>()
    });
    // The vector may have spare capacity.
    let spare = conversation.participants.capacity() - conversation.participants.len();
    (1 + spare) * CONVERSATION_OVERHEAD + participants.sum::<usize>()
}
