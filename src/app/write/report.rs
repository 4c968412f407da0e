//! The answer to a write: whatever happened, what is said of it is true.

use std::collections::BTreeMap;

use super::{Flow, access_filter, since};
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
        self.tell_lost();
        match ended {
            Ok(()) if dry_run || !self.is_undecided() => {}
            // Another writer's value stood there after a PATCH of unknown fate.
            Ok(()) => return Err(self.failed(None)),
            // Once upstream has accepted it, nothing makes an error of it any more.
            Err(error) if self.effect == Effect::Applied && !self.is_undecided() => {
                let error = self.as_told(error);
                self.warn(format!("not verified: {error}"));
            }
            Err(error) => return Err(self.failed(Some(error))),
        }
        self.warn_of_doubts();
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
        access_filter::error(error, rights, self.shared.settings.patch_full)
    }

    /// Whether a key is not decided, and no PATCH with it was accepted.
    fn is_undecided(&self) -> bool {
        let settle = self.shared.settle();
        let undecided = |key: &AttributeKey| {
            let outcome = self.watch.outcome(key, settle);
            outcome.is_none_or(|outcome| outcome == Outcome::Unverified)
        };
        self.sent.keys().any(|key| !self.taken.contains(key) && undecided(key))
            || !self.kept.third().is_empty()
    }

    fn failed(&mut self, error: Option<Error>) -> Failure {
        let error = error.or_else(|| self.failure.take());
        let error = error.unwrap_or(Error::DeadlineExceeded("waiting for Genesys Cloud"));
        Failure { error: self.reason(error), effect: self.effect }
    }

    /// Counts the keys of others that are gone, and names those that the caller sees.
    fn tell_lost(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        self.shared.meter.keys_lost(self.losses.count(&self.lost));
        let rights = &self.request.cycle.client().rights;
        let known = self.lost.iter().filter(|key| rights.sees(key.as_str()));
        let names: Vec<_> = known.map(|key| format!("`{key}`")).collect();
        if !names.is_empty() {
            self.warn(format!(
                "keys that this write did not send are gone, removed by another writer or by \
                 Genesys Cloud: {}",
                names.join(", ")
            ));
        }
    }

    /// Says why keys are unverified, where more is known than that they did not show.
    fn warn_of_doubts(&mut self) {
        let settle = self.shared.settle();
        let open =
            |key: &&AttributeKey| self.watch.outcome(key, settle) == Some(Outcome::Unverified);
        let names = |keys: &mut dyn Iterator<Item = &AttributeKey>| {
            keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        };
        let third = names(&mut self.watch.third().keys().filter(open));
        let kept = names(&mut self.unread());
        if !third.is_empty() {
            self.warn(format!(
                "another value stands at {third}; it may have been written before or after this one"
            ));
        }
        if !kept.is_empty() {
            self.warn(format!(
                "{kept} was in place a moment before this write, so it was not sent; no read-back \
                 has shown it since"
            ));
        }
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
            resulting: dry_run.then(|| self.sent.applied_to(&self.shown)),
            dry_run,
        };
        self.target = Some(target);
        report
    }

    fn outcomes(&self, dry_run: bool) -> BTreeMap<AttributeKey, Outcome> {
        let settle = self.shared.settle();
        let outcome = |key: &AttributeKey| {
            if self.sent.get(key).is_some() {
                return match self.watch.outcome(key, settle) {
                    _ if dry_run => Outcome::WouldSend,
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
