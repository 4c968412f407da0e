//! The steps of one request, for the trace of its conversation: keys, outcomes and calls, but no value.
//!
//! Kept only where tracing is on. A log is bounded; what does not fit is counted.

use std::sync::Arc;

use parking_lot::Mutex;

use super::span::UpstreamAttempt;
use crate::domain::KeyOutcome;

const MAX_KEYS: usize = 100;

/// Attempts kept of one request; more than its deadline and the call budget allow.
const MAX_ATTEMPTS: usize = 64;

#[derive(Debug, Default)]
pub struct AttemptLog(Mutex<AttemptLogSnapshot>);

#[derive(Clone, Debug, Default)]
pub struct AttemptLogSnapshot {
    /// The keys of the request, each with its outcome once that is known.
    pub keys: Vec<(String, Option<KeyOutcome>)>,
    pub keys_left_out: usize,
    /// Calls to upstream, each retry counted, in the order in which they were made or joined.
    pub attempts: Vec<Arc<UpstreamAttempt>>,
    pub attempts_left_out: usize,
}

impl AttemptLog {
    pub fn snapshot(&self) -> AttemptLogSnapshot {
        self.0.lock().clone()
    }

    pub(super) fn record_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut steps = self.0.lock();
        for key in keys {
            if steps.keys.iter().any(|(known, _)| known == key) {
                continue;
            }
            if steps.keys.len() < MAX_KEYS {
                steps.keys.push((key.to_owned(), None));
            } else {
                steps.keys_left_out += 1;
            }
        }
    }

    pub(super) fn record_outcomes<'a>(&self, outcome: impl Fn(&str) -> Option<KeyOutcome> + 'a) {
        for (key, known) in &mut self.0.lock().keys {
            *known = outcome(key);
        }
    }

    pub(super) fn add(&self, attempts: impl IntoIterator<Item = Arc<UpstreamAttempt>>) {
        let mut steps = self.0.lock();
        for attempt in attempts {
            if steps.attempts.len() < MAX_ATTEMPTS {
                steps.attempts.push(attempt);
            } else {
                steps.attempts_left_out += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::PlatformOperation;

    #[test]
    fn a_trail_keeps_so_much_and_counts_the_rest() {
        let attempt_log = AttemptLog::default();
        let keys: Vec<_> = (0..MAX_KEYS + 2).map(|number| number.to_string()).collect();
        attempt_log.record_keys(keys.iter().chain(&keys[..5]).map(String::as_str));
        attempt_log.record_outcomes(|key| (key == "1").then_some(KeyOutcome::Verified));
        let attempts = (0..MAX_ATTEMPTS + 3)
            .map(|_| Arc::new(UpstreamAttempt::begin(PlatformOperation::Read, None)));
        attempt_log.add(attempts);
        let steps = attempt_log.snapshot();
        assert_eq!((steps.keys.len(), steps.keys_left_out), (MAX_KEYS, 2));
        assert_eq!(steps.keys[..2], [("0".into(), None), ("1".into(), Some(KeyOutcome::Verified))]);
        assert_eq!((steps.attempts.len(), steps.attempts_left_out), (MAX_ATTEMPTS, 3));
    }
}
