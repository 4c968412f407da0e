//! Calls of others with the same token, as far as upstream's headers show them.

use std::time::Duration;

use crate::policy::MonoTime;

/// Groups that are kept apart. Further calls join the last group.
const MAX_GROUPS: usize = 16;

/// What upstream says about its own counting, in the headers of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimitHeaders {
    /// Calls that it has counted in its window.
    pub count: Option<u64>,
    /// Calls that it grants a window.
    pub allowed: Option<u64>,
    /// Until it has forgotten those that it counted.
    pub reset: Option<Duration>,
}

/// Calls that leave together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExternalCalls {
    pub(super) leaves: MonoTime,
    pub(super) calls: u64,
}

/// Calls of others that are taken to occupy the window.
#[derive(Clone, Debug, Default)]
pub(super) struct ExternalUsage {
    groups: Vec<ExternalCalls>,
    calls: u64,
}

impl ExternalUsage {
    /// Adds calls that leave at `leaves`.
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

    /// Drops what has left by `now`.
    pub(super) fn expire(&mut self, now: MonoTime) {
        while let Some(first) = self.groups.first()
            && first.leaves <= now
        {
            self.calls -= first.calls;
            self.groups.remove(0);
        }
    }

    /// How many there are.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// How many of them have left at `then`.
    pub(super) fn leaving_by(&self, then: MonoTime) -> u64 {
        self.groups.iter().filter(|group| group.leaves <= then).map(|group| group.calls).sum()
    }

    /// In the order in which they leave.
    pub(super) fn groups(&self) -> &[ExternalCalls] {
        &self.groups
    }
}
