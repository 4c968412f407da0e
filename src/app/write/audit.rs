//! The audit of a write: the chosen participant, the state before, and the result of each key.

use super::WriteOperation;
use crate::domain::{AttributeKey, AttributeMap, ParticipantSummary, WriteReport};
use crate::error::{Effect, Error, RequestFailure};
use crate::ports::{KeyResult, WriteFindings};

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
            (*id, purpose.clone())
        });
        let results = self.request.patch.keys().map(outcome).collect();
        let map_before = self.baseline.map_before.take();
        audit_scope.complete(WriteFindings { effect, code, target, map_before, results });
    }

    /// Keeps the map before the next batch.
    pub(super) fn set_baseline(&mut self, now: &AttributeMap) {
        self.baseline.before = now.clone();
        // Once something was sent, a read no longer shows the map before it.
        let is_before = self.sent.batch.is_empty() && !self.baseline.is_remembered;
        if self.audit_scope.is_some() && is_before {
            self.baseline.map_before = Some(now.clone());
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
