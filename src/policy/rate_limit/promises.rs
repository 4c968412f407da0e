//! What callers that were refused have been told: so that the next one is told a later time, and
//! they do not all return in the same second to be refused again.

use std::collections::BTreeMap;

use crate::policy::Moment;

/// Times that are remembered, some 500 KB. Beyond that refusals are told the last time again.
const MOST: usize = 10_000;

/// Calls that were promised for times to come. They reserve nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    at: BTreeMap<Moment, u64>,
    calls: u64,
}

impl Promises {
    /// Remembers that `calls` were promised for `at`.
    pub(super) fn add(&mut self, at: Moment, calls: u64) {
        if self.at.len() < MOST || self.at.contains_key(&at) {
            *self.at.entry(at).or_default() += calls;
            self.calls += calls;
        }
    }

    /// Forgets those whose time has come: their callers are back, or will not come.
    pub(super) fn expire(&mut self, now: Moment) {
        while let Some(first) = self.at.first_entry()
            && *first.key() <= now
        {
            self.calls -= first.remove();
        }
    }

    /// How many calls are promised.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// Takes all of them back: what they were reckoned from has changed.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn promises_are_forgotten_at_their_time_and_bounded() {
        let mut promises = Promises::default();
        for second in 0..20_000 {
            promises.add(Duration::from_secs(second), 1);
        }
        assert_eq!(promises.calls(), 10_000);
        promises.expire(Duration::from_secs(99));
        assert_eq!(promises.calls(), 9900);
        promises.clear();
        assert_eq!(promises.calls(), 0);
    }
}
