//! The queues of waiting writes, one for each participant.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::submission::{SubmissionResult, WriteSubmission};
use crate::app::coalesced_reads::ReadCoalescer;
use crate::app::lag::LagTracker;
use crate::app::pending_writes::PendingWrites;
use crate::app::settings::AppSettings;
use crate::app::snapshot::{ById, ParticipantKey};
use crate::error::Error;
use crate::ports::{BudgetAccount, CallBudget, ConversationsPort, MetricsRecorder, RequestContext};
use crate::shutdown::ShutdownSignal;

/// What sending batches needs.
pub struct BatchingParts {
    /// Upstream.
    pub conversations: Arc<dyn ConversationsPort>,
    /// The budget of calls.
    pub call_budget: Arc<dyn CallBudget>,
    /// Records metrics.
    pub recorder: Arc<dyn MetricsRecorder>,
    /// The settings of the use cases.
    pub settings: Arc<AppSettings>,
    /// Tells of a shutdown.
    pub shutdown: ShutdownSignal,
    /// Shared reads.
    pub reads: ReadCoalescer,
    /// Writes that no read has shown yet.
    pub pending_writes: PendingWrites,
    /// Measured lags.
    pub lags: Arc<LagTracker>,
    /// Returns a number from 0 up to 1, for jitter.
    pub random: Box<dyn Fn() -> f64 + Send + Sync>,
}

/// The queues, and what their workers need.
pub(super) struct QueuesInner {
    pub parts: BatchingParts,
    pub arrivals: AtomicU64,
    queues: Mutex<ById<ParticipantKey, ParticipantQueue>>,
}

#[derive(Default)]
pub(super) struct ParticipantQueue {
    /// By arrival number.
    pub queued_writes: BTreeMap<u64, QueuedWrite>,
    pub running: bool,
    /// Whether the last batch was a single write.
    pub alone_went: bool,
    /// The earliest time of the next batch, if the call budget decides it.
    pub expected: Option<Instant>,
    /// The accounts that calls were requested on for it.
    pub accounts: Vec<BudgetAccount>,
    pub changed: Arc<Notify>,
}

/// A write that waits, or is in flight.
#[derive(Debug)]
pub(super) struct QueuedWrite {
    pub submission: WriteSubmission,
    pub state: Arc<Mutex<SubmissionState>>,
    pub sender: oneshot::Sender<SubmissionResult>,
    /// It is deferred until then.
    pub not_before: Option<Instant>,
    pub put_off: u32,
    /// Its batch was rejected, perhaps because of another member: from now on it is sent alone.
    pub alone: bool,
    pub entered: Instant,
}

/// Where a queued write is, as seen by its submitter.
#[derive(Debug)]
pub(super) enum SubmissionState {
    Queued,
    InFlight(RequestContext),
    Cancelled,
}

/// The members of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// Every write that need not be sent alone.
    Shared,
    /// The write with this arrival number.
    Single(u64),
}

impl BatchKind {
    /// Whether `queued_write` is a member.
    pub(super) fn has(self, queued_write: &QueuedWrite) -> bool {
        match self {
            Self::Shared => !queued_write.alone,
            Self::Single(arrival) => queued_write.submission.arrival == arrival,
        }
    }
}

impl QueuesInner {
    /// Empty queues.
    pub fn new(parts: BatchingParts) -> Self {
        Self { parts, arrivals: AtomicU64::new(0), queues: Mutex::default() }
    }

    /// Locks the queues.
    pub fn queues(&self) -> MutexGuard<'_, ById<ParticipantKey, ParticipantQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ParticipantQueue {
    /// The next batch: the first write that is ready, and all that go with it. Between two single
    /// writes, the others have a turn.
    pub fn ready(&self, now: Instant) -> (BatchKind, Vec<&QueuedWrite>) {
        let mut ready: Vec<&QueuedWrite> =
            self.queued_writes.values().filter(|queued_write| queued_write.is_ready(now)).collect();
        let others_turn = self.alone_went && ready.iter().any(|queued_write| !queued_write.alone);
        let group = match ready.first() {
            Some(first) if first.alone && !others_turn => {
                BatchKind::Single(first.submission.arrival)
            }
            Some(_) | None => BatchKind::Shared,
        };
        ready.retain(|queued_write| group.has(queued_write));
        (group, ready)
    }

    /// Takes out the writes that `which` selects, in order of arrival.
    pub fn take(&mut self, which: impl Fn(&QueuedWrite) -> bool) -> Vec<QueuedWrite> {
        let (taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queued_writes)
            .into_iter()
            .partition(|(_, queued_write)| which(queued_write));
        self.queued_writes = rest.into_iter().collect();
        taken.into_iter().map(|(_, queued_write)| queued_write).collect()
    }
}

impl QueuedWrite {
    pub fn state(&self) -> MutexGuard<'_, SubmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_gone(&self) -> bool {
        matches!(*self.state(), SubmissionState::Cancelled)
    }

    pub fn deadline(&self) -> Instant {
        self.submission.context.deadline()
    }

    /// Marks it as in flight. A cancelled write is dropped, and one past its deadline is refused.
    pub fn mark_in_flight(self, context: &RequestContext) -> Option<Self> {
        if self.deadline() <= Instant::now() {
            self.complete(SubmissionResult::Refused(Error::DeadlineExceeded(
                "waiting in the write queue",
            )));
            return None;
        }
        {
            let mut state = self.state();
            if matches!(*state, SubmissionState::Cancelled) {
                return None;
            }
            *state = SubmissionState::InFlight(context.clone());
        }
        Some(self)
    }

    /// Refuses it for this batch. If an earlier PATCH of its own may be the reason, it has to read
    /// again.
    pub fn fail(self, error: Error) {
        if self.submission.pending_ids.is_empty() {
            return self.complete(SubmissionResult::Refused(error));
        }
        self.complete(SubmissionResult::Unsettled(error));
    }

    pub fn complete(self, result: SubmissionResult) {
        if matches!(result, SubmissionResult::Refused(_) | SubmissionResult::Unsettled(_)) {
            // A PATCH that is sent now holds no change of it.
            *self.state() = SubmissionState::Cancelled;
        }
        // A write that was cancelled gets no result.
        let _ = self.sender.send(result);
    }

    /// Whether it is not deferred, or no longer.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether it is sent alone, on `account`.
    pub fn is_alone_for(&self, account: BudgetAccount) -> bool {
        self.alone && self.submission.context.budget_account() == account
    }
}
