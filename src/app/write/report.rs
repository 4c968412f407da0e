//! The answer to a write: true, whatever happened.

use std::collections::BTreeMap;

use super::{WriteOperation, access_filter, since};
use crate::app::batching::SubmissionHandle;
use crate::domain::{
    AttributeKey, KeyOutcome, VerificationStatus, VerificationSummary, WriteReport,
};
use crate::error::{Effect, Error, RequestFailure};

impl WriteOperation {
    /// Makes the answer from how the write ended.
    pub(super) fn finish(
        &mut self,
        ended: Result<(), Error>,
    ) -> Result<WriteReport, RequestFailure> {
        let dry_run = self.request.options.dry_run;
        if let Some(in_flight) = self.handle.take().and_then(SubmissionHandle::cancel) {
            // Stopped while its batch was on its way. Only a PATCH that has left can be applied.
            self.request.context.add_usage_of(&in_flight.context);
            if in_flight.has_left() {
                self.effect = self.effect.max(Effect::Unknown);
            }
        }
        self.shared.recorder.writes.calls.observe(self.request.context.calls().into());
        self.tell_lost();
        match ended {
            Ok(()) if dry_run || !self.is_undecided() => {}
            // Another writer's value stood there after a PATCH of unknown result.
            Ok(()) => return Err(self.failed(None)),
            // Once upstream has accepted the write, no error replaces the answer.
            Err(error) if self.effect == Effect::Applied && !self.is_undecided() => {
                let error = self.explain(error);
                self.warn(format!("not verified: {error}"));
            }
            Err(error) => return Err(self.failed(Some(error))),
        }
        self.warn_of_doubts();
        let report = self.report(dry_run);
        for outcome in report.outcomes.values() {
            self.shared.recorder.writes.outcomes.with(&[outcome.as_str().into()]).inc();
        }
        self.request.context.note_outcomes(|key| report.outcomes.get(key).copied());
        self.shared.recorder.writes.read_backs.observe(self.verification.reads.into());
        if report.verification.status == VerificationStatus::Verified {
            self.shared.recorder.writes.verified.observe(self.arrived.elapsed());
        }
        if report.worst() == KeyOutcome::Superseded {
            let error = Error::Superseded(Box::new(report));
            return Err(RequestFailure { error, effect: self.effect });
        }
        Ok(report)
    }

    /// The error, without what the client must not see.
    pub(super) fn explain(&self, error: Error) -> Error {
        let rights = &self.request.context.client().rights;
        access_filter::error(error, rights, self.shared.settings.patch_full)
    }

    /// Whether a key is undecided although no PATCH with it was accepted.
    fn is_undecided(&self) -> bool {
        let settle = self.shared.settle();
        let undecided = |key: &AttributeKey| {
            let outcome = self.verification.sent_keys.outcome(key, settle);
            outcome.is_none_or(|outcome| outcome == KeyOutcome::Unverified)
        };
        self.sent.changes.keys().any(|key| !self.sent.accepted_keys.contains(key) && undecided(key))
            || !self.verification.unchanged_keys.third().is_empty()
    }

    fn failed(&mut self, error: Option<Error>) -> RequestFailure {
        let error = error.or_else(|| self.failure.take());
        let mut error = error.unwrap_or(Error::DeadlineExceeded("waiting for Genesys Cloud"));
        // A client that repeats the write would replace that value without knowing of it.
        let third = quoted(self.verification.sent_keys.third().keys());
        if let Error::UpstreamUnavailable { reason, .. } = &mut error
            && !third.is_empty()
        {
            reason.push_str("; another value stands at ");
            reason.push_str(&third);
            reason.push_str(" now, so read the attributes before you repeat the write");
        }
        RequestFailure { error: self.reason(error), effect: self.effect }
    }

    /// Counts the lost keys of other writers, and names those that the client may see.
    fn tell_lost(&mut self) {
        if self.verification.lost.is_empty() {
            return;
        }
        let lost = self.verification.losses.count(&self.verification.lost);
        self.shared.recorder.writes.keys_lost.inc_by(lost as u64);
        let rights = &self.request.context.client().rights;
        let known = self.verification.lost.iter().filter(|key| rights.sees(key.as_str()));
        let names: Vec<_> = known.map(|key| format!("`{key}`")).collect();
        if !names.is_empty() {
            self.warn(format!(
                "keys that this write did not send are gone, removed by another writer or by \
                 Genesys Cloud: {}",
                names.join(", ")
            ));
        }
    }

    /// Names keys that are sent once more although their value may be newer than the first try.
    pub(super) fn warn_of_replaced(&mut self, keys: &[AttributeKey]) {
        if !keys.is_empty() {
            self.warn(format!(
                "another value stood at {} after a try with an unknown result, and the next try \
                 replaced it; it may have been newer",
                quoted(keys.iter())
            ));
        }
    }

    /// Adds warnings for unverified keys, where more is known than that no read showed them.
    fn warn_of_doubts(&mut self) {
        let settle = self.shared.settle();
        let open = |key: &&AttributeKey| {
            self.verification.sent_keys.outcome(key, settle) == Some(KeyOutcome::Unverified)
        };
        let third = quoted(self.verification.sent_keys.third().keys().filter(open));
        let kept = quoted(self.unread());
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

    /// A drain that met a PATCH in flight is reported as a missed deadline.
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
        // Every path here leads through a read that chose the participant.
        let target = target.expect("a write without an error has chosen its participant");
        let report = WriteReport {
            conversation: self.request.conversation,
            participant: target.participant.clone(),
            chosen_by: target.chosen_by,
            attributes: self.baseline.shown.clone(),
            fresh: self.sent.accepted.is_none() || self.baseline.shown_after,
            outcomes,
            verification: VerificationSummary {
                status,
                reads: self.verification.reads,
                elapsed_ms: u64::try_from(since(self.sent.accepted).as_millis())
                    .unwrap_or(u64::MAX),
            },
            warnings: self.warnings.clone(),
            resulting: dry_run.then(|| self.sent.changes.applied_to(&self.baseline.shown)),
            dry_run,
        };
        self.target = Some(target);
        report
    }

    fn outcomes(&self, dry_run: bool) -> BTreeMap<AttributeKey, KeyOutcome> {
        let settle = self.shared.settle();
        let outcome = |key: &AttributeKey| {
            if self.sent.changes.get(key).is_some() {
                return match self.verification.sent_keys.outcome(key, settle) {
                    _ if dry_run => KeyOutcome::WouldSend,
                    Some(outcome) => outcome,
                    None => KeyOutcome::Unverified,
                };
            }
            if self.sent.overtaken.contains(key) {
                return KeyOutcome::Superseded;
            }
            match self.verification.unchanged_keys.outcome(key, settle) {
                // A key without an outcome was certainly not seen in place.
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

/// The keys as a list for a sentence.
fn quoted<'a>(keys: impl Iterator<Item = &'a AttributeKey>) -> String {
    keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
