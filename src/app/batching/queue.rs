//! The queues of waiting writes, one for each participant, and what they hold.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::submission::{PatchInFlight, SubmissionResult, WriteSubmission};
use crate::app::conversation_reads::ReadCoalescer;
use crate::app::lag::LagTracker;
use crate::app::pending_writes::PendingWrites;
use crate::app::settings::AppSettings;
use crate::app::snapshot::{ById, ParticipantKey};
use crate::app::write_coordinator::WriteCoordinator;
use crate::error::Error;
use crate::ports::{BudgetAccount, CallBudget, ConversationsPort, MetricsRecorder};
use crate::shutdown::ShutdownSignal;

/// What sending batches needs.
pub struct BatchingParts {
    pub conversations: Arc<dyn ConversationsPort>,
    pub call_budget: Arc<dyn CallBudget>,
    pub recorder: Arc<MetricsRecorder>,
    pub settings: Arc<AppSettings>,
    pub shutdown: ShutdownSignal,
    pub reads: ReadCoalescer,
    pub pending_writes: PendingWrites,
    pub lags: Arc<LagTracker>,
    /// What replicas know of each other's writes; `None` for a single process.
    pub replicas: Option<Arc<WriteCoordinator>>,
    /// Returns a number from 0 up to 1, for jitter.
    pub random: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// Where the workers of the queues are reached, and what they need.
pub(super) struct QueuesInner {
    pub parts: BatchingParts,
    pub arrivals: AtomicU64,
    pub inboxes: Mutex<ById<ParticipantKey, mpsc::UnboundedSender<QueuedWrite>>>,
}

impl QueuesInner {
    pub fn new(parts: BatchingParts) -> Self {
        Self { parts, arrivals: AtomicU64::new(0), inboxes: Mutex::default() }
    }
}

/// A write that waits, or is in flight.
pub(super) struct QueuedWrite {
    pub submission: WriteSubmission,
    /// The PATCH that carries it, as its submitter sees it.
    pub in_flight: Arc<Mutex<Option<PatchInFlight>>>,
    pub sender: oneshot::Sender<SubmissionResult>,
    /// It is deferred until then.
    pub not_before: Option<Instant>,
    pub deferrals: u32,
    /// Its batch was rejected, perhaps because of another member: from now on it is sent alone.
    pub is_single: bool,
    pub entered: Instant,
    pub waiting: Option<WaitingCount>,
}

impl QueuedWrite {
    pub fn new(
        submission: WriteSubmission,
        sender: oneshot::Sender<SubmissionResult>,
        recorder: &Arc<MetricsRecorder>,
    ) -> Self {
        Self {
            submission,
            in_flight: Arc::default(),
            sender,
            not_before: None,
            deferrals: 0,
            is_single: false,
            entered: Instant::now(),
            waiting: Some(WaitingCount::new(recorder)),
        }
    }

    pub fn deadline(&self) -> Instant {
        self.submission.context.deadline()
    }

    /// Whether it is not deferred, or no longer.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether it is sent alone, on `account`.
    pub fn is_single_of(&self, account: BudgetAccount) -> bool {
        self.is_single && self.submission.context.budget_account() == account
    }

    /// Refuses it for this batch. If an earlier PATCH of its own may be the reason, it has to read
    /// again.
    pub fn fail(self, error: Error) {
        if self.submission.pending_ids.is_empty() {
            self.complete(SubmissionResult::Refused(error));
        } else {
            self.complete(SubmissionResult::Unsettled(error));
        }
    }

    pub fn complete(self, result: SubmissionResult) {
        // A write that was cancelled gets no result.
        let _ = self.sender.send(result);
    }
}

/// Counts a waiting write in the metrics until it is dropped.
pub(super) struct WaitingCount(Arc<MetricsRecorder>);

impl WaitingCount {
    pub fn new(recorder: &Arc<MetricsRecorder>) -> Self {
        recorder.writes.waiting.inc();
        Self(Arc::clone(recorder))
    }
}

impl Drop for WaitingCount {
    fn drop(&mut self) {
        self.0.writes.waiting.dec();
    }
}
