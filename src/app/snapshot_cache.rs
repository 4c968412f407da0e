//! The last read of each conversation, kept for a short while.
//!
//! A write to a participant that was read moments ago needs no read of its own: the cache knows the
//! participants, the size of the map and the old values well enough, and the read-back verifies
//! anyway. Nothing from the cache is reported as verified or unchanged. The size is bounded in
//! bytes; the oldest entry goes first. The crates for caches keep what was used often, which is of
//! no use where entries live for seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::snapshot::{ById, ReadTarget, Snapshot};
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
    recorder: Arc<MetricsRecorder>,
    keep_for: Duration,
    bytes: usize,
}

#[derive(Default)]
struct CacheState {
    entries: ById<ReadTarget, CacheEntry>,
    /// In the order of insertion, which is nearly the order of the reads. A replaced entry stays
    /// listed until it is the oldest.
    order: VecDeque<(u64, ReadTarget)>,
    last_id: u64,
    bytes: usize,
}

struct CacheEntry {
    id: u64,
    snapshot: Snapshot,
    bytes: usize,
    /// A PATCH of ours was answered since: no read may be served from it.
    is_overwritten: bool,
}

impl SnapshotCache {
    /// A cache that keeps entries for `keep_for`, and at most `bytes`.
    pub fn new(keep_for: Duration, bytes: usize, recorder: Arc<MetricsRecorder>) -> Self {
        Self { state: Mutex::default(), recorder, keep_for, bytes }
    }

    /// Keeps a read, unless a later one is known. `is_overwritten` says that a PATCH was answered
    /// since it was sent.
    pub fn remember(
        self: &Arc<Self>,
        read_target: ReadTarget,
        snapshot: &Snapshot,
        is_overwritten: bool,
    ) {
        let mut state = self.state.lock();
        let later = state.entries.get(&read_target).map(|entry| entry.snapshot.sent);
        if self.keep_for.is_zero() || later > Some(snapshot.sent) {
            return;
        }
        let was_empty = state.entries.is_empty();
        state.remove(&read_target);
        let bytes = weight(&snapshot.conversation);
        // A conversation that is too large must not push out all others first.
        if bytes <= self.bytes {
            state.last_id += 1;
            state.bytes += bytes;
            let id = state.last_id;
            state.order.push_back((id, read_target));
            let entry = CacheEntry { id, snapshot: snapshot.clone(), bytes, is_overwritten };
            state.entries.insert(read_target, entry);
            state.shrink(self.bytes, self.keep_for);
            if was_empty {
                tokio::spawn(Arc::clone(self).sweep());
            }
        }
        self.recorder.writes.set_cached(state.entries.len(), state.bytes);
    }

    /// The last read of a target, if it was sent less than `within` ago.
    pub fn recall(&self, read_target: &ReadTarget, within: Duration) -> Option<Snapshot> {
        self.find(read_target, within, |_| true)
    }

    /// The same for a client's read, which must show all that was written since.
    pub fn recall_unwritten(&self, read_target: &ReadTarget, within: Duration) -> Option<Snapshot> {
        self.find(read_target, within, |entry| !entry.is_overwritten)
    }

    fn find(
        &self,
        read_target: &ReadTarget,
        within: Duration,
        is_usable: impl Fn(&CacheEntry) -> bool,
    ) -> Option<Snapshot> {
        let state = self.state.lock();
        let entry = state.entries.get(read_target)?;
        let is_recent = entry.snapshot.sent.elapsed() < within;
        (is_recent && is_usable(entry)).then(|| entry.snapshot.clone())
    }

    /// A PATCH to this target was answered.
    pub fn patched(&self, read_target: &ReadTarget) {
        if let Some(entry) = self.state.lock().entries.get_mut(read_target) {
            entry.is_overwritten = true;
        }
    }

    /// Removes expired entries even without traffic, until nothing is left.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.keep_for).await;
            let mut state = self.state.lock();
            state.shrink(self.bytes, self.keep_for);
            self.recorder.writes.set_cached(state.entries.len(), state.bytes);
            if state.entries.is_empty() {
                // Empty collections would keep their allocation.
                *state = CacheState { last_id: state.last_id, ..CacheState::default() };
                return;
            }
        }
    }
}

impl CacheState {
    fn remove(&mut self, read_target: &ReadTarget) {
        if let Some(entry) = self.entries.remove(read_target) {
            self.bytes -= entry.bytes;
        }
    }

    /// Removes the oldest entries, as long as there are too many bytes or they are too old.
    fn shrink(&mut self, bytes: usize, keep_for: Duration) {
        while let Some((id, read_target)) = self.order.front().copied() {
            let entry = self.entries.get(&read_target).filter(|entry| entry.id == id);
            let is_expired = |entry: &CacheEntry| {
                self.bytes > bytes || entry.snapshot.sent.elapsed() >= keep_for
            };
            match entry.map(is_expired) {
                Some(false) => return,
                Some(true) => self.remove(&read_target),
                None => {}
            }
            self.order.pop_front();
        }
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::domain::TimeRange;
    use crate::ports::RequestContext;

    #[tokio::test(start_paused = true)]
    async fn an_older_read_replaces_no_newer_one() {
        let keep_for = Duration::from_secs(10);
        let cache = Arc::new(SnapshotCache::new(keep_for, 10_000, Arc::default()));
        let conversation = "5eed0000-0000-4000-8000-000000000001".parse().expect("an id");
        let read_target = ReadTarget { conversation, participant: None };
        let older = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let newer = Instant::now();
        for sent in [older, newer, older] {
            let conversation = Conversation {
                id: conversation,
                live: Some(true),
                span: TimeRange::default(),
                participants: Vec::new(),
            };
            let (conversation, spent) = (Arc::new(conversation), RequestContext::new(sent));
            cache.remember(read_target, &Snapshot { sent, conversation, spent }, false);
        }
        let kept = cache.recall(&read_target, keep_for).expect("remembered");
        assert_eq!(kept.sent, newer);
    }
}
