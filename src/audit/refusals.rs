//! Write requests that were refused before they were looked at: counted, and told together.
//!
//! Whoever reaches the port can make as many as he likes. A record for each would push true ones out of
//! the files that are kept, and fill the queue that writes wait for.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::error::ErrorCode;

/// For so long they are counted before they are told.
pub(super) const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The counts that have not been told yet.
#[derive(Default)]
pub(super) struct RefusalCounter(Mutex<Vec<(ErrorCode, u64)>>);

impl RefusalCounter {
    /// Counts one more. Whether it is the first since they were told.
    pub(super) fn add(&self, code: ErrorCode) -> bool {
        let mut counts = self.counts();
        let is_first = counts.is_empty();
        match counts.iter_mut().find(|(other, _)| *other == code) {
            Some((_, count)) => *count += 1,
            None => counts.push((code, 1)),
        }
        is_first
    }

    /// How many there were of each code since this was asked last.
    pub(super) fn take(&self) -> Vec<(ErrorCode, u64)> {
        std::mem::take(&mut *self.counts())
    }

    fn counts(&self) -> MutexGuard<'_, Vec<(ErrorCode, u64)>> {
        self.0.lock()
    }
}
