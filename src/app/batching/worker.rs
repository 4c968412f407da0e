//! The worker of a participant's queue: it sends batch after batch until no write waits.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue::{BatchKind, QueuedWrite, QueuesInner, SubmissionState};
use super::submission::SubmissionResult;
use crate::app::snapshot::ParticipantKey;
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{
    BudgetAccount, CallPermit, ContextParts, PriorityClass, RequestContext, RequestPhase,
    ReservationRequest, TraceSpan,
};

/// The worker of one queue.
pub(super) struct BatchWorker {
    pub(super) shared: Arc<QueuesInner>,
    pub(super) participant_key: ParticipantKey,
}

/// What the worker does next.
enum NextStep {
    /// No write waits: end.
    Over,
    /// All waiting writes are deferred until then.
    Later(Instant, Arc<Notify>),
    /// Reserve calls for this batch and send it.
    Ready(PlannedBatch, Arc<Notify>),
}

/// The next batch, and the calls to reserve for it.
pub(super) struct PlannedBatch {
    pub(super) group: BatchKind,
    pub(super) reservation_request: ReservationRequest,
    /// The permits that its members already have.
    pub(super) permits: Vec<CallPermit>,
}

impl BatchWorker {
    /// Starts the worker of a queue.
    pub(super) fn start(shared: Arc<QueuesInner>, participant_key: ParticipantKey) {
        let tasks = shared.parts.shutdown.tasks().clone();
        // Boxed: a task is copied several times on its way into the runtime.
        tasks.spawn(Box::pin(Self { shared, participant_key }.run()));
    }

    async fn run(self) {
        let shutdown = self.shared.parts.shutdown.clone();
        // If this task ends in any other way, as by a panic in the upstream client, writes that are
        // not in flight must survive it.
        let mut ends = WorkerGuard {
            shared: Arc::clone(&self.shared),
            participant_key: self.participant_key,
            is_over: false,
        };
        // Writes that are ready at this very moment join the first batch.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = shutdown.drain_over() => {}
            () = self.work() => ends.is_over = true,
        }
    }

    async fn work(&self) {
        loop {
            match self.next_step() {
                NextStep::Over => return,
                NextStep::Later(until, changed) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = changed.notified() => {}
                },
                NextStep::Ready(next, changed) => {
                    let group = next.group;
                    let permits = match group {
                        BatchKind::Shared => self.reserve(next, &changed).await,
                        BatchKind::Single(arrival) => {
                            self.reserve_single(arrival, next, &changed).await
                        }
                    };
                    if let Some(permits) = permits {
                        let (queued_writes, context) = self.take_batch(group);
                        if !queued_writes.is_empty() {
                            self.run_batch(queued_writes, permits, context).await;
                        }
                    }
                }
            }
        }
    }

    fn next_step(&self) -> NextStep {
        let now = Instant::now();
        let mut queues = self.shared.queues();
        let Some(queue) = queues.get_mut(&self.participant_key) else { return NextStep::Over };
        queue.expected = None;
        queue.accounts.clear();
        for late in
            queue.take(|queued_write| queued_write.deadline() <= now || queued_write.is_gone())
        {
            self.shared.parts.recorder.writes_waiting(-1);
            late.complete(SubmissionResult::Refused(Error::DeadlineExceeded(
                "waiting in the write queue",
            )));
        }
        if queue.queued_writes.is_empty() {
            queues.remove(&self.participant_key);
            return NextStep::Over;
        }
        let (group, ready) = queue.ready(now);
        let Some(deadline) = ready.iter().map(|queued_write| queued_write.deadline()).max() else {
            let until = queue
                .queued_writes
                .values()
                .filter_map(|queued_write| queued_write.not_before)
                .min();
            return NextStep::Later(until.unwrap_or(now), Arc::clone(&queue.changed));
        };
        let plan = self.plan(group, &ready, deadline);
        NextStep::Ready(plan, Arc::clone(&queue.changed))
    }

    /// The batch of these members, and the calls to reserve for it.
    fn plan(&self, group: BatchKind, ready: &[&QueuedWrite], deadline: Instant) -> PlannedBatch {
        let judges = self.shared.parts.settings.patch_full
            || ready.iter().any(|queued_write| queued_write.submission.condition.is_some());
        let proofs = ready.iter().any(|queued_write| queued_write.submission.verify);
        let needed = 1 + u32::from(judges) + u32::from(proofs);
        let brought = ready.iter().flat_map(|queued_write| {
            std::iter::from_fn(|| queued_write.submission.reserved_calls.take())
        });
        let permits: Vec<CallPermit> = brought.take(needed as usize).collect();
        let calls = needed - u32::try_from(permits.len()).unwrap_or(needed);
        let has_begun =
            ready.iter().all(|queued_write| !queued_write.submission.pending_ids.is_empty());
        // There may be as many single writes as the batch had members: the calls of the original
        // write do not cover them.
        let class = if has_begun && group == BatchKind::Shared {
            PriorityClass::Committed
        } else {
            PriorityClass::Write
        };
        let account = ready.first().map_or(BudgetAccount::SHARED, |queued_write| {
            queued_write.submission.context.budget_account()
        });
        let reservation_request = ReservationRequest { calls, class, deadline, account };
        PlannedBatch { group, reservation_request, permits }
    }

    /// Takes the members of the batch that wait at this moment.
    fn take_batch(&self, group: BatchKind) -> (Vec<QueuedWrite>, RequestContext) {
        let now = Instant::now();
        let queued_writes = match self.shared.queues().get_mut(&self.participant_key) {
            Some(queue) => {
                queue.expected = None;
                queue.alone_went = group != BatchKind::Shared;
                queue.take(|queued_write| queued_write.is_ready(now) && group.has(queued_write))
            }
            None => Vec::new(),
        };
        for queued_write in &queued_writes {
            self.shared.parts.recorder.writes_waiting(-1);
            self.shared.parts.recorder.waited(queued_write.entered.elapsed());
            queued_write
                .submission
                .context
                .spend(RequestPhase::Queue, queued_write.entered.elapsed());
        }
        let context = cycle_of(&queued_writes);
        let queued_writes = queued_writes
            .into_iter()
            .filter_map(|queued_write| queued_write.mark_in_flight(&context))
            .collect();
        (queued_writes, context)
    }

    /// Puts a write back into the queue, unless it was cancelled meanwhile.
    pub(super) fn requeue(&self, mut queued_write: QueuedWrite) {
        queued_write.entered = Instant::now();
        let mut queues = self.shared.queues();
        {
            let mut state = queued_write.state();
            if matches!(*state, SubmissionState::Cancelled) {
                return;
            }
            *state = SubmissionState::Queued;
        }
        let queue = queues.entry(self.participant_key).or_default();
        queue.running = true;
        queue.queued_writes.insert(queued_write.submission.arrival, queued_write);
        self.shared.parts.recorder.writes_waiting(1);
    }
}

