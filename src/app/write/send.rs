//! Sending: one PATCH of what differs, again where that is safe.
//!
//! After a 409 everything is read and merged anew: the stale body is never sent again. After a
//! PATCH that may have been applied comes a read, and only keys that still look as before are
//! sent again; a third value is another writer's, and stays.

use tokio::time::Instant;

use super::{Flow, Phase, Place};
use crate::domain::{AttributeMap, Patch, Watch};
use crate::error::{Effect, Error};
use crate::ports::{CallFailure, Fate, PatchCall};

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
        let mut tries = Tries::default();
        loop {
            self.check_size(&pending)?;
            let failure = match self.send_once(&pending, tries.unknown > 0).await {
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

    /// Sends one PATCH. Until its answer is there, its fate counts as unknown.
    async fn send_once(&mut self, pending: &Patch, again: bool) -> Result<(), CallFailure> {
        let place = self.place().map_err(|error| CallFailure { error, fate: Fate::NotApplied })?;
        let (prior, before) = (self.effect, self.shown.clone());
        self.sent = std::mem::take(&mut self.sent).then(pending.clone());
        self.watch.add(pending, &before);
        self.effect = prior.max(Effect::Unknown);
        let mark = self.shared.held.sending(place, pending, &before);
        let call = PatchCall {
            conversation: place.0,
            participant: place.1,
            attributes: self.body(place, pending),
            again,
            permit: None,
        };
        let (start, cycle) = (Instant::now(), self.request.cycle.clone());
        self.under_way = Some(prior);
        let result = self.shared.conversations.patch(call, &cycle).await;
        self.under_way = None;
        cycle.spend(Phase::Patch, start.elapsed());
        match &result {
            Ok(()) => {
                self.shared.held.accepted(place, mark);
                self.effect = Effect::Applied;
                self.taken.extend(pending.keys().cloned());
                self.accepted = Some(Instant::now());
                self.shown_after = false;
            }
            Err(CallFailure { fate: Fate::NotApplied, .. }) => {
                self.shared.held.refused(place, mark);
                self.effect = prior;
            }
            Err(CallFailure { fate: Fate::Unknown | Fate::UnknownOnce, .. }) => {}
        }
        result
    }

    fn body(&self, place: Place, pending: &Patch) -> AttributeMap {
        if self.shared.settings.patch_full {
            // A map that replaces must not lose what we wrote and cannot see yet.
            let unseen = self.shared.held.accepted_unseen(place);
            pending.applied_to(&unseen.applied_to(&self.shown))
        } else {
            pending.as_sent()
        }
    }

    /// Reads after a PATCH that was refused for a conflict, or whose fate is unknown. `None` if
    /// nothing is left to send.
    async fn look_again(&mut self) -> Result<Option<Patch>, Error> {
        let cycle = self.request.cycle.clone();
        let now = self.read(Some(Phase::Read), &cycle).await?;
        if self.effect == Effect::NotApplied {
            // Nothing of ours can be there: start over from what is.
            self.before = now.clone();
            (self.watch, self.sent) = (Watch::default(), Patch::default());
            let pending = self.pending(&now)?;
            return Ok(Some(pending).filter(|pending| !pending.is_empty()));
        }
        self.take_note(&now, &cycle).await?;
        let rest = self.watch.still_before();
        if rest.is_empty() {
            return Ok(None);
        }
        self.check_live()?;
        Ok(Some(rest))
    }

    /// Waits before the next look; if that does not fit, the failure is the answer, at once.
    async fn pause(&self, failures: u32, error: Error) -> Result<(), Error> {
        let wait = self.shared.settings.backoff.delay(failures, (self.shared.random)());
        if wait >= self.request.cycle.time_left() {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn check_size(&self, pending: &Patch) -> Result<(), Error> {
        let merged = pending.applied_to(&self.shown);
        let limits = &self.shared.settings.limits;
        limits.check(&self.shown, &merged).map_err(Error::AttributesTooLarge)
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
