//! One batch: the map that it starts from, the merged changes of its members, and its PATCH.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::merge::{MergeContribution, PatchMerger};
use super::queue::QueuedWrite;
use super::submission::{BatchReceipt, LostKeyReport, SubmissionResult};
use super::worker::BatchWorker;
use crate::app::access_filter;
use crate::app::budget_accounts::ReservedCalls;
use crate::app::coalesced_reads::{CoalescedRead, Freshness};
use crate::app::pending_writes::PendingWriteId;
use crate::domain::{AttributeKey, AttributeMap, Patch, UnconfirmedValues};
use crate::error::Error;
use crate::ports::{
    CallPermit, CallPermits, PatchFate, PriorityClass, RequestContext, RequestPhase, StateBefore,
    UpstreamFailure, UpstreamPatch,
};

/// The maximum age of a read that a precondition is checked on, or that a whole map is sent on.
const MAX_BASE_AGE: Duration = Duration::from_secs(1);

/// The first and the longest pause of a conditional write that waits for an earlier result.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The map that a batch starts from.
struct MergeBase {
    /// As last read.
    shown: Arc<AttributeMap>,
    shown_at: Instant,
    /// With our own writes that no read has shown yet.
    state_before: Arc<StateBefore>,
    /// Our values that reads may show before they show this batch.
    unseen: Arc<UnconfirmedValues>,
}

/// A batch that is ready to be sent.
struct WriteBatch {
    queued_writes: Vec<QueuedWrite>,
    parts: Vec<MergeContribution>,
    patch: Arc<Patch>,
    merge_base: MergeBase,
    context: RequestContext,
    permits: Vec<CallPermit>,
    /// Identifies its PATCH among the pending writes, once it is sent.
    pending_id: Option<PendingWriteId>,
}

impl BatchWorker {
    /// Sends `queued_writes` in one PATCH.
    pub(super) async fn run_batch(
        &self,
        queued_writes: Vec<QueuedWrite>,
        permits: Vec<CallPermit>,
        context: RequestContext,
    ) {
        let Some(batch) = self.batch(queued_writes, permits, context).await else { return };
        for mut queued_write in self.send(batch).await {
            // The batch was rejected, perhaps because of another member: each is sent alone, in
            // order, with calls reserved for it alone.
            queued_write.alone = true;
            self.requeue(queued_write);
        }
    }

    async fn batch(
        &self,
        queued_writes: Vec<QueuedWrite>,
        mut permits: Vec<CallPermit>,
        context: RequestContext,
    ) -> Option<WriteBatch> {
        let (queued_writes, merge_base) =
            self.merge_base(queued_writes, &mut permits, &context).await?;
        let (queued_writes, merge) = self.merge(queued_writes, &merge_base);
        let (patch, parts) = merge.finish();
        let patch = Arc::new(patch);
        (!queued_writes.is_empty()).then_some(WriteBatch {
            queued_writes,
            parts,
            patch,
            merge_base,
            context,
            permits,
            pending_id: None,
        })
    }

    /// The newest map that any member knows. It is read again if it is too old for a precondition
    /// or for a whole map.
    async fn merge_base(
        &self,
        mut queued_writes: Vec<QueuedWrite>,
        permits: &mut Vec<CallPermit>,
        context: &RequestContext,
    ) -> Option<(Vec<QueuedWrite>, MergeBase)> {
        let begun = Instant::now();
        queued_writes = self.put_off_unsettled(queued_writes);
        let newest =
            queued_writes.iter().max_by_key(|queued_write| queued_write.submission.shown_at)?;
        let (mut shown, mut shown_at) =
            (newest.submission.shown.clone(), newest.submission.shown_at);
        while queued_writes.iter().any(|queued_write| self.is_stale(queued_write, shown_at, begun))
        {
            match self.read(permits.pop(), context).await {
                Ok((map, sent)) => (shown, shown_at) = (map, sent),
                Err(error) => {
                    // A whole map that is stale would undo other writers' changes.
                    let full = self.shared.parts.settings.patch_full;
                    let needs_it = |queued_write: &QueuedWrite| {
                        full || queued_write.submission.condition.is_some()
                    };
                    let (judged, rest): (Vec<_>, Vec<_>) =
                        queued_writes.into_iter().partition(needs_it);
                    for queued_write in judged {
                        queued_write.submission.context.add_usage_of(context);
                        queued_write.complete(SubmissionResult::Refused(error.clone()));
                    }
                    queued_writes = rest;
                }
            }
        }
        let state_before =
            Arc::new(self.shared.parts.pending_writes.expected_state(self.participant_key, &shown));
        let unseen = Arc::new(self.shared.parts.pending_writes.unseen_values(self.participant_key));
        Some((queued_writes, MergeBase { shown: Arc::new(shown), shown_at, state_before, unseen }))
    }

