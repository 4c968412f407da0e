//! Sends through the write queue, and again where that is safe.
//!
//! After a 409 the map is read and merged again: the stale body is never sent twice. After a PATCH
//! that may have been applied comes a read, and only keys that still have the value from before are
//! sent again. A third value is another writer's and stays. If the participant or the map came from
//! the cache, a refusal causes a fresh read, a fresh choice and one more try.

use std::time::Duration;

use tokio::time::Instant;

use super::{CoalescedRead, Freshness, PriorityClass, WriteOperation};
use crate::app::batching::{
    BatchReceipt, PatchInFlight, SubmissionHandle, SubmissionResult, WriteSubmission,
};
use crate::domain::{AttributeMap, Patch, WriteVerifier};
use crate::error::{Effect, Error};
use crate::ports::{PatchOutcome, RequestPhase, UnknownPatch};

/// How many reads at most try to settle a PATCH of unknown result.
const MAX_UNKNOWN: u32 = 8;

/// How long after a PATCH of unknown result a read may correct what was remembered from before it.
const MAX_MEMORY_CORRECTION: Duration = Duration::from_millis(250);

/// Counts the tries of one write.
#[derive(Default)]
struct RetryCounters {
    conflicts: u32,
    /// How often the result of a PATCH was unknown.
    unknown: u32,
    /// Whether one of these failures was worth only one more try.
    had_last_try: bool,
}

impl WriteOperation {
    /// Sends `pending` until upstream has accepted it or shows it.
    pub(super) async fn send(&mut self, mut pending: Patch) -> Result<(), Error> {
        let mut tries = RetryCounters::default();
        loop {
            self.note_sending().await?;
            let rest = match self.send_once(&pending).await {
                PatchOutcome::Accepted => return Ok(()),
                PatchOutcome::Refused(error) => {
                    self.after_refusal(error, &pending, &mut tries).await?
                }
                PatchOutcome::Unknown(unknown) => self.after_unknown(unknown, &mut tries).await?,
            };
            match rest {
                Some(rest) => pending = rest,
                None => return Ok(()),
            }
        }
    }

    /// What to send after a PATCH that may have been applied; `None` for nothing.
    async fn after_unknown(
        &mut self,
        unknown: UnknownPatch,
        tries: &mut RetryCounters,
    ) -> Result<Option<Patch>, Error> {
        let UnknownPatch { error, is_last_try, retry_after } = unknown;
        self.failure = Some(error.clone());
        let asked = Instant::now() + retry_after.unwrap_or_default();
        let is_last = is_last_try && std::mem::replace(&mut tries.had_last_try, true);
        let (rest, in_time) = self.settle_fate(tries, is_last).await?;
        // No third try, none without a pause, none before upstream allows it, and none if the
        // selector now matches another participant.
        let has_moved = self.target.as_ref().is_some_and(|target| target.has_moved);
        let fits = in_time && !is_last && asked < self.request.context.deadline() && !has_moved;
        if rest.is_some() {
            if !fits {
                return Err(error);
            }
            tokio::time::sleep_until(asked).await;
        }
        Ok(rest)
    }