/// One context for all members: it lasts until the latest deadline, but nothing is sent after the
/// earliest one.
fn cycle_of(queued_writes: &[QueuedWrite]) -> RequestContext {
    let now = Instant::now();
    let deadlines =
        || queued_writes.iter().map(QueuedWrite::deadline).filter(|deadline| *deadline > now);
    let latest = deadlines().max().unwrap_or(now);
    let mut span = None;
    for queued_write in queued_writes {
        TraceSpan::prefer(&mut span, queued_write.submission.context.span());
    }
    let recorded = queued_writes
        .iter()
        .any(|queued_write| queued_write.submission.context.attempt_log().is_some());
    let client = queued_writes.first().map_or_else(Client::anonymous, |queued_write| {
        Arc::clone(queued_write.submission.context.client())
    });
    RequestContext::from_parts(ContextParts {
        deadline: latest,
        start_by: Some(deadlines().min().unwrap_or(now)),
        client,
        span,
        has_attempt_log: recorded,
        audit_entry: None,
    })
}

/// Cleans up when the worker's task ends in any way: writes that still wait get a new worker.
struct WorkerGuard {
    shared: Arc<QueuesInner>,
    participant_key: ParticipantKey,
    /// The worker ended normally; a later worker of the same queue is not ours.
    is_over: bool,
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The result of a PATCH in flight is unknown from now on.
        self.shared.parts.pending_writes.answered(self.participant_key);
        let mut queues = self.shared.queues();
        let Some(queue) = queues.get_mut(&self.participant_key) else { return };
        if queue.queued_writes.is_empty() || self.shared.parts.shutdown.is_over() {
            queues.remove(&self.participant_key);
        } else {
            BatchWorker::start(Arc::clone(&self.shared), self.participant_key);
        }
    }
}
