//! What the audit is told of a write: who was chosen, what stood there, and what became of each key.

use std::sync::Arc;

use super::Flow;
use crate::domain::{AttributeKey, AttributeMap, Candidate, WriteReport};
use crate::error::{Effect, Error, Failure};
use crate::ports::{Finding, KeyEnd, Stood};

impl Flow {
    /// Hands back the dossier of this write, if it has one. Before its caller is told: who reads the
    /// answer must not be quicker than the record.
    pub(super) fn account_for(&mut self, result: &Result<WriteReport, Failure>) {
        let Some(custody) = self.custody.take() else { return };
        let (report, effect, code) = match result {
            Ok(report) => (Some(report), self.effect, None),
            Err(Failure { error, effect }) => {
                let report = match error {
                    Error::Superseded(report) => Some(&**report),
                    _ => None,
                };
                (report, *effect, Some(error.code()))
            }
        };
        let outcome = |key: &AttributeKey| match report.and_then(|report| report.outcomes.get(key))
        {
            Some(outcome) => KeyEnd::Outcome(*outcome),
            None => self.end_of(key, effect),
        };
        let target = self.target.as_ref().map(|target| {
            let Candidate { id, purpose, .. } = &target.participant;
            (*id, purpose.to_string())
        });
        let stood = self.stood.clone();
        let ends = self.request.patch.keys().map(outcome).collect();
        custody.settle(Finding { effect, code, target, stood, ends });
    }

    /// Takes note of the map before what is to be sent.
    pub(super) fn starts_from(&mut self, now: &AttributeMap) {
        self.before = now.clone();
        // Once something has left, what stood there before it is not to be seen any more.
        if let (Some(_), Ok(place), true) = (&self.custody, self.place(), self.batch.is_empty()) {
            self.stood = Some(Arc::new(self.shared.held.standing(place, now)));
        }
    }

    /// Something has left while this stood there. What leaves later finds the first already there.
    pub(super) fn left_from(&mut self, stood: Arc<Stood>) {
        if self.effect == Effect::NotApplied {
            self.stood = Some(stood);
        }
    }

    /// What became of a key of a write that failed.
    fn end_of(&self, key: &AttributeKey, effect: Effect) -> KeyEnd {
        match effect {
            Effect::NotApplied => KeyEnd::NotSent,
            Effect::Unknown | Effect::Applied if self.taken.contains(key) => KeyEnd::Accepted,
            Effect::Unknown | Effect::Applied => KeyEnd::Unknown,
        }
    }
}