    /// What to send after a PATCH that was certainly not applied; `None` for nothing.
    async fn after_refusal(
        &mut self,
        error: Error,
        pending: &Patch,
        tries: &mut RetryCounters,
    ) -> Result<Option<Patch>, Error> {
        if matches!(error, Error::UpstreamConflict)
            && tries.conflicts < self.shared.settings.conflict_retries
        {
            tries.conflicts += 1;
            let wait = self.pause_after(tries.conflicts);
            if wait >= self.request.context.time_left() {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            return self.reread_and_diff().await;
        }
        let is_warm = self.target.as_ref().is_some_and(|target| target.is_remembered);
        if !is_warm || self.effect != Effect::NotApplied || !is_refusal(&error) {
            return Err(self.with_numbers(error, pending));
        }
        let (participant_key, map) = (self.participant_key()?, self.baseline.shown.clone());
        let rest = self.reread_and_diff().await?;
        // Our own size check refuses early while the map is from the cache.
        let by_memory =
            matches!(&error, Error::AttributesTooLarge(excess) if !excess.said_upstream);
        if rest.is_none()
            || by_memory
            || self.participant_key()? != participant_key
            || self.baseline.shown != map
        {
            return Ok(rest);
        }
        Err(self.with_numbers(error, pending))
    }

    /// Waits and reads after a PATCH of unknown result, and again if the read fails. Returns what
    /// is left to send, and whether there was time for the wait.
    async fn settle_fate(
        &mut self,
        tries: &mut RetryCounters,
        is_last: bool,
    ) -> Result<(Option<Patch>, bool), Error> {
        loop {
            tries.unknown += 1;
            let wait = self.pause_after(tries.unknown);
            let in_time = wait < self.request.context.time_left();
            if in_time && !is_last {
                tokio::time::sleep(wait).await;
            }
            match self.reread_and_diff().await {
                Ok(rest) => return Ok((rest, in_time)),
                // The failed read says less than the reason why the result is unknown.
                Err(error) if error.code().retryable() => {
                    let wait = error.retry_after().unwrap_or_default();
                    let fits = in_time && wait < self.request.context.time_left();
                    if !fits || tries.unknown >= MAX_UNKNOWN {
                        return Err(self.failure.clone().unwrap_or(error));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends `pending` in the participant's next batch.
    async fn send_once(&mut self, pending: &Patch) -> PatchOutcome {
        let participant_key = match self.participant_key() {
            Ok(participant_key) => participant_key,
            Err(error) => return PatchOutcome::Refused(error),
        };
        // A worker that dies with another write is replaced by a new one.
        for is_last in [false, true] {
            let submission = self.submission(pending);
            let handle = self.shared.write_queues.submit(participant_key, submission);
            let result = self.handle.insert(handle).result().await;
            let in_flight = self.handle.take().and_then(SubmissionHandle::cancel);
            match result {
                SubmissionResult::Sent(sent) => return self.record_receipt(*sent),
                SubmissionResult::Refused(error) => return PatchOutcome::Refused(error),
                SubmissionResult::Unsettled(error) => {
                    let (is_last_try, retry_after) = (false, None);
                    return PatchOutcome::Unknown(UnknownPatch { error, is_last_try, retry_after });
                }
                SubmissionResult::Lost => {
                    if in_flight.as_ref().is_some_and(PatchInFlight::has_left) {
                        self.effect = self.effect.max(Effect::Unknown);
                    }
                    if is_last || in_flight.is_some() || self.shared.shutdown.is_over() {
                        break;
                    }
                }
            }
        }
        // The panic hook has logged where it panicked.
        PatchOutcome::Refused(if self.shared.shutdown.is_over() {
            Error::ShuttingDown
        } else {
            Error::Internal("the worker of a write queue ended without a result".to_owned())
        })
    }

    fn submission(&mut self, pending: &Patch) -> WriteSubmission {
        let condition = self.request.condition.clone();
        WriteSubmission {
            arrival: self.arrival,
            arrived: self.arrived,
            // With a precondition, the batch decides what has to be sent. After an unknown result,
            // keys with another writer's value are not sent again.
            patch: if condition.is_some() && self.sent.pending_ids.is_empty() {
                self.request.patch.clone()
            } else {
                pending.clone()
            },
            shown: self.baseline.shown.clone(),
            shown_at: self.verification.last_read.unwrap_or(self.arrived),
            condition,
            notes: self.request.notes.clone(),
            pending_ids: self.sent.pending_ids.clone(),
            verify: self.request.options.verify,
            context: self.request.context.clone(),
            reserved_calls: std::mem::take(&mut self.reserved_calls),
        }
    }

    /// Records what became of the batch.
    fn record_receipt(&mut self, sent: BatchReceipt) -> PatchOutcome {
        let BatchReceipt { carried, overtaken, outcome, .. } = sent;
        (self.sent.unit, self.reserved_calls) = (sent.unit, sent.reserved_calls);
        if matches!(outcome, PatchOutcome::Refused(_)) {
            return outcome;
        }
        let is_accepted = matches!(outcome, PatchOutcome::Accepted);
        if self.request.condition.is_some() {
            let asked = |key: &_| carried.get(key).is_none() && !overtaken.contains(key);
            let kept = self.request.patch.only(asked);
            self.track_unchanged(&kept, &sent.shown);
            self.baseline.shown = (*sent.shown).clone();
            self.verification.last_read = Some(sent.shown_at);
        }
        if carried.is_empty() {
            // No change of this write was sent. It is superseded only if the later change was
            // accepted.
            if is_accepted {
                self.sent.overtaken.extend(overtaken);
            }
            return outcome;
        }
        self.sent.overtaken.retain(|key| carried.get(key).is_none());
        self.sent.overtaken.extend(overtaken);
        self.sent.changes = std::mem::take(&mut self.sent.changes).then(carried.clone());
        let is_remembered = sent.shown_at < self.arrived;
        self.verification.sent_keys.add(&carried, &sent.shown, &sent.unseen, is_remembered);
        self.baseline.before = (*sent.shown).clone();
        (self.sent.batch, self.sent.state_before_batch, self.verification.losses) =
            (sent.patch, sent.state_before, sent.losses);
        if is_accepted {
            self.effect = Effect::Applied;
            self.sent.accepted_keys.extend(carried.keys().cloned());
            self.sent.accepted = Some(sent.ended);
            self.baseline.shown_after = false;
        } else {
            self.effect = self.effect.max(Effect::Unknown);
            self.sent.pending_ids.extend(sent.pending_id);
            self.sent.unknown_since.get_or_insert(sent.sent_at);
        }
        outcome
    }

    /// Reads after a conflict or an unknown result. `None` if nothing is left to send.
    async fn reread_and_diff(&mut self) -> Result<Option<Patch>, Error> {
        if self.effect == Effect::NotApplied {
            // A participant chosen from the cache is chosen again.
            self.target.take_if(|target| target.is_remembered);
        }
        let (start, cause) = (Instant::now(), Freshness::SentAfter(Instant::now()));
        let wanted = CoalescedRead::new(self.subject(), cause, PriorityClass::Committed);
        let read = self.read(wanted).await;
        self.request.context.spend(RequestPhase::Read, start.elapsed());
        let now = read?;
        if self.effect == Effect::NotApplied {
            if let Some(replicas) = self.shared.replicas.clone() {
                let key = self.participant_key()?;
                replicas.learn(key, &self.shared.pending_writes).await?;
            }
            return self.start_over(&now);
        }
        self.observe_read(&now);
        // Next to a cached value, a third value may be the one before. The client then wants its
        // change in place of it. After a longer time, another writer may have replaced our change.
        if self.sent.unknown_since.is_none_or(|since| since.elapsed() <= MAX_MEMORY_CORRECTION) {
            let corrected = self.verification.sent_keys.correct_memory();
            self.warn_of_replaced(&corrected);
        } else if self.effect != Effect::Applied {
            self.verification.sent_keys.doubt_memory();
        }
        let mut rest = self.verification.sent_keys.still_before();
        if self.effect != Effect::Applied {
            // The batch may not have been applied; then its changes did not supersede ours.
            let as_before = |key: &str| now.get(key) == self.baseline.before.get(key);
            rest = rest.then(
                self.request
                    .patch
                    .only(|key| self.sent.overtaken.contains(key) && as_before(key.as_str())),
            );
        }
        if rest.is_empty() {
            return Ok(None);
        }
        self.check_live()?;
        Ok(Some(rest))
    }

    /// No change of ours can be there: start again from what is.
    fn start_over(&mut self, now: &AttributeMap) -> Result<Option<Patch>, Error> {
        self.set_baseline(now);
        (self.verification.sent_keys, self.sent.changes) =
            (WriteVerifier::default(), Patch::default());
        self.sent.overtaken.clear();
        let pending = self.pending(now)?;
        let wanted = !pending.is_empty() || self.request.condition.is_some();
        Ok(Some(pending).filter(|_| wanted))
    }

    /// The pause before the next read. All members of a batch pause equally long and so stay
    /// together.
    fn pause_after(&self, failures: u32) -> std::time::Duration {
        self.shared.settings.backoff.delay(failures, self.sent.unit)
    }

    /// Adds our own sizes to upstream's refusal, which has none.
    fn with_numbers(&self, error: Error, pending: &Patch) -> Error {
        match error {
            Error::AttributesTooLarge(excess) if excess.said_upstream => {
                let merged = pending.applied_to(&self.baseline.shown);
                Error::AttributesTooLarge(self.shared.settings.limits.excess(&merged, true))
            }
            other => other,
        }
    }
}

/// Whether a PATCH was refused because of its content or its participant.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::ParticipantLeft { .. }
            | Error::ConversationNotFound(_)
            | Error::UpstreamRejected { .. }
            | Error::AttributesTooLarge(_)
    )
}
