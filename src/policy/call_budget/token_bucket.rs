//! Token buckets: they keep calls at a pace, and let a burst through.

use std::time::Duration;

use super::types::PriorityClass;
use crate::policy::MonoTime;

/// The calls that may go at once.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    tokens: f64,
    refilled: MonoTime,
}

/// One bucket for each class. A call takes a token from its class and from all classes above it, so
/// a flood of reads leaves tokens to writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassBuckets([TokenBucket; PriorityClass::ALL.len()]);

impl ClassBuckets {
    /// Full, whatever their capacity.
    pub(super) const FULL: Self =
        Self([TokenBucket { tokens: f64::INFINITY, refilled: MonoTime::ZERO }; 4]);

    /// Adds the tokens since the last refill, at `rate` a second. A bucket holds at most `capacity`
    /// tokens, and gains none beyond `gains_to`.
    pub(super) fn refill(
        &mut self,
        class: PriorityClass,
        rate: f64,
        (capacity, gains_to): (u64, u64),
        now: MonoTime,
    ) {
        let bucket = &mut self.0[class as usize];
        let gained = rate * now.saturating_sub(bucket.refilled).as_secs_f64();
        bucket.tokens = bucket.tokens.min(float(capacity));
        bucket.tokens = bucket.tokens.max((bucket.tokens + gained).min(float(gains_to)));
        bucket.refilled = bucket.refilled.max(now);
    }

    /// When the bucket has tokens for so many calls, at `rate` a second.
    pub(super) fn opens(
        &self,
        class: PriorityClass,
        calls: u64,
        rate: f64,
        now: MonoTime,
    ) -> MonoTime {
        let missing = float(calls) - self.0[class as usize].tokens;
        // A billionth of a call is a rounding error.
        if missing <= 1e-9 { now } else { now.saturating_add(seconds(missing / rate)) }
    }

    /// Takes the tokens of granted calls.
    pub(super) fn take(&mut self, class: PriorityClass, calls: u64) {
        self.0[..=class as usize].iter_mut().for_each(|bucket| bucket.tokens -= float(calls));
    }

    /// Takes back the tokens of calls that were not made.
    pub(super) fn give_back(&mut self, calls: u64) {
        self.0.iter_mut().for_each(|bucket| bucket.tokens += float(calls));
    }
}

/// A number of calls, for rates.
#[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
pub(super) fn float(calls: u64) -> f64 {
    calls as f64
}

/// A wait in seconds. What is no number or too large waits for ever.
pub(super) fn seconds(wait: f64) -> Duration {
    Duration::try_from_secs_f64(wait.max(0.0)).unwrap_or(Duration::MAX)
}
