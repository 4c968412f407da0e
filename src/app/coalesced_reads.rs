//! Reads of conversations, shared by the requests that can use them.
//!
//! The invariant: no request gets a read that was sent before its cause. The cause of a client's
//! read is the last answer to a PATCH of ours; the cause of a write's read is its arrival, or the
//! acceptance of its PATCH. A read can be joined until it is sent, or if it was sent after the
//! cause. So one read-back serves all verifications of a conversation that wait, for any
//! participant.
//!
//! At most one read of a conversation is in flight, unless it is slow; the next one collects
//! requests meanwhile. A read runs in its own task, so that a client that hangs up cannot end it.

mod reserve;
mod run;
mod task;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::task::ReadResult;
use self::task::ReadTask;
pub use self::task::{CoalescedRead, Freshness};
use super::budget_accounts::ReservedCalls;
use super::lag::LagTracker;
use super::pending_writes::PendingWrites;
use super::snapshot::{ById, ParticipantKey, ReadTarget, Snapshot};
use super::snapshot_cache::SnapshotCache;
use crate::domain::{ConversationId, ParticipantId};
use crate::error::Error;
use crate::ports::{CallBudget, ConversationsPort, RequestContext};
use crate::shutdown::ShutdownSignal;

/// The reads of one target.
#[derive(Default)]
struct TargetReads {
    /// Not sent yet; new requests join it.
    next: Option<ReadTask>,
    /// In flight.
    sent: Vec<ReadTask>,
    /// Publishes every read that ends to the subscriptions.
    latest: Option<watch::Sender<Option<Snapshot>>>,
    followers: usize,
}

/// Shared reads. Cheap to clone.
#[derive(Clone)]
pub struct ReadCoalescer {
    parts: Arc<ReadParts>,
    targets: Arc<Mutex<ById<ReadTarget, TargetReads>>>,
    ids: Arc<AtomicU64>,
}

/// What reading needs.
pub struct ReadParts {
    /// Upstream.
    pub conversations: Arc<dyn ConversationsPort>,
    /// The budget of calls.
    pub call_budget: Arc<dyn CallBudget>,
    /// The cache of the last reads.
    pub cache: Arc<SnapshotCache>,
    /// Writes that no read has shown yet.
    pub pending_writes: PendingWrites,
    /// Measured lags, which say how long a third value has to stand before it counts as another
    /// writer's.
    pub lags: Arc<LagTracker>,
    /// Tells of a shutdown.
    pub shutdown: ShutdownSignal,
}

/// A read refuses its waiters when its time is up; this timeout is for those with an earlier
/// deadline. It is well within the 100 ms that an answer may be late.
pub(super) const DEADLINE_MARGIN: Duration = Duration::from_millis(10);

impl ReadCoalescer {
    /// A coalescer that uses these parts.
    pub fn new(parts: ReadParts) -> Self {
        Self { parts: Arc::new(parts), targets: Arc::default(), ids: Arc::default() }
    }

    /// Whether a read shows every participant of a conversation.
    pub fn reads_whole(&self) -> bool {
        !self.parts.conversations.reads_participants_singly()
    }

    /// What has to be read to see this participant.
    pub fn target(
        &self,
        conversation: ConversationId,
        participant: Option<ParticipantId>,
    ) -> ReadTarget {
        ReadTarget { conversation, participant: participant.filter(|_| !self.reads_whole()) }
    }

    /// Joins a read that can serve, or starts one.
    ///
    /// # Errors
    /// Of upstream, of the budget, or when the deadline comes first.
    pub async fn read(
        &self,
        wanted: CoalescedRead,
        context: &RequestContext,
    ) -> Result<(Snapshot, ReservedCalls), Error> {
        let (mut queued_write, ended) = self.join(wanted, context)?;
        match tokio::time::timeout_at(context.deadline() + DEADLINE_MARGIN, ended).await {
            Ok(Ok(ReadResult { result, spent, reserved_calls })) => {
                queued_write.is_taken = false;
                context.add_usage_of(&spent);
                result.map(|snapshot| (snapshot, reserved_calls))
            }
            Ok(Err(_)) => {
                Err(Error::Internal("the task of a read ended without a result".to_owned()))
            }
            Err(_) => Err(Error::DeadlineExceeded(if queued_write.was_sent() {
                "waiting for Genesys Cloud"
            } else {
                "waiting to be sent"
            })),
        }
    }

    /// Subscribes to the reads of a target that other requests make.
    pub fn subscribe(&self, read_target: ReadTarget) -> ReadSubscription {
        let mut targets = self.targets();
        let target = targets.entry(read_target).or_default();
        target.followers += 1;
        let latest = target.latest.get_or_insert_with(|| watch::Sender::new(None)).subscribe();
        ReadSubscription { reads: self.clone(), read_target, latest }
    }

