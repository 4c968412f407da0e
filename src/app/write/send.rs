//! Sending in the participant's turn, and again where that is safe.
//!
//! After a 409 everything is read and merged anew: the stale body is never sent again. After a
//! PATCH that may have been applied comes a read, and only keys that still look as before are
//! sent again; a third value is another writer's, and stays.

use tokio::time::Instant;

use super::{Cause, Class, Cycle, Flow, Wanted};
use crate::app::turn::{Ride, Sent, Told, Turns};
use crate::domain::{Patch, Watch};
use crate::error::{Effect, Error};
use crate::ports::{CallFailure, Fate, Phase};

/// What is known of the tries so far.
#[derive(Default)]
struct Tries {
    conflicts: u32,
    /// How often the fate of a PATCH was unknown.
    unknown: u32,
    /// Of those, the ones that are worth one more try only.
    last_chance: bool,
}

impl Flow {
    /// Sends `pending` until upstream has accepted it, or shows it.
    pub(super) async fn send(&mut self, mut pending: Patch) -> Result<(), Error> {
        let (mut tries, cycle) = (Tries::default(), self.request.cycle.clone());
        loop {
            let failure = match self.send_once(&pending, &cycle).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            match (failure.fate, failure.error) {
                (Fate::NotApplied, Error::UpstreamConflict)
                    if tries.conflicts < self.shared.settings.conflict_retries =>
                {
                    tries.conflicts += 1;
                    self.pause(tries.conflicts, Error::UpstreamConflict).await?;
                }
                (Fate::NotApplied, error) => return Err(self.with_numbers(error, &pending)),
                (Fate::Unknown, error) => {
                    tries.unknown += 1;
                    self.pause(tries.unknown, error).await?;
                }
                (Fate::UnknownOnce, error) if !tries.last_chance => {
                    tries.unknown += 1;
                    tries.last_chance = true;
                    self.pause(tries.unknown, error).await?;
                }
                (Fate::UnknownOnce, error) => {
                    // Not sent again, but it may have been applied: one look settles it.
                    let rest = self.look_again().await?;
                    return if rest.is_none() { Ok(()) } else { Err(error) };
                }
            }
            match self.look_again().await? {
                Some(rest) => pending = rest,
                None => return Ok(()),
            }
        }
    }

    /// Takes `pending` along in the participant's next batch.
    pub(super) async fn send_once(
        &mut self,
        pending: &Patch,
        cycle: &Cycle,
    ) -> Result<(), CallFailure> {
        let unsent = |error| CallFailure { error, fate: Fate::NotApplied };
        let place = self.place().map_err(unsent)?;
        let condition = self.request.condition.clone();
        let ride = Ride {
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
            cycle: cycle.clone(),
            fare: std::mem::take(&mut self.fare),
        };
        let ticket = Turns::enter(&self.shared, place, ride).map_err(unsent)?;
        let told = self.ticket.insert(ticket).told().await;
        let exposed = self.ticket.take().is_some_and(|ticket| ticket.is_exposed());
        match told {
            Told::Refused(error) => Err(unsent(error)),
            Told::Unsettled(error) => Err(CallFailure { error, fate: Fate::Unknown }),
            Told::Lost => {
                // The hook has logged where it panicked.
                if exposed {
                    self.effect = self.effect.max(Effect::Unknown);
                }
                Err(unsent(if self.shared.shutdown.is_over() {
                    Error::ShuttingDown
                } else {
                    Error::Internal("the task of a turn ended without a word".to_owned())
                }))
            }
            Told::Sent(sent) => self.account(*sent),
        }
    }

    /// Takes note of how it went with the batch.
    fn account(&mut self, sent: Sent) -> Result<(), CallFailure> {
        let Sent { carried, overtaken, result, .. } = sent;
        (self.unit, self.fare) = (sent.unit, sent.fare);
        if matches!(&result, Err(CallFailure { fate: Fate::NotApplied, .. })) {
            return result.map(drop);
        }
        self.left_from(sent.stood);
        if self.request.condition.is_some() {
            let asked = |key: &_| carried.get(key).is_none() && !overtaken.contains(key);
            let kept = self.request.patch.only(asked);
            self.keep(&kept, &sent.shown);
            self.shown = (*sent.shown).clone();
            self.last_read = Some(sent.shown_at);
        }
        if carried.is_empty() {
            // Nothing of it was sent. It is overtaken only if the later caller's change arrived.
            if result.is_ok() {
                self.overtaken.extend(overtaken);
            }
            return result.map(drop);
        }
        self.overtaken.retain(|key| carried.get(key).is_none());
        self.overtaken.extend(overtaken);
        self.sent = std::mem::take(&mut self.sent).then(carried.clone());
        self.watch.add(&carried, &sent.shown, &sent.unseen);
        (self.batch, self.repairing) = (sent.patch, sent.repairing);
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
                self.marks.extend(sent.mark);
                Err(failure)
            }
        }
    }

    /// Reads after a PATCH that was refused for a conflict, or whose fate is unknown. `None` if
    /// nothing is left to send.
    async fn look_again(&mut self) -> Result<Option<Patch>, Error> {
        let (cycle, start) = (self.request.cycle.clone(), Instant::now());
        let wanted = Wanted {
            subject: self.subject(),
            cause: Cause::Since(start),
            class: Class::Admitted,
            retries: true,
            permit: None,
            reserve: 0,
        };
        let read = self.read(wanted, &cycle).await;
        cycle.spend(Phase::Read, start.elapsed());
        let now = read?;
        if self.effect == Effect::NotApplied {
            // Nothing of ours can be there: start over from what is.
            self.starts_from(&now);
            (self.watch, self.sent) = (Watch::default(), Patch::default());
            self.overtaken.clear();
            let pending = self.pending(&now)?;
            let wanted = !pending.is_empty() || self.request.condition.is_some();
            return Ok(Some(pending).filter(|_| wanted));
        }
        self.take_note(&now, &cycle).await?;
        let mut rest = self.watch.still_before();
        if !self.watch.any_seen() {
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

    /// Waits before the next look; if that does not fit, the failure is the answer, at once. All
    /// members of a batch wait equally long, and so go on together.
    async fn pause(&self, failures: u32, error: Error) -> Result<(), Error> {
        let wait = self.shared.settings.backoff.delay(failures, self.unit);
        if wait >= self.request.cycle.time_left() {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        Ok(())
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
