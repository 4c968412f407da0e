//! The answer to a write: whatever happened, what is said of it is true.

use std::collections::BTreeMap;

use super::{WriteOperation, access_filter, since};
use crate::domain::{
    AttributeKey, KeyOutcome, VerificationStatus, VerificationSummary, WriteReport,
};
use crate::error::{Effect, Error, RequestFailure};

impl WriteOperation {
    /// Makes the answer out of how the flow ended.
    pub(super) fn finish(
        &mut self,
        ended: Result<(), Error>,
    ) -> Result<WriteReport, RequestFailure> {
        let dry_run = self.request.options.dry_run;
        if let Some(handle) = self.handle.take() {
            // Cut while waiting, or on its way; only in a PATCH that is out can it be applied.
            if let Some(spent) = handle.spent() {
                self.request.context.add_usage_of(&spent);
            }
            if handle.is_ambiguous() {
                self.effect = self.effect.max(Effect::Unknown);
            }
        }
        self.shared.recorder.write_calls(self.request.context.calls());
        self.tell_lost();
        match ended {
            Ok(()) if dry_run || !self.is_undecided() => {}
            // Another writer's value stood there after a PATCH of unknown fate.
            Ok(()) => return Err(self.failed(None)),
            // Once upstream has accepted it, nothing makes an error of it any more.
            Err(error) if self.effect == Effect::Applied && !self.is_undecided() => {
                let error = self.explain(error);
                self.warn(format!("not verified: {error}"));
            }
            Err(error) => return Err(self.failed(Some(error))),
        }
        self.warn_of_doubts();
        let report = self.report(dry_run);
        for outcome in report.outcomes.values() {
            self.shared.recorder.outcome(*outcome);
        }
        self.request.context.note_outcomes(|key| report.outcomes.get(key).copied());
        self.shared.recorder.read_backs(self.reads);
        if report.worst() == KeyOutcome::Superseded {
            let error = Error::Superseded(Box::new(report));
            return Err(RequestFailure { error, effect: self.effect });
        }
        Ok(report)
    }

    /// The error, as far as the client may know of it.
    pub(super) fn explain(&self, error: Error) -> Error {
        let rights = &self.request.context.client().rights;
        access_filter::error(error, rights, self.shared.settings.patch_full)
    }

    /// Whether a key is not decided, and no PATCH with it was accepted.
    fn is_undecided(&self) -> bool {
        let settle = self.shared.settle();
        let undecided = |key: &AttributeKey| {
            let outcome = self.watch.outcome(key, settle);
            outcome.is_none_or(|outcome| outcome == KeyOutcome::Unverified)
        };
        self.sent.keys().any(|key| !self.taken.contains(key) && undecided(key))
            || !self.kept.third().is_empty()
    }

    fn failed(&mut self, error: Option<Error>) -> RequestFailure {
        let error = error.or_else(|| self.failure.take());
        let error = error.unwrap_or(Error::DeadlineExceeded("waiting for Genesys Cloud"));
        RequestFailure { error: self.reason(error), effect: self.effect }
    }

    /// Counts the keys of others that are gone, and names those that the client sees.
    fn tell_lost(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        self.shared.recorder.keys_lost(self.losses.count(&self.lost));
        let rights = &self.request.context.client().rights;
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
            |key: &&AttributeKey| self.watch.outcome(key, settle) == Some(KeyOutcome::Unverified);
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
            verification: VerificationSummary {
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

    fn outcomes(&self, dry_run: bool) -> BTreeMap<AttributeKey, KeyOutcome> {
        let settle = self.shared.settle();
        let outcome = |key: &AttributeKey| {
            if self.sent.get(key).is_some() {
                return match self.watch.outcome(key, settle) {
                    _ if dry_run => KeyOutcome::WouldSend,
                    Some(outcome) => outcome,
                    None => KeyOutcome::Unverified,
                };
            }
            if self.overtaken.contains(key) {
                return KeyOutcome::Superseded;
            }
            match self.kept.outcome(key, settle) {
                // A key that nothing is known of was certainly not seen in place.
                Some(KeyOutcome::Superseded) | None => KeyOutcome::Superseded,
                Some(KeyOutcome::Unverified) => KeyOutcome::Unverified,
                Some(_) => KeyOutcome::Unchanged,
            }
        };
        self.request.patch.keys().map(|key| (key.clone(), outcome(key))).collect()
    }

    fn status(&self, outcomes: &BTreeMap<AttributeKey, KeyOutcome>) -> VerificationStatus {
        let worst = outcomes.values().copied().max().unwrap_or(KeyOutcome::Unchanged);
        match worst {
            KeyOutcome::Unchanged | KeyOutcome::WouldSend => VerificationStatus::NotNeeded,
            KeyOutcome::Verified | KeyOutcome::Cleared => VerificationStatus::Verified,
            KeyOutcome::Unverified if !self.request.options.verify => VerificationStatus::Skipped,
            KeyOutcome::Unverified => VerificationStatus::Unverified,
            KeyOutcome::Superseded => VerificationStatus::Superseded,
        }
    }
}
