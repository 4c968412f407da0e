//! Calls by other users of the token, as far as upstream's headers show them.

use std::time::Duration;

use crate::policy::MonoTime;

/// How many groups are kept. Further calls join the last group.
const MAX_GROUPS: usize = 16;

/// The rate-limit headers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimitHeaders {
    /// Calls that upstream has counted in its window.
    pub count: Option<u64>,
    /// Calls that upstream allows in a window.
    pub allowed: Option<u64>,
    /// Time until upstream starts a new count.
    pub reset: Option<Duration>,
}

/// Calls that leave the window together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExternalCalls {
    pub(super) leaves: MonoTime,
    pub(super) calls: u64,
}

/// Calls of other users that occupy the window.
#[derive(Clone, Debug, Default)]
pub(super) struct ExternalUsage {
    groups: Vec<ExternalCalls>,
    calls: u64,
}

impl ExternalUsage {
    /// Adds calls that leave the window at `leaves`.
    pub(super) fn add(&mut self, leaves: MonoTime, calls: u64) {
        self.calls += calls;
        let is_full = self.groups.len() >= MAX_GROUPS;
        match self.groups.last_mut() {
            Some(last) if is_full => {
                last.leaves = last.leaves.max(leaves);
                last.calls += calls;
            }
            _ => {
                self.groups.push(ExternalCalls { leaves, calls });
                self.groups.sort_by_key(|group| group.leaves);
            }
        }
    }

    /// Drops the calls that have left the window by `now`.
    pub(super) fn expire(&mut self, now: MonoTime) {
        while let Some(first) = self.groups.first()
            && first.leaves <= now
        {
            self.calls -= first.calls;
            self.groups.remove(0);
        }
    }

    /// The number of calls.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// How many calls will have left the window at `then`.
    pub(super) fn leaving_by(&self, then: MonoTime) -> u64 {
        self.groups.iter().filter(|group| group.leaves <= then).map(|group| group.calls).sum()
    }

    /// The groups, in the order in which they leave the window.
    pub(super) fn groups(&self) -> &[ExternalCalls] {
        &self.groups
    }
}
