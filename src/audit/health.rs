//! Health of the audit log. Metrics count each record. The log reports the first loss, further losses
//! at most every 10 s, and the recovery.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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
    recorder: Arc<MetricsRecorder>,
    state: Mutex<(AuditHealthState, Option<Instant>)>,
    /// When the current write of the thread began.
    pub writing_since: Mutex<Option<Instant>>,
}

impl AuditHealth {
    pub(super) fn new(recorder: Arc<MetricsRecorder>) -> Self {
        Self { recorder, state: Mutex::default(), writing_since: Mutex::default() }
    }

    pub(super) fn state(&self) -> AuditHealthState {
        let (mut state, _) = self.state.lock().clone();
        if self.writing_since.lock().is_some_and(|since| since.elapsed() >= STALL_TIMEOUT) {
            state.failing.get_or_insert_with(|| "the output has stalled".to_owned());
        }
        state
    }

    /// A record was written.
    pub(super) fn written(&self, counts: bool) {
        if counts {
            self.recorder.audit_records.inc();
        }
        let (state, logged_at) = &mut *self.state.lock();
        if state.failing.take().is_some() {
            *logged_at = None;
            tracing::warn!(audit.lost = state.lost, "audit records are written again");
        }
    }

    /// A record could not be written.
    pub(super) fn failed(&self, counts: bool, reason: &str) {
        if counts {
            self.recorder.audit_lost.inc();
        }
        let (state, logged_at) = &mut *self.state.lock();
        state.lost += u64::from(counts);
        state.failing = Some(reason.to_owned());
        if logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *logged_at = Some(Instant::now());
            tracing::error!(audit.lost = state.lost, reason, "audit records cannot be written");
        }
    }
}
