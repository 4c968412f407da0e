//! Sending in the participant's turn, and again where that is safe.
//!
//! After a 409 everything is read and merged again: the stale body is never sent twice. After a
//! PATCH that may have been applied comes a read, and only keys that still look as before are
//! sent again; a third value is another writer's, and stays. Where the participant or the map was
//! known from memory, a refusal causes a fresh read, a fresh choice and one more try.

use std::sync::Arc;

use tokio::time::Instant;

use super::{CoalescedRead, Freshness, PriorityClass, RequestContext, WriteOperation};
use crate::app::batching::{BatchReceipt, SubmissionResult, WriteQueues, WriteSubmission};
use crate::domain::{AttributeMap, Patch, WriteVerifier};
use crate::error::{Effect, Error};
use crate::ports::{PatchFate, RequestPhase, UpstreamFailure};

/// How often a PATCH of unknown fate is looked at, at most.
const MAX_UNKNOWN: u32 = 8;

/// What is known of the tries so far.
#[derive(Default)]
struct RetryCounters {
    conflicts: u32,
    /// How often the fate of a PATCH was unknown.
    unknown: u32,
    /// Of those, the ones that are worth one more try only.
    last_chance: bool,
}

impl WriteOperation {
    /// Sends `pending` until upstream has accepted it, or shows it.
    pub(super) async fn send(&mut self, mut pending: Patch) -> Result<(), Error> {
        let (mut tries, context) = (RetryCounters::default(), self.request.context.clone());
        loop {
            let Err(UpstreamFailure { error, fate, wait }) =
                self.send_once(&pending, &context).await
            else {
                return Ok(());
            };
            let rest = match fate {
                PatchFate::NotApplied => self.after_refusal(error, &pending, &mut tries).await?,
                PatchFate::Unknown | PatchFate::UnknownOnce => {
                    self.failure = Some(error.clone());
                    let asked = Instant::now() + wait.unwrap_or_default();
                    let is_last = fate == PatchFate::UnknownOnce
                        && std::mem::replace(&mut tries.last_chance, true);
                    let (rest, in_time) = self.settle_fate(&mut tries, is_last).await?;
                    // No third try, none without a pause, none before upstream wants one, and none
                    // to somebody whom the selector does not mean any more.
                    let has_moved = self.target.as_ref().is_some_and(|target| target.has_moved);
                    let fits = in_time && !is_last && asked < context.deadline() && !has_moved;
                    if rest.is_some() {
                        if !fits {
                            return Err(error);
                        }
                        tokio::time::sleep_until(asked).await;
                    }
                    rest
                }
            };
            match rest {
                Some(rest) => pending = rest,
                None => return Ok(()),
            }
        }
    }

