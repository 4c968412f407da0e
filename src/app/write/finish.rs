//! The answer to a write: whatever happened, what is said of it is true.

use std::collections::BTreeMap;

use super::{Flow, seen, since};
use crate::domain::{AttributeKey, Outcome, Verification, VerificationStatus, WriteReport};
use crate::error::{Effect, Error, Failure};

impl Flow {
    /// Makes the answer out of how the flow ended.
    pub(super) fn finish(&mut self, ended: Result<(), Error>) -> Result<WriteReport, Failure> {
        let dry_run = self.request.options.dry_run;
        if let Some(ticket) = self.ticket.take() {
            // Cut while waiting, or on its way; only in a PATCH that is out can it be applied.
            if let Some(spent) = ticket.spent() {
                self.request.cycle.share(&spent);
            }
            if ticket.is_exposed() {
                self.effect = self.effect.max(Effect::Unknown);
            }
        }
        self.shared.meter.write_calls(self.request.cycle.calls());
        if let Err(error) = ended {
            // Once upstream has accepted it, nothing makes an error of it any more.
            if self.effect != Effect::Applied || self.has_unsent() {
                return Err(Failure { error: self.reason(error), effect: self.effect });
            }
            let error = self.as_told(error);
            self.warn(format!("not verified: {error}"));
        }
        let report = self.report(dry_run);
        for outcome in report.outcomes.values() {
            self.shared.meter.outcome(*outcome);
        }
        self.request.cycle.note_outcomes(|key| report.outcomes.get(key).copied());
        self.shared.meter.read_backs(self.reads);
        if report.worst() == Outcome::Superseded {
            let error = Error::Superseded(Box::new(report));
            return Err(Failure { error, effect: self.effect });
        }
        Ok(report)
    }

    /// The error, as far as the caller may know of it.
    pub(super) fn as_told(&self, error: Error) -> Error {
        let rights = &self.request.cycle.client().rights;
        seen::error(error, rights, self.shared.settings.patch_full)
    }

    /// Whether a key still looks as before, and no PATCH with it was accepted.
    fn has_unsent(&self) -> bool {
        self.watch.still_before().keys().any(|key| !self.taken.contains(key))
    }

    /// A deadline or a drain that met a PATCH under way says so.
    fn reason(&self, error: Error) -> Error {
        match (error, self.effect) {
            (Error::ShuttingDown, Effect::Unknown) => {
                Error::DeadlineExceeded("the service was shutting down")
            }
            (error, _) => error,
        }
    }

    fn report(&mut self, dry_run: bool) -> WriteReport {
        let outcomes = self.outcomes(dry_run);
        let status = self.status(&outcomes);
        let target = self.target.take();
        // Every way here leads through a read that chose the participant.
        let target = target.expect("a flow without an error has chosen its participant");
        let report = WriteReport {
            conversation: self.request.conversation,
            participant: target.participant.clone(),
            chosen_by: target.chosen_by,
            attributes: self.shown.clone(),
            fresh: self.accepted.is_none() || self.shown_after,
            outcomes,
            verification: Verification {
                status,
                reads: self.reads,
                elapsed_ms: u64::try_from(since(self.accepted).as_millis()).unwrap_or(u64::MAX),
            },
            warnings: self.warnings.clone(),
            dry_run,
        };
        self.target = Some(target);
        report
    }

    fn outcomes(&self, dry_run: bool) -> BTreeMap<AttributeKey, Outcome> {
        let settle = self.settle();
        let outcome = |key: &AttributeKey| {
            if self.sent.get(key).is_some() {
                return match self.watch.outcome(key, settle) {
                    _ if dry_run => Outcome::WouldSend,
                    // The fate of its only PATCH is unknown, and it was not sent again because
                    // another writer's value stood there. Ours was never accepted.
                    Some(Outcome::Unverified) if !self.taken.contains(key) => Outcome::Superseded,
                    Some(outcome) => outcome,
                    None => Outcome::Unverified,
                };
            }
            if self.overtaken.contains(key) {
                return Outcome::Superseded;
            }
            match self.kept.outcome(key, settle) {
                // A key that nothing is known of was certainly not seen in place.
                Some(Outcome::Superseded) | None => Outcome::Superseded,
                Some(Outcome::Unverified) => Outcome::Unverified,
                Some(_) => Outcome::Unchanged,
            }
        };
        self.request.patch.keys().map(|key| (key.clone(), outcome(key))).collect()
    }

    fn status(&self, outcomes: &BTreeMap<AttributeKey, Outcome>) -> VerificationStatus {
        let worst = outcomes.values().copied().max().unwrap_or(Outcome::Unchanged);
        match worst {
            Outcome::Unchanged | Outcome::WouldSend => VerificationStatus::NotNeeded,
            Outcome::Verified | Outcome::Cleared => VerificationStatus::Verified,
            Outcome::Unverified if !self.request.options.verify => VerificationStatus::Skipped,
            Outcome::Unverified => VerificationStatus::Unverified,
            Outcome::Superseded => VerificationStatus::Superseded,
        }
    }
}