    /// Whether a map read at `shown_at` is too old for this member. It may lack an accepted write
    /// that a later read has confirmed, and that the overlay no longer holds.
    fn is_stale(&self, queued_write: &QueuedWrite, shown_at: Instant, begun: Instant) -> bool {
        let (pending_writes, participant_key) =
            (&self.shared.parts.pending_writes, self.participant_key);
        let judged = queued_write.submission.condition.is_some();
        if !judged && !self.shared.parts.settings.patch_full {
            return false;
        }
        let settle = self.shared.parts.lags.settle().measured;
        shown_at + MAX_BASE_AGE < begun
            || pending_writes.answered_last(participant_key).is_some_and(|at| shown_at <= at)
            || pending_writes.is_outdated(participant_key, shown_at)
            || judged
                && (shown_at < queued_write.submission.arrived
                    || pending_writes.is_unsettled(
                        participant_key,
                        &queued_write.submission.pending_ids,
                        shown_at,
                        settle,
                    ))
    }

    async fn read(
        &self,
        permit: Option<CallPermit>,
        context: &RequestContext,
    ) -> Result<(AttributeMap, Instant), Error> {
        let wanted = CoalescedRead {
            read_target: self
                .shared
                .parts
                .reads
                .target(self.participant_key.0, Some(self.participant_key.1)),
            cause: Freshness::SentAfter(Instant::now()),
            class: PriorityClass::Committed,
            retries: true,
            permit,
            reserve: 0,
        };
        let (snapshot, _) = self.shared.parts.reads.read(wanted, context).await?;
        let participant = snapshot.conversation.participant(self.participant_key.1);
        let map = participant.map(|participant| participant.attributes.clone());
        Ok((map.unwrap_or_default(), snapshot.sent))
    }