    /// What to send after a PATCH that was certainly not applied, `None` for nothing.
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
        let (participant_key, map) = (self.place()?, self.shown.clone());
        let rest = self.reread_and_diff().await?;
        // Our own check refuses early, while the map is only remembered.
        let by_memory =
            matches!(&error, Error::AttributesTooLarge(excess) if !excess.said_upstream);
        if rest.is_none() || by_memory || self.place()? != participant_key || self.shown != map {
            return Ok(rest);
        }
        Err(self.with_numbers(error, pending))
    }

    /// Waits and reads after a PATCH of unknown fate, again if the read fails. Besides what is left
    /// to send, whether there was time for the wait.
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
                // That the fate could not be learnt says less than why it is unknown.
                Err(error) if error.code().retryable() || is_late(&error) => {
                    let wait = error.retry_after().unwrap_or_default();
                    let fits = in_time && wait < self.request.context.time_left();
                    if !fits || is_late(&error) || tries.unknown >= MAX_UNKNOWN {
                        return Err(self.failure.clone().unwrap_or(error));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes `pending` along in the participant's next batch.
    pub(super) async fn send_once(
        &mut self,
        pending: &Patch,
        context: &RequestContext,
    ) -> Result<(), UpstreamFailure> {
        let unsent = |error| UpstreamFailure { error, fate: PatchFate::NotApplied, wait: None };
        let participant_key = self.place().map_err(unsent)?;
        let condition = self.request.condition.clone();
        let submission = WriteSubmission {
            arrival: self.arrival,
            arrived: self.arrived,
            // Where a condition is judged, it is found out then what has to be sent; but nothing is
            // sent again where another writer's value was found in its place.
            patch: if condition.is_some() && self.marks.is_empty() {
                self.request.patch.clone()
            } else {
                pending.clone()
            },
            shown: self.shown.clone(),
            shown_at: self.last_read.unwrap_or(self.arrived),
            condition,
            marks: self.marks.clone(),
            verify: self.request.options.verify,
            context: context.clone(),
            reserved_calls: std::mem::take(&mut self.reserved_calls),
        };
        let handle =
            WriteQueues::submit(&self.shared, participant_key, submission).map_err(unsent)?;
        let told = self.handle.insert(handle).result().await;
        let exposed = self.handle.take().is_some_and(|handle| handle.is_ambiguous());
        match told {
            SubmissionResult::Refused(error) => Err(unsent(error)),
            SubmissionResult::Unsettled(error) => {
                Err(UpstreamFailure { error, fate: PatchFate::Unknown, wait: None })
            }
            SubmissionResult::Lost => {
                // The hook has logged where it panicked.
                if exposed {
                    self.effect = self.effect.max(Effect::Unknown);
                }
                let is_over = self.shared.shutdown.is_over();
                let defect = || Error::Internal("the batch worker ended early".to_owned());
                Err(unsent(if is_over { Error::ShuttingDown } else { defect() }))
            }
            SubmissionResult::Sent(sent) => self.record_receipt(*sent),
        }
    }

    /// Takes note of how it went with the batch.
    fn record_receipt(&mut self, sent: BatchReceipt) -> Result<(), UpstreamFailure> {
        let BatchReceipt { carried, overtaken, result, .. } = sent;
        (self.unit, self.reserved_calls) = (sent.unit, sent.reserved_calls);
        if matches!(&result, Err(UpstreamFailure { fate: PatchFate::NotApplied, .. })) {
            return result.map(drop);
        }
        self.set_state_before(Arc::clone(&sent.state_before));
        if self.request.condition.is_some() {
            let asked = |key: &_| carried.get(key).is_none() && !overtaken.contains(key);
            let kept = self.request.patch.only(asked);
            self.track_unchanged(&kept, &sent.shown);
            self.shown = (*sent.shown).clone();
            self.last_read = Some(sent.shown_at);
        }
        if carried.is_empty() {
            // Nothing of it was sent. It is overtaken only if the later client's change arrived.
            if result.is_ok() {
                self.overtaken.extend(overtaken);
            }
            return result.map(drop);
        }
        self.overtaken.retain(|key| carried.get(key).is_none());
        self.overtaken.extend(overtaken);
        self.sent = std::mem::take(&mut self.sent).then(carried.clone());
        self.sends.push(carried.clone());
        self.watch.add(&carried, &sent.shown, &sent.unseen, sent.shown_at < self.arrived);
        (self.batch, self.batch_stood, self.losses) = (sent.patch, sent.state_before, sent.losses);
        self.before = (*sent.shown).clone();
        match result {
            Ok(accepted) => {
                self.effect = Effect::Applied;
                self.taken.extend(carried.keys().cloned());
                self.accepted = Some(accepted);
                self.shown_after = false;
                Ok(())
            }
            Err(failure) => {
                self.effect = self.effect.max(Effect::Unknown);
                self.marks.extend(sent.pending_id);
                Err(failure)
            }
        }
    }

    /// Reads after a PATCH that was refused for a conflict, or whose fate is unknown. `None` if
    /// nothing is left to send.
    async fn reread_and_diff(&mut self) -> Result<Option<Patch>, Error> {
        if self.effect == Effect::NotApplied {
            // Whom memory has chosen is chosen again.
            self.target.take_if(|target| target.is_remembered);
        }
        let (context, start) = (self.request.context.clone(), Instant::now());
        let wanted = CoalescedRead {
            read_target: self.subject(),
            cause: Freshness::SentAfter(start),
            class: PriorityClass::Committed,
            retries: true,
            permit: None,
            reserve: 0,
        };
        let read = self.read(wanted, &context).await;
        context.spend(RequestPhase::Read, start.elapsed());
        let now = read?;
        if self.effect == Effect::NotApplied {
            return self.start_over(&now);
        }
        self.observe_read(&now);
        // A third value beside a remembered one may be the one before: what was sent is then what
        // the client wants in its place.
        self.watch.correct_memory();
        let mut rest = self.watch.still_before();
        if self.effect != Effect::Applied {
            // The batch may not have been applied, and then nothing has been overtaken either.
            let as_before = |key: &str| now.get(key) == self.before.get(key);
            rest = rest.then(
                self.request
                    .patch
                    .only(|key| self.overtaken.contains(key) && as_before(key.as_str())),
            );
        }
        if rest.is_empty() {
            return Ok(None);
        }
        self.check_live()?;
        Ok(Some(rest))
    }

    /// Nothing of ours can be there: start over from what is.
    fn start_over(&mut self, now: &AttributeMap) -> Result<Option<Patch>, Error> {
        self.set_baseline(now);
        (self.watch, self.sent) = (WriteVerifier::default(), Patch::default());
        self.sends.clear();
        self.overtaken.clear();
        let pending = self.pending(now)?;
        let wanted = !pending.is_empty() || self.request.condition.is_some();
        Ok(Some(pending).filter(|_| wanted))
    }

    /// How long to wait before the next look. All members of a batch wait equally long, and so go
    /// on together.
    fn pause_after(&self, failures: u32) -> std::time::Duration {
        self.shared.settings.backoff.delay(failures, self.unit)
    }

    /// Upstream's refusal for size comes without numbers; they are ours to give.
    fn with_numbers(&self, error: Error, pending: &Patch) -> Error {
        match error {
            Error::AttributesTooLarge(excess) if excess.said_upstream => {
                let merged = pending.applied_to(&self.shown);
                Error::AttributesTooLarge(self.shared.settings.limits.excess(&merged, true))
            }
            other => other,
        }
    }
}

/// Whether upstream, or our own check, has refused a PATCH for what it holds or for whom it is.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::ParticipantLeft { .. }
            | Error::ConversationNotFound(_)
            | Error::UpstreamRejected { .. }
            | Error::AttributesTooLarge(_)
    )
}

fn is_late(error: &Error) -> bool {
    matches!(error, Error::DeadlineExceeded(_))
}
