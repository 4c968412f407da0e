//! What one request did, step by step, for the trace of its conversation: the keys that it is about,
//! what became of them, and each call to upstream. Never a value.
//!
//! Collected only where tracing is on; a request without a trail allocates nothing for it. What a
//! trail holds is bounded: what is beyond is counted, and left out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::span::UpstreamAttempt;
use crate::domain::KeyOutcome;

/// Bytes of keys that are kept of one request: about a hundred keys of the usual length.
const MAX_KEY_BYTES: usize = 8192;

/// What a key takes beside its own bytes: short ones could take many times as much as they say.
const KEY_OVERHEAD: usize = 64;

/// Attempts that are kept of one request; more than its deadline and the budget of calls leave.
const MAX_ATTEMPTS: usize = 64;

/// What an attempt takes at most, its correlation id included.
const ATTEMPT_BYTES: usize = 256;

/// The trail of one request.
#[derive(Debug, Default)]
pub struct AttemptLog(Mutex<AttemptLogSnapshot>);

/// What a trail holds.
#[derive(Clone, Debug, Default)]
pub struct AttemptLogSnapshot {
    /// The keys that were asked for, each with what became of it where that is known.
    pub keys: Vec<(String, Option<KeyOutcome>)>,
    /// Keys beyond what is kept.
    pub keys_left_out: usize,
    /// Calls to upstream, retries counted singly, in the order in which they were made or joined.
    pub attempts: Vec<Arc<UpstreamAttempt>>,
    /// Attempts beyond what is kept.
    pub attempts_left_out: usize,
    key_bytes: usize,
}

impl AttemptLog {
    /// About how many bytes it takes so far.
    pub fn bytes(&self) -> usize {
        let steps = self.lock();
        steps.key_bytes + steps.attempts.len() * ATTEMPT_BYTES
    }

    /// What there is so far.
    pub fn snapshot(&self) -> AttemptLogSnapshot {
        self.lock().clone()
    }

    pub(super) fn record_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        let mut steps = self.lock();
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
        for (key, known) in &mut self.lock().keys {
            *known = outcome(key);
        }
    }

    pub(super) fn add(&self, attempts: impl IntoIterator<Item = Arc<UpstreamAttempt>>) {
        let mut steps = self.lock();
        for attempt in attempts {
            if steps.attempts.len() < MAX_ATTEMPTS {
                steps.attempts.push(attempt);
            } else {
                steps.attempts_left_out += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, AttemptLogSnapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(attempt_log.bytes(), 6002 + 4 * KEY_OVERHEAD + MAX_ATTEMPTS * ATTEMPT_BYTES);
    }

    #[test]
    fn many_short_keys_take_no_more_than_a_few_long_ones() {
        let (attempt_log, keys) =
            (AttemptLog::default(), (0..30_000).map(|number| format!("{number:x}")));
        let keys: Vec<_> = keys.collect();
        attempt_log.record_keys(keys.iter().map(String::as_str));
        assert!(attempt_log.bytes() <= MAX_KEY_BYTES);
        let steps = attempt_log.snapshot();
        assert_eq!(steps.keys.len() + steps.keys_left_out, keys.len());
        assert!((100..=128).contains(&steps.keys.len()), "{}", steps.keys.len());
    }
}
