//! The steps of one request, for the trace of its conversation: its keys, their outcomes, and each
//! call to upstream. Never a value.
//!
//! Kept only where tracing is on; other requests allocate nothing for it. A log is bounded; what
//! does not fit is counted.

use std::sync::Arc;

use parking_lot::Mutex;

use super::span::UpstreamAttempt;
use crate::domain::KeyOutcome;

/// Bytes of keys kept of one request: about a hundred keys of typical length.
const MAX_KEY_BYTES: usize = 8192;

/// Bytes added for each key, so that many short keys cannot exceed the bound.
const KEY_OVERHEAD: usize = 64;

/// Attempts kept of one request; more than its deadline and the call budget allow.
const MAX_ATTEMPTS: usize = 64;

/// The log of one request.
#[derive(Debug, Default)]
pub struct AttemptLog(Mutex<AttemptLogSnapshot>);

/// The content of a log.
#[derive(Clone, Debug, Default)]
pub struct AttemptLogSnapshot {
    /// The keys of the request, each with its outcome once that is known.
    pub keys: Vec<(String, Option<KeyOutcome>)>,
    /// The number of keys that did not fit.
    pub keys_left_out: usize,
    /// Calls to upstream, each retry counted, in the order in which they were made or joined.
    pub attempts: Vec<Arc<UpstreamAttempt>>,
    /// The number of attempts that did not fit.
    pub attempts_left_out: usize,
    key_bytes: usize,
}

impl AttemptLog {
    /// A copy of its content.
    pub fn snapshot(&self) -> AttemptLogSnapshot {
        self.0.lock().clone()
    }

    pub(super) fn record_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut steps = self.0.lock();
        for key in keys {
            let bytes = key.len() + KEY_OVERHEAD;
            if steps.keys.iter().any(|(known, _)| known == key) {
                continue;
            }
            if steps.key_bytes + bytes > MAX_KEY_BYTES {
                steps.keys_left_out += 1;
            } else {
                steps.key_bytes += bytes;
                steps.keys.push((key.to_owned(), None));
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
        let long = ["c", "d", "e"].map(|name| name.repeat(3000));
        attempt_log
            .record_keys(["a", &long[0], "a", &long[1], &long[2], "b", &long[0]].into_iter());
        attempt_log.record_outcomes(|key| (key == "b").then_some(KeyOutcome::Verified));
        let attempts = (0..MAX_ATTEMPTS + 3)
            .map(|_| Arc::new(UpstreamAttempt::begin(PlatformOperation::Read, None)));
        attempt_log.add(attempts);
        let steps = attempt_log.snapshot();
        let kept: Vec<_> = steps.keys.iter().map(|(key, outcome)| (key.len(), *outcome)).collect();
        assert_eq!(kept, [(1, None), (3000, None), (3000, None), (1, Some(KeyOutcome::Verified))]);
        assert_eq!(steps.keys_left_out, 1);
        assert_eq!((steps.attempts.len(), steps.attempts_left_out), (MAX_ATTEMPTS, 3));
        assert_eq!(steps.key_bytes, 6002 + 4 * KEY_OVERHEAD);
    }

    #[test]
    fn many_short_keys_take_no_more_than_a_few_long_ones() {
        let (attempt_log, keys) =
            (AttemptLog::default(), (0..30_000).map(|number| format!("{number:x}")));
        let keys: Vec<_> = keys.collect();
        attempt_log.record_keys(keys.iter().map(String::as_str));
        let steps = attempt_log.snapshot();
        assert!(steps.key_bytes <= MAX_KEY_BYTES);
        assert_eq!(steps.keys.len() + steps.keys_left_out, keys.len());
        assert!((100..=128).contains(&steps.keys.len()), "{}", steps.keys.len());
    }
}
