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
    /// By number of arrival.
    pub queued_writes: BTreeMap<u64, QueuedWrite>,
    pub running: bool,
    /// Whether the last to go went alone.
    pub alone_went: bool,
    /// When the next batch can leave at the earliest, where the budget of calls decides that.
    pub expected: Option<Instant>,
    /// On whose account they have been booked.
    pub accounts: Vec<BudgetAccount>,
    pub changed: Arc<Notify>,
}

/// A member that waits, or is on its way.
#[derive(Debug)]
pub(super) struct QueuedWrite {
    pub submission: WriteSubmission,
    pub state: Arc<Mutex<SubmissionState>>,
    pub tell: oneshot::Sender<SubmissionResult>,
    /// It has been put off until then.
    pub not_before: Option<Instant>,
    pub put_off: u32,
    /// Its batch was rejected, perhaps for another member's sake: it goes with nobody any more.
    pub alone: bool,
    pub entered: Instant,
}

/// Where a member is, as far as it can still change its mind.
#[derive(Debug)]
pub(super) enum SubmissionState {
    Queued,
    InFlight(RequestContext),
    Cancelled,
}

/// Who goes along in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchKind {
    /// Everybody who need not go alone.
    Shared,
    /// The one that arrived with this number.
    Single(u64),
}

impl BatchKind {
    /// Whether `queued_write` is one of them.
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
    /// Who goes next: the first of those who can, and all who go with it. Between two that go alone
    /// everybody else has a turn.
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

    /// Takes out those for whom `which` says so, in order of arrival.
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

    /// Comes along. Whoever has left does not, and who should have been answered by now is told.
    pub fn mark_in_flight(self, context: &RequestContext) -> Option<Self> {
        if self.deadline() <= Instant::now() {
            self.complete(SubmissionResult::Refused(Error::DeadlineExceeded(
                "waiting for its turn",
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

    /// Cannot be part of it. What it has sent before may have been applied all the same, and may be
    /// what stands against it: then it has to look again.
    pub fn fail(self, error: Error) {
        if self.submission.marks.is_empty() {
            return self.complete(SubmissionResult::Refused(error));
        }
        self.complete(SubmissionResult::Unsettled(error));
    }

    pub fn complete(self, told: SubmissionResult) {
        if matches!(told, SubmissionResult::Refused(_) | SubmissionResult::Unsettled(_)) {
            // Whatever leaves with its batch now is nothing of it.
            *self.state() = SubmissionState::Cancelled;
        }
        // Whoever has left does not want it any more.
        let _ = self.tell.send(told);
    }

    /// Whether it has not been put off, or no longer.
    pub fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether it goes alone, on the account of `account`.
    pub fn is_alone_for(&self, account: BudgetAccount) -> bool {
        self.alone && self.submission.context.budget_account() == account
    }
}
