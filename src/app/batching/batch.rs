//! One batch: the merged changes of its members, and its PATCH.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::base::MergeBase;
use super::lease::{BatchHindrance, HeldPermit};
use super::merge::{MergeContribution, PatchMerger};
use super::queue::QueuedWrite;
use super::submission::{BatchReceipt, LostKeyReport, PatchInFlight, SubmissionResult};
use super::worker::BatchWorker;
use crate::app::access_filter;
use crate::app::budget_accounts::ReservedCalls;
use crate::app::pending_writes::PendingWriteId;
use crate::domain::{AttributeKey, AttributeMap, Patch};
use crate::error::Error;
use crate::ports::{
    CallPermit, CallPermits, PatchOutcome, RequestContext, RequestPhase, UnknownPatch,
    UpstreamPatch,
};

/// A batch that is ready to be sent.
struct WriteBatch {
    queued_writes: Vec<QueuedWrite>,
    parts: Vec<MergeContribution>,
    patch: Arc<Patch>,
    merge_base: MergeBase,
    context: RequestContext,
    permits: Vec<CallPermit>,
    sent_at: Instant,
}

impl BatchWorker {
    /// Sends `queued_writes` in one PATCH, and reports the outcome to them.
    pub(super) async fn run_batch(
        &mut self,
        mut queued_writes: Vec<QueuedWrite>,
        mut permits: Vec<CallPermit>,
        context: RequestContext,
        held: &mut Option<HeldPermit>,
    ) {
        let Some(merge_base) = self.merge_base(&mut queued_writes, &mut permits, &context).await
        else {
            return;
        };
        // A write that is cancelled earlier is not sent, and one that is cancelled later knows that it
        // may be. From here to the call of upstream nothing waits but for the note to other replicas.
        let queued_writes = mark_in_flight(queued_writes, &context);
        let (queued_writes, merge) = self.merge(queued_writes, &merge_base);
        let (patch, parts) = merge.finish();
        let patch = Arc::new(patch);
        let sent_at = Instant::now();
        let mut batch =
            WriteBatch { queued_writes, parts, patch, merge_base, context, permits, sent_at };
        if batch.patch.is_empty() {
            return self.report_outcome(batch, None, &PatchOutcome::Accepted);
        }
        let pending_id = self.register(&batch);
        if let Err(hindrance) = self.note_batch(held, &mut batch.context).await {
            return self.take_back(batch, pending_id, &hindrance);
        }
        let outcome = self.send(&mut batch, pending_id).await;
        match outcome {
            PatchOutcome::Refused(error)
                if batch.queued_writes.len() > 1 && is_rejection(&error) =>
            {
                // Perhaps because of another member: each is sent alone, in order, with calls
                // reserved for it alone.
                for mut queued_write in batch.queued_writes {
                    queued_write.submission.context.add_usage_of(&batch.context);
                    queued_write.is_single = true;
                    self.requeue(queued_write);
                }
            }
            outcome => self.report_outcome(batch, Some(pending_id), &outcome),
        }
    }

