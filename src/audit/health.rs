//! How the audit fares, and who is told: metrics for each record, the log at the first loss, from
//! then on now and again, and when it works again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::ports::MetricsRecorder;

/// Between two lines of the log about losses.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An output that has not taken a line for this long stands still.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How the audit fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditHealthState {
    /// Why the last record could not be written.
    pub failing: Option<String>,
    /// Records lost since the start.
    pub lost: u64,
}

/// The books of one audit log.
pub(super) struct AuditHealth {
    recorder: Arc<dyn MetricsRecorder>,
    books: Mutex<AuditHealthInner>,
}

#[derive(Default)]
struct AuditHealthInner {
    state: AuditHealthState,
    told: Option<Instant>,
    /// Since when a line is being written.
    writing: Option<Instant>,
}

impl AuditHealth {
    pub(super) fn new(recorder: Arc<dyn MetricsRecorder>) -> Self {
        Self { recorder, books: Mutex::default() }
    }

    pub(super) fn state(&self) -> AuditHealthState {
        let books = self.inner();
        let mut state = books.state.clone();
        if books.writing.is_some_and(|since| since.elapsed() >= STALL_TIMEOUT) {
            state.failing.get_or_insert_with(|| "the output stands still".to_owned());
        }
        state
    }

    /// A line is being written: with an output that stands still it will be for long.
    pub(super) fn begins(&self) {
        self.inner().writing = Some(Instant::now());
    }

    /// The line was written, or could not be.
    pub(super) fn ended(&self) {
        self.inner().writing = None;
    }

    #[cfg(test)]
    pub(super) fn is_writing(&self) -> bool {
        self.inner().writing.is_some()
    }

    /// A record was written.
    pub(super) fn written(&self, counts: bool) {
        if counts {
            self.recorder.audited(true);
        }
        let mut books = self.inner();
        if books.state.failing.take().is_some() {
            books.told = None;
            tracing::warn!(audit.lost = books.state.lost, "audit records are written again");
        }
    }

    /// A record could not be written.
    pub(super) fn failed(&self, counts: bool, reason: &str) {
        if counts {
            self.recorder.audited(false);
        }
        let mut books = self.inner();
        books.state.lost += u64::from(counts);
        books.state.failing = Some(reason.to_owned());
        if books.told.is_none_or(|told| told.elapsed() >= LOG_INTERVAL) {
            books.told = Some(Instant::now());
            let lost = books.state.lost;
            tracing::error!(audit.lost = lost, reason, "audit records cannot be written");
        }
    }

    fn inner(&self) -> MutexGuard<'_, AuditHealthInner> {
        self.books.lock()
    }
}
