//! Counts write requests that are refused before the gateway processes them.
//!
//! Anyone who reaches the port can send many of them. One record for each would displace real records
//! in the rotated files, and would fill the queue that other writes need.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::error::ErrorCode;

/// How long refusals are counted before one line reports them.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The refusals since the last report, by code.
#[derive(Default)]
pub(super) struct RefusalCounter(Mutex<Vec<(ErrorCode, u64)>>);

impl RefusalCounter {
    /// Counts a refusal. Returns true for the first since the last report.
    pub(super) fn add(&self, code: ErrorCode) -> bool {
        let mut counts = self.counts();
        let is_first = counts.is_empty();
        match counts.iter_mut().find(|(other, _)| *other == code) {
            Some((_, count)) => *count += 1,
            None => counts.push((code, 1)),
        }
        is_first
    }

    /// Returns the counts since the last call, and resets them.
    pub(super) fn take(&self) -> Vec<(ErrorCode, u64)> {
        std::mem::take(&mut *self.counts())
    }

    fn counts(&self) -> MutexGuard<'_, Vec<(ErrorCode, u64)>> {
        self.0.lock()
    }
}