    /// Merges in order of arrival. Members that do not fit are refused, or wait for the next batch.
    fn merge(
        &mut self,
        queued_writes: Vec<QueuedWrite>,
        merge_base: &MergeBase,
    ) -> (Vec<QueuedWrite>, PatchMerger) {
        let (limits, before) = (self.parts().settings.limits, &merge_base.state_before.map);
        let mut merge = PatchMerger::new(before.clone(), limits);
        let (participant_key, participant) = (self.participant_key, self.participant_key.1);
        let mut members = Vec::with_capacity(queued_writes.len());
        for queued_write in queued_writes {
            let submission = &queued_write.submission;
            if let Some(condition) = &submission.condition
                && !condition.holds(participant, merge.map(), &submission.patch)
            {
                if condition.holds(participant, before, &submission.patch) {
                    // Only this batch contradicts the precondition, and it may fail: checked again
                    // after it.
                    self.requeue(queued_write);
                } else {
                    let current = condition.current(participant, before);
                    queued_write.fail(Error::PreconditionFailed { current });
                }
                continue;
            }
            let wanted = self.wanted(&queued_write, merge_base, merge.map());
            let pending_writes = &self.parts().pending_writes;
            // A map older than the write itself must neither admit nor refuse it.
            let is_remembered = merge_base.shown_at < submission.arrived;
            let is_overtaken = |key: &AttributeKey, change: &_| {
                pending_writes.is_overtaken(participant_key, key, submission.arrival, change)
            };
            match merge.add(submission.arrival, is_remembered, &wanted, is_overtaken) {
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
        let pending_writes = &self.parts().pending_writes;
        let is_unproved = self.parts().replicas.as_ref().is_some_and(|all| all.is_unproved());
        submission.patch.only(|key| {
            is_unproved
                || unseen.get(key).is_some()
                || undone.get(key).is_some()
                || pending_writes.is_open(self.participant_key, key)
        })
    }

    /// Takes back what was not sent: members try again, or are refused.
    fn take_back(
        &mut self,
        batch: WriteBatch,
        pending_id: PendingWriteId,
        hindrance: &BatchHindrance,
    ) {
        self.parts().pending_writes.refused(self.participant_key, pending_id);
        for queued_write in batch.queued_writes {
            queued_write.submission.context.add_usage_of(&batch.context);
            match hindrance {
                BatchHindrance::LeaseLost => self.requeue(queued_write),
                BatchHindrance::Refused(refusal) => {
                    *queued_write.in_flight.lock() = None;
                    queued_write.fail(refusal.clone());
                }
            }
        }
    }

    /// Records what is about to be sent.
    fn register(&self, batch: &WriteBatch) -> PendingWriteId {
        let arrivals = PatchMerger::arrivals(&batch.parts);
        let (pending_writes, shown) = (&self.parts().pending_writes, &batch.merge_base.shown);
        pending_writes.sending(self.participant_key, &batch.patch, shown, &arrivals)
    }

    /// Sends the PATCH, and records its outcome in what is kept between requests.
    async fn send(&self, batch: &mut WriteBatch, pending_id: PendingWriteId) -> PatchOutcome {
        let (parts, key) = (self.parts(), self.participant_key);
        let has_sent = |member: &QueuedWrite| !member.submission.pending_ids.is_empty();
        let call = UpstreamPatch {
            conversation: key.0,
            participant: key.1,
            attributes: if parts.settings.patch_full {
                // A whole map must contain our own writes that no read has shown yet.
                batch.patch.applied_to(&batch.merge_base.state_before.map)
            } else {
                batch.patch.as_sent()
            },
            again: batch.queued_writes.iter().all(has_sent),
            permit: batch.permits.pop(),
        };
        let writes = u32::try_from(batch.queued_writes.len()).unwrap_or(u32::MAX);
        parts.recorder.writes.batch.observe(writes.into());
        batch.sent_at = Instant::now();
        let outcome = parts.conversations.patch(call, &batch.context).await;
        batch.context.spend(RequestPhase::Patch, batch.sent_at.elapsed());
        match &outcome {
            PatchOutcome::Accepted => parts.pending_writes.accepted(key, pending_id),
            PatchOutcome::Refused(_) => parts.pending_writes.refused(key, pending_id),
            PatchOutcome::Unknown(_) => {}
        }
        parts.pending_writes.answered(key);
        parts.reads.patched(key);
        outcome
    }

    fn report_outcome(
        &mut self,
        batch: WriteBatch,
        pending_id: Option<PendingWriteId>,
        outcome: &PatchOutcome,
    ) {
        let WriteBatch { queued_writes, parts, patch, merge_base, context, mut permits, sent_at } =
            batch;
        let permits = permits.pop().map(|permit| ReservedCalls::new(CallPermits::from(permit)));
        let reserved_calls = permits.unwrap_or_default();
        let (unit, losses) = ((self.parts().random)(), Arc::<LostKeyReport>::default());
        let ended = Instant::now();
        for (mut queued_write, part) in queued_writes.into_iter().zip(parts) {
            let outcome = queued_write.outcome(outcome, &patch, &part);
            queued_write.submission.context.add_usage_of(&context);
            if let Some(wait) = pause_before_another(&queued_write, &outcome, &context) {
                queued_write.not_before = Some(ended + wait);
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
                outcome,
                sent_at,
                ended,
                pending_id,
                reserved_calls: reserved_calls.clone(),
                losses: Arc::clone(&losses),
                unit,
            };
            queued_write.complete(SubmissionResult::Sent(Box::new(receipt)));
        }
    }
}

/// Marks the members as in flight, and drops those that were cancelled or are for another process to send.
fn mark_in_flight(
    mut queued_writes: Vec<QueuedWrite>,
    context: &RequestContext,
) -> Vec<QueuedWrite> {
    let is_lost = |queued_write: &mut QueuedWrite| {
        queued_write.submission.notes.as_ref().is_some_and(|notes| !notes.may_send())
    };
    for queued_write in queued_writes.extract_if(.., is_lost) {
        queued_write.fail(Error::OperationEnded);
    }
    queued_writes.retain(|queued_write| {
        let (context, calls_before) = (context.clone(), context.calls());
        *queued_write.in_flight.lock() = Some(PatchInFlight { context, calls_before });
        // Asked after the mark; see `SubmissionHandle::cancel`.
        !queued_write.sender.is_closed()
    });
    queued_writes
}

impl QueuedWrite {
    /// The outcome of the PATCH, without what this member must not see of the others.
    fn outcome(
        &self,
        outcome: &PatchOutcome,
        patch: &Patch,
        part: &MergeContribution,
    ) -> PatchOutcome {
        let is_own =
            |key: &AttributeKey| part.carried.get(key).is_some() || part.overtaken.contains(key);
        let rights = &self.submission.context.client().rights;
        let filtered = |error| access_filter::refusal_of_shared(error, rights);
        match outcome.clone() {
            outcome if patch.keys().all(is_own) => outcome,
            PatchOutcome::Accepted => PatchOutcome::Accepted,
            PatchOutcome::Refused(error) => PatchOutcome::Refused(filtered(error)),
            PatchOutcome::Unknown(unknown) => {
                PatchOutcome::Unknown(UnknownPatch { error: filtered(unknown.error), ..unknown })
            }
        }
    }
}

/// How long a member waits for another batch, if its own failed only because of another member's
/// earlier deadline and there is time left.
fn pause_before_another(
    queued_write: &QueuedWrite,
    outcome: &PatchOutcome,
    context: &RequestContext,
) -> Option<Duration> {
    let PatchOutcome::Refused(error) = outcome else { return None };
    let wait = error.retry_after().unwrap_or_default();
    let fits = context.was_cut_short()
        && Instant::now() + wait < queued_write.deadline()
        && queued_write.deadline() > context.start_by();
    fits.then_some(wait)
}

/// Whether upstream refused the content of the PATCH, and might accept less.
fn is_rejection(error: &Error) -> bool {
    match error {
        Error::AttributesTooLarge(_) => true,
        Error::UpstreamRejected { status, .. } => matches!(status, 400 | 413 | 422),
        _ => false,
    }
}
