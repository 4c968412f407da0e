//! The map that a batch starts from: the newest that any member knows, or a fresh read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::queue::QueuedWrite;
use super::submission::SubmissionResult;
use super::worker::BatchWorker;
use crate::app::coalescing::Freshness;
use crate::app::conversation_reads::CoalescedRead;
use crate::domain::{AttributeMap, UnconfirmedValues};
use crate::error::Error;
use crate::ports::{CallPermit, PriorityClass, RequestContext, StateBefore};

/// The maximum age of a read that a precondition is checked on, or that a whole map is sent on.
const MAX_BASE_AGE: Duration = Duration::from_secs(1);

/// The first and the longest pause of a conditional write that waits for an earlier result.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The map that a batch starts from.
pub(super) struct MergeBase {
    /// As last read.
    pub shown: Arc<AttributeMap>,
    pub shown_at: Instant,
    /// With our own writes that no read has shown yet.
    pub state_before: Arc<StateBefore>,
    /// Our values that reads may show before they show this batch.
    pub unseen: Arc<UnconfirmedValues>,
}

impl BatchWorker {
    /// Finds the base, and removes members that cannot be judged. `None` if none is left.
    pub(super) async fn merge_base(
        &mut self,
        queued_writes: &mut Vec<QueuedWrite>,
        permits: &mut Vec<CallPermit>,
        context: &RequestContext,
    ) -> Option<MergeBase> {
        let begun = Instant::now();
        self.defer_unsettled(queued_writes);
        let newest = queued_writes.iter().map(|queued_write| &queued_write.submission);
        let newest = newest.max_by_key(|submission| submission.shown_at)?;
        let (mut shown, mut shown_at) = (newest.shown.clone(), newest.shown_at);
        while queued_writes.iter().any(|queued_write| self.is_stale(queued_write, shown_at, begun))
        {
            match self.read(permits.pop(), context).await {
                Ok((map, sent)) => (shown, shown_at) = (map, sent),
                Err(error) => {
                    // A whole map that is stale would undo other writers' changes.
                    let judged =
                        queued_writes.extract_if(.., |queued_write| self.is_judged(queued_write));
                    for queued_write in judged {
                        queued_write.submission.context.add_usage_of(context);
                        queued_write.complete(SubmissionResult::Refused(error.clone()));
                    }
                }
            }
        }
        let pending_writes = &self.parts().pending_writes;
        let state_before = Arc::new(pending_writes.expected_state(self.participant_key, &shown));
        let unseen = Arc::new(pending_writes.unseen_values(self.participant_key));
        Some(MergeBase { shown: Arc::new(shown), shown_at, state_before, unseen })
    }

    /// Whether this member needs a map of now.
    fn is_judged(&self, queued_write: &QueuedWrite) -> bool {
        self.parts().settings.patch_full || queued_write.submission.condition.is_some()
    }

    /// Whether a map read at `shown_at` is too old for this member. It may lack an accepted write
    /// that a later read has confirmed, and that the overlay no longer holds.
    fn is_stale(&self, queued_write: &QueuedWrite, shown_at: Instant, begun: Instant) -> bool {
        let (pending_writes, key) = (&self.parts().pending_writes, self.participant_key);
        self.is_judged(queued_write)
            && (shown_at + MAX_BASE_AGE < begun
                || pending_writes.answered_last(key).is_some_and(|at| shown_at <= at)
                || pending_writes.is_outdated(key, shown_at)
                || queued_write.submission.condition.is_some()
                    && (shown_at < queued_write.submission.arrived
                        || self.is_unsettled(queued_write, shown_at)))
    }

    /// Whether the result of another write is unknown to a map read at `shown_at`.
    fn is_unsettled(&self, queued_write: &QueuedWrite, shown_at: Instant) -> bool {
        let (own, settle) =
            (&queued_write.submission.pending_ids, self.parts().lags.settle().measured);
        self.parts().pending_writes.is_unsettled(self.participant_key, own, shown_at, settle)
    }

    async fn read(
        &self,
        permit: Option<CallPermit>,
        context: &RequestContext,
    ) -> Result<(AttributeMap, Instant), Error> {
        let (conversation, participant) = self.participant_key;
        let reads = &self.parts().reads;
        let (target, cause) =
            (reads.target(conversation, Some(participant)), Freshness::SentAfter(Instant::now()));
        let wanted =
            CoalescedRead { permit, ..CoalescedRead::new(target, cause, PriorityClass::Committed) };
        let (snapshot, _) = reads.call(wanted, context).await?;
        let found = snapshot.conversation.participant(participant);
        let map = found.map(|participant| participant.attributes.clone());
        Ok((map.unwrap_or_default(), snapshot.sent))
    }

    /// A precondition cannot be checked while the result of an earlier write is unknown.
    fn defer_unsettled(&mut self, queued_writes: &mut Vec<QueuedWrite>) {
        let now = Instant::now();
        let is_unsettled = |queued_write: &mut QueuedWrite| {
            queued_write.submission.condition.is_some() && self.is_unsettled(queued_write, now)
        };
        let deferred: Vec<_> = queued_writes.extract_if(.., is_unsettled).collect();
        for mut queued_write in deferred {
            let pause = FIRST_PAUSE.saturating_mul(1 << queued_write.deferrals.min(10));
            queued_write.deferrals += 1;
            queued_write.not_before = Some(now + pause.min(MAX_PAUSE));
            self.requeue(queued_write);
        }
    }
}
