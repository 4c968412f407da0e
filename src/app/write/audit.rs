//! What the audit is told of a write: who was chosen, what stood there, and what became of each key.

use std::sync::Arc;

use super::WriteOperation;
use crate::domain::{AttributeKey, AttributeMap, ParticipantSummary, WriteReport};
use crate::error::{Effect, Error, RequestFailure};
use crate::ports::{KeyResult, StateBefore, WriteFindings};

impl WriteOperation {
    /// Hands back the dossier of this write, if it has one. Before its client is told: who reads the
    /// answer must not be quicker than the record.
    pub(super) fn finish_audit(&mut self, result: &Result<WriteReport, RequestFailure>) {
        let Some(audit_scope) = self.audit_scope.take() else { return };
        let (report, effect, code) = match result {
            Ok(report) => (Some(report), self.effect, None),
            Err(RequestFailure { error, effect }) => {
                let report = match error {
                    Error::Superseded(report) => Some(&**report),
                    _ => None,
                };
                (report, *effect, Some(error.code()))
            }
        };
        let outcome = |key: &AttributeKey| match report.and_then(|report| report.outcomes.get(key))
        {
            Some(outcome) => KeyResult::Outcome(*outcome),
            None => self.end_of(key, effect),
        };
        let target = self.target.as_ref().map(|target| {
            let ParticipantSummary { id, purpose, .. } = &target.participant;
            (*id, purpose.to_string())
        });
        let state_before = self.state_before.clone();
        let ends = self.request.patch.keys().map(outcome).collect();
        audit_scope.complete(WriteFindings { effect, code, target, state_before, ends });
    }

    /// Takes note of the map before what is to be sent.
    pub(super) fn set_baseline(&mut self, now: &AttributeMap) {
        self.before = now.clone();
        // Once something has left, what stood there before it is not to be seen any more.
        if let (Some(_), Ok(participant_key), true) =
            (&self.audit_scope, self.place(), self.batch.is_empty())
        {
            self.state_before =
                Some(Arc::new(self.shared.pending_writes.expected_state(participant_key, now)));
        }
    }

    /// Something has left while this stood there. What leaves later finds the first already there.
    pub(super) fn set_state_before(&mut self, state_before: Arc<StateBefore>) {
        if self.effect == Effect::NotApplied {
            self.state_before = Some(state_before);
        }
    }

    /// What became of a key of a write that failed.
    fn end_of(&self, key: &AttributeKey, effect: Effect) -> KeyResult {
        match effect {
            Effect::NotApplied => KeyResult::NotSent,
            Effect::Unknown | Effect::Applied if self.taken.contains(key) => KeyResult::Accepted,
            Effect::Unknown | Effect::Applied => KeyResult::Unknown,
        }
    }
}
