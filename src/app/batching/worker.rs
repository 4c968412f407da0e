//! The task that works on the turn of one participant, batch after batch, until nobody waits.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::singles::BatchKind;
use super::{
    AppInner, ParticipantKey, ParticipantQueue, QueuedWrite, SubmissionResult, SubmissionState,
};
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{
    BudgetAccount, CallPermit, PriorityClass, RequestContext, RequestPhase, ReservationRequest,
    TraceSpan,
};

/// Works on the turn of a participant.
pub(super) struct BatchWorker {
    pub(super) shared: Arc<AppInner>,
    pub(super) participant_key: ParticipantKey,
}

/// What the next batch would be, were it to leave now.
enum NextStep {
    /// Nobody waits.
    Over,
    /// Everybody who waits has been put off until then.
    Later(Instant, Arc<Notify>),
    /// Somebody waits, and this is to be booked.
    Ready(PlannedBatch, Arc<Notify>),
}

/// The next batch, and what is to be booked for it.
pub(super) struct PlannedBatch {
    pub(super) group: BatchKind,
    pub(super) reservation_request: ReservationRequest,
    /// What its members have brought.
    pub(super) permits: Vec<CallPermit>,
}

impl BatchWorker {
    /// Starts on the turn of a participant.
    pub(super) fn start(shared: Arc<AppInner>, participant_key: ParticipantKey) {
        let tasks = shared.shutdown.tasks().clone();
        // Boxed, since a task is copied several times on its way into the runtime.
        tasks.spawn(Box::pin(Self { shared, participant_key }.run()));
    }

    async fn run(self) {
        let shutdown = self.shared.shutdown.clone();
        // Whatever ends this task, a panic of upstream's client included: it takes nobody with it
        // who is not on the way.
        let mut ends = WorkerGuard {
            shared: Arc::clone(&self.shared),
            participant_key: self.participant_key,
            is_over: false,
        };
        // Whoever is ready at this very moment comes along.
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
        let mut queues = self.shared.write_queues.queues();
        let Some(queue) = queues.get_mut(&self.participant_key) else { return NextStep::Over };
        queue.expected = None;
        queue.accounts.clear();
        for late in
            queue.take(|queued_write| queued_write.deadline() <= now || queued_write.is_gone())
        {
            self.shared.recorder.writes_waiting(-1);
            late.complete(SubmissionResult::Refused(Error::DeadlineExceeded(
                "waiting for its turn",
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
        let planned = self.plan(group, &ready, deadline);
        NextStep::Ready(planned, Arc::clone(&queue.changed))
    }

    /// The calls that a batch of these writes needs, less those that they have reserved already.
    fn plan(&self, group: BatchKind, ready: &[&QueuedWrite], deadline: Instant) -> PlannedBatch {
        let judges = self.shared.settings.patch_full
            || ready.iter().any(|queued_write| queued_write.submission.condition.is_some());
        let proofs = ready.iter().any(|queued_write| queued_write.submission.verify);
        let needed = 1 + u32::from(judges) + u32::from(proofs);
        let brought = ready.iter().flat_map(|queued_write| {
            std::iter::from_fn(|| queued_write.submission.reserved_calls.take())
        });
        let permits: Vec<CallPermit> = brought.take(needed as usize).collect();
        let calls = needed - u32::try_from(permits.len()).unwrap_or(needed);
        let has_begun = ready.iter().all(|queued_write| !queued_write.submission.marks.is_empty());
        // Of those who go alone there may be as many as a batch had members: that is no longer the
        // write that was booked for.
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

    /// Takes along whoever of the group waits at this moment.
    fn take_batch(&self, group: BatchKind) -> (Vec<QueuedWrite>, RequestContext) {
        let now = Instant::now();
        let queued_writes = match self.shared.write_queues.queues().get_mut(&self.participant_key) {
            Some(queue) => {
                queue.expected = None;
                queue.alone_went = group != BatchKind::Shared;
                queue.take(|queued_write| queued_write.is_ready(now) && group.has(queued_write))
            }
            None => Vec::new(),
        };
        for queued_write in &queued_writes {
            self.shared.recorder.writes_waiting(-1);
            self.shared.recorder.waited(queued_write.entered.elapsed());
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

    /// Waits for another batch, unless its client has left meanwhile.
    pub(super) fn requeue(&self, mut queued_write: QueuedWrite) {
        queued_write.entered = Instant::now();
        let mut queues = self.shared.write_queues.queues();
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
        self.shared.recorder.writes_waiting(1);
    }
}

impl ParticipantQueue {
    /// Takes out those for whom `which` says so, in order of arrival.
    pub(super) fn take(&mut self, which: impl Fn(&QueuedWrite) -> bool) -> Vec<QueuedWrite> {
        let (taken, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queued_writes)
            .into_iter()
            .partition(|(_, queued_write)| which(queued_write));
        self.queued_writes = rest.into_iter().collect();
        taken.into_iter().map(|(_, queued_write)| queued_write).collect()
    }
}

/// One cycle for all members: it may last as long as the most patient one waits, but nothing leaves
/// any more once the most impatient one was answered.
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
    let context = RequestContext::traced(latest, span).with_attempt_log(recorded);
    let context = context.with_client(client);
    context.starting_by(deadlines().min().unwrap_or(now))
}

/// Ends the turn when its task ends, however it does: whoever waits gets a new one.
struct WorkerGuard {
    shared: Arc<AppInner>,
    participant_key: ParticipantKey,
    /// It has ended as it should; the next turn, if there is one, is not ours.
    is_over: bool,
}

impl Drop for WorkerGuard {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // What it had sent is of unknown fate from now on.
        self.shared.pending_writes.answered(self.participant_key);
        let mut queues = self.shared.write_queues.queues();
        let Some(queue) = queues.get_mut(&self.participant_key) else { return };
        if queue.queued_writes.is_empty() || self.shared.shutdown.is_over() {
            queues.remove(&self.participant_key);
        } else {
            BatchWorker::start(Arc::clone(&self.shared), self.participant_key);
        }
    }
}
