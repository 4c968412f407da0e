//! Health of the audit log. Metrics count each record. The log reports the first loss, further losses
//! at most every 10 s, and the recovery.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::ports::MetricsRecorder;

/// Least time between two log lines about losses.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// An output that needs longer than this for one line has stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// State of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditHealthState {
    /// Why the last record could not be written, if it could not.
    pub failing: Option<String>,
    /// Records lost since the start.
    pub lost: u64,
}

/// Tracks the state of one audit log.
pub(super) struct AuditHealth {
    recorder: Arc<dyn MetricsRecorder>,
    inner: Mutex<AuditHealthInner>,
}

#[derive(Default)]
struct AuditHealthInner {
    state: AuditHealthState,
    logged_at: Option<Instant>,
    /// When the current write began.
    writing: Option<Instant>,
}

impl AuditHealth {
    pub(super) fn new(recorder: Arc<dyn MetricsRecorder>) -> Self {
        Self { recorder, inner: Mutex::default() }
    }

    pub(super) fn state(&self) -> AuditHealthState {
        let inner = self.lock();
        let mut state = inner.state.clone();
        if inner.writing.is_some_and(|since| since.elapsed() >= STALL_TIMEOUT) {
            state.failing.get_or_insert_with(|| "the output has stalled".to_owned());
        }
        state
    }

    /// A write begins.
    pub(super) fn write_started(&self) {
        self.lock().writing = Some(Instant::now());
    }

    /// The write ended, with or without success.
    pub(super) fn write_ended(&self) {
        self.lock().writing = None;
    }

    #[cfg(test)]
    pub(super) fn is_writing(&self) -> bool {
        self.lock().writing.is_some()
    }

    /// A record was written.
    pub(super) fn written(&self, counts: bool) {
        if counts {
            self.recorder.audited(true);
        }
        let mut inner = self.lock();
        if inner.state.failing.take().is_some() {
            inner.logged_at = None;
            tracing::warn!(audit.lost = inner.state.lost, "audit records are written again");
        }
    }

    /// A record could not be written.
    pub(super) fn failed(&self, counts: bool, reason: &str) {
        if counts {
            self.recorder.audited(false);
        }
        let mut inner = self.lock();
        inner.state.lost += u64::from(counts);
        inner.state.failing = Some(reason.to_owned());
        if inner.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            inner.logged_at = Some(Instant::now());
            let lost = inner.state.lost;
            tracing::error!(audit.lost = lost, reason, "audit records cannot be written");
        }
    }

    fn lock(&self) -> MutexGuard<'_, AuditHealthInner> {
        self.inner.lock()
    }
}