    /// A precondition cannot be checked while the result of an earlier write is unknown.
    fn put_off_unsettled(&self, queued_writes: Vec<QueuedWrite>) -> Vec<QueuedWrite> {
        let settle = self.shared.parts.lags.settle().measured;
        let unsettled = |queued_write: &QueuedWrite| {
            let own = &queued_write.submission.pending_ids;
            queued_write.submission.condition.is_some()
                && self.shared.parts.pending_writes.is_unsettled(
                    self.participant_key,
                    own,
                    Instant::now(),
                    settle,
                )
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = queued_writes.into_iter().partition(unsettled);
        for mut queued_write in waiting {
            let pause =
                FIRST_PAUSE.saturating_mul(1 << queued_write.put_off.min(10)).min(MAX_PAUSE);
            queued_write.put_off += 1;
            queued_write.not_before = Some(Instant::now() + pause);
            self.requeue(queued_write);
        }
        ready
    }

    /// Merges in order of arrival. Members that do not fit are refused, or wait for the next batch.
    fn merge(
        &self,
        queued_writes: Vec<QueuedWrite>,
        merge_base: &MergeBase,
    ) -> (Vec<QueuedWrite>, PatchMerger) {
        let mut merge = PatchMerger::new(
            merge_base.state_before.map.clone(),
            self.shared.parts.settings.limits,
        );
        let mut members = Vec::with_capacity(queued_writes.len());
        for queued_write in queued_writes {
            let submission = &queued_write.submission;
            if let Some(condition) = &submission.condition
                && !condition.holds(self.participant_key.1, merge.map(), &submission.patch)
            {
                if condition.holds(
                    self.participant_key.1,
                    &merge_base.state_before.map,
                    &submission.patch,
                ) {
                    // Only this batch contradicts the precondition, and it may fail: checked again
                    // after it.
                    self.requeue(queued_write);
                } else {
                    let current =
                        condition.current(self.participant_key.1, &merge_base.state_before.map);
                    queued_write.fail(Error::PreconditionFailed { current });
                }
                continue;
            }
            let wanted = self.wanted(&queued_write, merge_base, merge.map());
            let pending_writes = &self.shared.parts.pending_writes;
            // A map older than the write itself must neither admit nor refuse it.
            let is_remembered = merge_base.shown_at < submission.arrived;
            let added = merge.add((submission.arrival, is_remembered), &wanted, |key, change| {
                pending_writes.is_overtaken(self.participant_key, key, submission.arrival, change)
            });
            match added {
                Ok(()) => members.push(queued_write),
                Err(excess) => queued_write
                    .complete(SubmissionResult::Refused(Error::AttributesTooLarge(excess))),
            }
        }
        (members, merge)
    }

    /// The changes of a member. With a precondition they are compared here; the others have already
    /// left out what is in place.
    fn wanted(
        &self,
        queued_write: &QueuedWrite,
        merge_base: &MergeBase,
        now: &AttributeMap,
    ) -> Patch {
        let submission = &queued_write.submission;
        if submission.condition.is_none() {
            return submission.patch.clone();
        }
        // Values that only stand there through unseen changes are sent too: they would be called
        // unchanged without ever having been read.
        let (unseen, undone) =
            (submission.patch.missing_in(&merge_base.shown), submission.patch.missing_in(now));
        let pending_writes = &self.shared.parts.pending_writes;
        submission.patch.only(|key| {
            unseen.get(key).is_some()
                || undone.get(key).is_some()
                || pending_writes.is_open(self.participant_key, key)
        })
    }

    /// Sends a batch and reports the result. Returns the members that have to be sent alone.
    async fn send(&self, mut batch: WriteBatch) -> Vec<QueuedWrite> {
        if batch.patch.is_empty() {
            self.report_result(batch, &Ok(Instant::now()));
            return Vec::new();
        }
        let (pending_writes, participant_key) =
            (&self.shared.parts.pending_writes, self.participant_key);
        let arrivals = PatchMerger::arrivals(&batch.parts);
        let pending_id = pending_writes.sending(
            participant_key,
            &batch.patch,
            &batch.merge_base.shown,
            &arrivals,
        );
        batch.pending_id = Some(pending_id);
        let call = self.upstream_patch(&mut batch);
        self.shared.parts.recorder.batch(batch.queued_writes.len());
        let start = Instant::now();
        let result = self.shared.parts.conversations.patch(call, &batch.context).await;
        batch.context.spend(RequestPhase::Patch, start.elapsed());
        self.record_result(pending_id, &result);
        match result {
            Err(failure) if batch.queued_writes.len() > 1 && is_rejection(&failure) => {
                batch.queued_writes.iter().for_each(|queued_write| {
                    queued_write.submission.context.add_usage_of(&batch.context);
                });
                batch.queued_writes
            }
            result => {
                self.report_result(batch, &result.map(|()| Instant::now()));
                Vec::new()
            }
        }
    }

    fn upstream_patch(&self, batch: &mut WriteBatch) -> UpstreamPatch {
        let sent_before = |one: &QueuedWrite| !one.submission.pending_ids.is_empty();
        UpstreamPatch {
            conversation: self.participant_key.0,
            participant: self.participant_key.1,
            attributes: self.body(batch),
            again: batch.queued_writes.iter().all(sent_before),
            permit: batch.permits.pop(),
        }
    }

    /// Records the result of a PATCH in what is kept between requests.
    fn record_result(&self, pending_id: PendingWriteId, result: &Result<(), UpstreamFailure>) {
        let (pending_writes, participant_key) =
            (&self.shared.parts.pending_writes, self.participant_key);
        match result {
            Ok(()) => pending_writes.accepted(participant_key, pending_id),
            Err(UpstreamFailure { fate: PatchFate::NotApplied, .. }) => {
                pending_writes.refused(participant_key, pending_id);
            }
            Err(UpstreamFailure { fate: PatchFate::Unknown | PatchFate::UnknownOnce, .. }) => {}
        }
        pending_writes.answered(participant_key);
        self.shared.parts.reads.patched(participant_key);
    }

    fn body(&self, batch: &WriteBatch) -> AttributeMap {
        if self.shared.parts.settings.patch_full {
            // A whole map must contain our own writes that no read has shown yet.
            batch.patch.applied_to(&batch.merge_base.state_before.map)
        } else {
            batch.patch.as_sent()
        }
    }

    fn report_result(&self, batch: WriteBatch, result: &Result<Instant, UpstreamFailure>) {
        let WriteBatch {
            queued_writes,
            parts,
            patch,
            merge_base,
            context,
            mut permits,
            pending_id,
        } = batch;
        let reserved_calls = permits
            .pop()
            .map(|permit| ReservedCalls::new(CallPermits::from(permit)))
            .unwrap_or_default();
        let (unit, losses) = ((self.shared.parts.random)(), Arc::<LostKeyReport>::default());
        for (mut queued_write, part) in queued_writes.into_iter().zip(parts) {
            let result = queued_write.result_of(result, &patch, &part);
            let result = &result;
            queued_write.submission.context.add_usage_of(&context);
            if let Some(wait) = pause_before_another(&queued_write, result, &context) {
                queued_write.not_before = Some(Instant::now() + wait);
                self.requeue(queued_write);
                continue;
            }
            let receipt = BatchReceipt {
                carried: part.carried,
                overtaken: part.overtaken,
                patch: Arc::clone(&patch),
                shown: Arc::clone(&merge_base.shown),
                shown_at: merge_base.shown_at,
                state_before: Arc::clone(&merge_base.state_before),
                unseen: Arc::clone(&merge_base.unseen),
                result: result.clone(),
                pending_id,
                reserved_calls: reserved_calls.clone(),
                losses: Arc::clone(&losses),
                unit,
            };
            queued_write.complete(SubmissionResult::Sent(Box::new(receipt)));
        }
    }
}

impl QueuedWrite {
    /// The result of the PATCH, without what this member must not see of the others.
    fn result_of(
        &self,
        result: &Result<Instant, UpstreamFailure>,
        patch: &Patch,
        part: &MergeContribution,
    ) -> Result<Instant, UpstreamFailure> {
        let rights = &self.submission.context.client().rights;
        let own =
            |key: &AttributeKey| part.carried.get(key).is_some() || part.overtaken.contains(key);
        result.clone().map_err(|failure| {
            if patch.keys().all(own) {
                return failure;
            }
            UpstreamFailure {
                error: access_filter::refusal_of_shared(failure.error, rights),
                ..failure
            }
        })
    }
}

/// How long a member waits for another batch, if its own failed only because of another member's
/// earlier deadline and there is time left.
fn pause_before_another(
    queued_write: &QueuedWrite,
    result: &Result<Instant, UpstreamFailure>,
    context: &RequestContext,
) -> Option<Duration> {
    let Err(UpstreamFailure { error, fate: PatchFate::NotApplied, .. }) = result else {
        return None;
    };
    if !context.was_cut_short() {
        return None;
    }
    let wait = error.retry_after().unwrap_or_default();
    let fits = Instant::now() + wait < queued_write.deadline()
        && queued_write.deadline() > context.start_by();
    fits.then_some(wait)
}

/// Whether upstream refused the content of the PATCH, and might accept less.
fn is_rejection(failure: &UpstreamFailure) -> bool {
    failure.fate == PatchFate::NotApplied
        && match &failure.error {
            Error::AttributesTooLarge(_) => true,
            Error::UpstreamRejected { status, .. } => matches!(status, 400 | 413 | 422),
            _ => false,
        }
}
