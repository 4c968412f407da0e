//! What conversations looked like when they were read last, for a short while.
//!
//! A write to a participant seen moments ago needs no read before it: who is there, how large its
//! map is and what the keys held is known well enough, and the read-back judges anyway. Nothing is
//! ever reported as verified or unchanged out of here. Bounded in bytes, the oldest goes first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::snapshot::{ById, ParticipantKey, ReadTarget, Snapshot};
use crate::domain::Conversation;
use crate::ports::MetricsRecorder;

/// What a conversation or participant costs beside its texts: the structs, the map's node and the
/// index below. Counted generously, so that the bound holds for the process, not only on paper.
const CONVERSATION_OVERHEAD: usize = 320;
/// The same for an attribute: two shared texts with their counters, and a place in a tree.
const ATTRIBUTE_OVERHEAD: usize = 160;

/// Conversations as they were read last.
pub struct SnapshotCache {
    state: Mutex<CacheState>,
    recorder: Arc<dyn MetricsRecorder>,
    keep_for: Duration,
    bytes: usize,
}

#[derive(Default)]
struct CacheState {
    seen: ById<ReadTarget, CacheEntry>,
    /// By the order in which they were remembered, which is nearly that of their reads.
    order: BTreeMap<u64, ReadTarget>,
    next: u64,
    bytes: usize,
}

struct CacheEntry {
    snapshot: Snapshot,
    order: u64,
    bytes: usize,
    /// A PATCH of ours was answered since: no read may be served from it any more.
    overwritten: bool,
}

impl SnapshotCache {
    /// Remembers for `keep_for` what fits into `bytes`.
    pub fn new(keep_for: Duration, bytes: usize, recorder: Arc<dyn MetricsRecorder>) -> Self {
        Self { state: Mutex::default(), recorder, keep_for, bytes }
    }

    /// Takes note of a read, unless a later one is known. `overwritten` tells that a PATCH was
    /// answered since it was sent. `true` if nothing was remembered before:
    /// somebody has to [`sweep`](Self::sweep) then, so that a quiet service forgets as well.
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
        // What never fits must not push everything else out first.
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

    /// The last read of a subject, if it was sent less than `within` ago.
    pub fn recall(&self, read_target: ReadTarget, within: Duration) -> Option<Snapshot> {
        let state = self.state();
        let seen = state.seen.get(&read_target)?;
        (seen.snapshot.sent.elapsed() < within).then(|| seen.snapshot.clone())
    }

    /// The same for a reader, who must not see less than what was written since.
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

    /// Forgets what nobody may use any more, until nothing is left.
    pub async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.keep_for).await;
            let mut state = self.state();
            while state.oldest_is_older_than(self.keep_for) {
                state.forget_oldest();
            }
            if state.seen.is_empty() {
                // Maps keep the room that they once needed.
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

/// Bytes that a remembered conversation takes, roughly and rather too many.
fn weight(conversation: &Conversation) -> usize {
    let participants = conversation.participants.iter().map(|participant| {
        let texts = participant.attributes.iter();
        let texts = texts
            .map(|(key, value)| key.as_str().len() + value.expose().len() + ATTRIBUTE_OVERHEAD);
        let name = participant.name.as_ref().map_or(0, |name| name.expose().len());
        CONVERSATION_OVERHEAD + name + texts.sum::<usize>()
    });
    // There may be room for more of them than there are.
    let spare = conversation.participants.capacity() - conversation.participants.len();
    (1 + spare) * CONVERSATION_OVERHEAD + participants.sum::<usize>()
}