    /// A PATCH was answered or given up: reads sent before it serve no client any more.
    pub fn patched(&self, participant_key: ParticipantKey) {
        self.parts.cache.patched(participant_key);
        let mut targets = self.targets();
        for participant in [None, Some(participant_key.1)] {
            if let Some(target) =
                targets.get_mut(&ReadTarget { conversation: participant_key.0, participant })
            {
                target.sent.iter_mut().for_each(|job| job.stale = true);
            }
        }
    }

    fn join(
        &self,
        wanted: CoalescedRead,
        context: &RequestContext,
    ) -> Result<(WaiterGuard, oneshot::Receiver<ReadResult>), Error> {
        let (read_target, number, calls) = (wanted.read_target, self.number(), 1 + wanted.reserve);
        let mut targets = self.targets();
        let target = targets.entry(read_target).or_default();
        let (cause, deadline) = (wanted.cause, context.deadline());
        let is_new = target.joinable(cause, deadline).is_none();
        if is_new {
            target.next = Some(ReadTask::new(self.number()));
        }
        let job = target.joinable(cause, deadline).expect("there is one that is not sent yet");
        let id = job.id;
        let joined =
            (!job.is_too_late_for(&wanted, context)).then(|| job.join(number, wanted, context));
        drop(targets);
        if is_new {
            self.parts.shutdown.tasks().spawn(Box::pin(self.clone().run(read_target, id)));
        }
        let ended = joined
            .ok_or_else(|| self.parts.call_budget.refusal(context.budget_account(), calls))?;
        Ok((WaiterGuard { reads: self.clone(), read_target, id, number, is_taken: true }, ended))
    }

    /// A unique number.
    fn number(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Applies `work` to a read; `None` if it has ended.
    fn with<T>(
        &self,
        read_target: ReadTarget,
        id: u64,
        work: impl FnOnce(&mut ReadTask) -> T,
    ) -> Option<T> {
        self.targets().get_mut(&read_target)?.task(id).map(work)
    }

    fn targets(&self) -> MutexGuard<'_, ById<ReadTarget, TargetReads>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TargetReads {
    /// A read that serves this cause: in flight, or not sent yet. A request with an earlier
    /// deadline than all waiters does not join a read in flight, since it might have to wait for
    /// its retries.
    fn joinable(&mut self, cause: Freshness, deadline: Instant) -> Option<&mut ReadTask> {
        let serves = |job: &&mut ReadTask| {
            let fresh = match cause {
                Freshness::AfterLastWrite => !job.stale,
                Freshness::SentAfter(moment) => job.sent.is_some_and(|sent| sent > moment),
            };
            fresh && job.start_by.is_some_and(|start_by| start_by <= deadline)
        };
        self.sent.iter_mut().find(serves).or(self.next.as_mut())
    }

    fn task(&mut self, id: u64) -> Option<&mut ReadTask> {
        self.sent.iter_mut().chain(&mut self.next).find(|job| job.id == id)
    }

    fn is_idle(&self) -> bool {
        self.next.is_none() && self.sent.is_empty() && self.followers == 0
    }
}

/// A waiter of a read; it leaves when it is dropped.
struct WaiterGuard {
    reads: ReadCoalescer,
    read_target: ReadTarget,
    id: u64,
    number: u64,
    /// Whether it is still waiting; a waiter that was answered has left.
    is_taken: bool,
}

impl WaiterGuard {
    fn was_sent(&self) -> bool {
        self.reads.with(self.read_target, self.id, |job| job.sent.is_some()).unwrap_or(true)
    }
}

impl Drop for WaiterGuard {
    fn drop(&mut self) {
        if !self.is_taken {
            return;
        }
        // It may have moved to a later read than the one it joined.
        let mut targets = self.reads.targets();
        if let Some(target) = targets.get_mut(&self.read_target) {
            let jobs = target.sent.iter_mut().chain(&mut target.next);
            for job in jobs {
                job.leave(self.number);
            }
        }
    }
}

/// Sees the reads of a target that other requests make.
pub struct ReadSubscription {
    reads: ReadCoalescer,
    read_target: ReadTarget,
    latest: watch::Receiver<Option<Snapshot>>,
}

impl ReadSubscription {
    /// The next read to end; if `moment` is given, the next that was sent after it.
    pub async fn next(&mut self, moment: Option<Instant>) -> Snapshot {
        loop {
            if self.latest.changed().await.is_err() {
                // The sender lives as long as there are subscriptions.
                std::future::pending::<()>().await;
            }
            let latest = self.latest.borrow_and_update().clone();
            if let Some(snapshot) = latest.filter(|snapshot| Some(snapshot.sent) > moment) {
                return snapshot;
            }
        }
    }
}

impl Drop for ReadSubscription {
    fn drop(&mut self) {
        let mut targets = self.reads.targets();
        if let Some(target) = targets.get_mut(&self.read_target) {
            target.followers -= 1;
            if target.is_idle() {
                targets.remove(&self.read_target);
            }
        }
    }
}
