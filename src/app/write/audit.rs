//! The audit of a write: the chosen participant, the state before, and the result of each key.

use std::sync::Arc;

use super::WriteOperation;
use crate::domain::{AttributeKey, AttributeMap, ParticipantSummary, WriteReport};
use crate::error::{Effect, Error, RequestFailure};
use crate::ports::{KeyResult, StateBefore, WriteFindings};

impl WriteOperation {
    /// Hands the audit entry back before the client is answered: a client must not see the answer
    /// earlier than the record.
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
        let state_before = self.baseline.state_before.clone();
        let ends = self.request.patch.keys().map(outcome).collect();
        audit_scope.complete(WriteFindings { effect, code, target, state_before, ends });
    }

    /// Keeps the map before the next batch.
    pub(super) fn set_baseline(&mut self, now: &AttributeMap) {
        self.baseline.before = now.clone();
        // Once something was sent, a read no longer shows the state before it.
        if let (Some(_), Ok(participant_key), true) =
            (&self.audit_scope, self.participant_key(), self.sent.batch.is_empty())
        {
            self.baseline.state_before =
                Some(Arc::new(self.shared.pending_writes.expected_state(participant_key, now)));
        }
    }

    /// Keeps the state before the first batch that was sent.
    pub(super) fn set_state_before(&mut self, state_before: Arc<StateBefore>) {
        if self.effect == Effect::NotApplied {
            self.baseline.state_before = Some(state_before);
        }
    }

    /// The result of a key of a failed write.
    fn end_of(&self, key: &AttributeKey, effect: Effect) -> KeyResult {
        match effect {
            Effect::NotApplied => KeyResult::NotSent,
            Effect::Unknown | Effect::Applied if self.sent.accepted_keys.contains(key) => {
                KeyResult::Accepted
            }
            Effect::Unknown | Effect::Applied => KeyResult::Unknown,
        }
    }
}
