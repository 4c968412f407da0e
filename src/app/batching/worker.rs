//! The worker of a participant's queue: it sends batch after batch until no write waits.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::queue::{BatchingParts, QueuedWrite, QueuesInner, WaitingCount};
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
    queues: Arc<QueuesInner>,
    pub(super) participant_key: ParticipantKey,
    inbox: mpsc::UnboundedReceiver<QueuedWrite>,
    /// In order of arrival.
    pub(super) queued_writes: Vec<QueuedWrite>,
    /// Whether the last batch was a single write.
    was_single: bool,
    /// It ended because no write waits; its inbox is removed.
    is_over: bool,
}

/// The next batch, and the calls to reserve for it.
pub(super) struct PlannedBatch {
    pub(super) kind: BatchKind,
    pub(super) reservation_request: ReservationRequest,
    /// The permits that its members already have.
    pub(super) permits: Vec<CallPermit>,
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
    fn has(self, queued_write: &QueuedWrite) -> bool {
        match self {
            Self::Shared => !queued_write.is_single,
            Self::Single(arrival) => queued_write.submission.arrival == arrival,
        }
    }
}

impl BatchWorker {
    /// Starts the worker of a queue with its first write, and returns its inbox.
    pub(super) fn start(
        queues: &Arc<QueuesInner>,
        participant_key: ParticipantKey,
        first: QueuedWrite,
    ) -> mpsc::UnboundedSender<QueuedWrite> {
        let (sender, inbox) = mpsc::unbounded_channel();
        let worker = Self {
            queues: Arc::clone(queues),
            participant_key,
            inbox,
            queued_writes: vec![first],
            was_single: false,
            is_over: false,
        };
        let shutdown = queues.parts.shutdown.clone();
        // Boxed: a task is copied several times on its way into the runtime.
        queues.parts.shutdown.tasks().spawn(Box::pin(async move {
            let mut worker = worker;
            tokio::select! {
                biased;
                () = shutdown.drain_over() => {}
                () = worker.run() => {}
            }
        }));
        sender
    }

    pub(super) fn parts(&self) -> &BatchingParts {
        &self.queues.parts
    }

    async fn run(&mut self) {
        // Writes that are ready at this very moment join the first batch.
        tokio::task::yield_now().await;
        while self.has_work() {
            let now = Instant::now();
            let Some(next) = self.plan(now) else {
                self.deferral_over(now).await;
                continue;
            };
            let kind = next.kind;
            let permits = match kind {
                BatchKind::Shared => self.reserve(next).await,
                BatchKind::Single(_) => self.reserve_single(next).await,
            };
            if let Some(permits) = permits {
                let Ok(mut held) = self.acquire_permit().await else { continue };
                let (queued_writes, context) = self.take_batch(kind);
                if !queued_writes.is_empty() {
                    self.run_batch(queued_writes, permits, context, &mut held).await;
                }
                self.release_permit(held).await;
            }
        }
    }

    /// Whether any write waits. If none does, the inbox is closed and the worker has to end.
    fn has_work(&mut self) -> bool {
        self.receive();
        if self.queued_writes.is_empty() {
            let queues = Arc::clone(&self.queues);
            let mut inboxes = queues.inboxes.lock();
            // Writes are sent under this lock.
            self.receive();
            if self.queued_writes.is_empty() {
                inboxes.remove(&self.participant_key);
                self.is_over = true;
            }
        }
        !self.is_over
    }

    /// Takes what has come in, and refuses what is past its deadline.
    pub(super) fn receive(&mut self) {
        while let Ok(queued_write) = self.inbox.try_recv() {
            self.enqueue(queued_write);
        }
        let (now, late) = (Instant::now(), Error::DeadlineExceeded("waiting in the write queue"));
        self.refuse(&late, |queued_write| queued_write.deadline() <= now);
    }

    fn enqueue(&mut self, queued_write: QueuedWrite) {
        let arrival = queued_write.submission.arrival;
        let index = self.queued_writes.partition_point(|other| other.submission.arrival < arrival);
        self.queued_writes.insert(index, queued_write);
    }

    /// Puts a write back into the queue.
    pub(super) fn requeue(&mut self, mut queued_write: QueuedWrite) {
        *queued_write.in_flight.lock() = None;
        queued_write.entered = Instant::now();
        queued_write.waiting = Some(WaitingCount::new(&self.parts().recorder));
        self.enqueue(queued_write);
    }

    /// Waits until a write comes in.
    pub(super) async fn changed(&mut self) {
        match self.inbox.recv().await {
            Some(queued_write) => self.enqueue(queued_write),
            // The inbox is open as long as the worker runs.
            None => std::future::pending().await,
        }
        self.receive();
    }

    /// Waits until a deferred write may be ready.
    async fn deferral_over(&mut self, now: Instant) {
        let until = self.queued_writes.iter().filter_map(|queued_write| queued_write.not_before);
        let until = until.min().unwrap_or(now);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.changed() => {}
        }
    }

    /// The next batch: the first write that is ready, and all that go with it. Between two single
    /// writes, the others have a turn. `None` if all waiting writes are deferred.
    fn plan(&self, now: Instant) -> Option<PlannedBatch> {
        let ready = || self.queued_writes.iter().filter(|queued_write| queued_write.is_ready(now));
        let others_turn = self.was_single && ready().any(|queued_write| !queued_write.is_single);
        let first = ready().next()?;
        let kind = if first.is_single && !others_turn {
            BatchKind::Single(first.submission.arrival)
        } else {
            BatchKind::Shared
        };
        let members: Vec<_> = ready().filter(|queued_write| kind.has(queued_write)).collect();
        let judges = self.parts().settings.patch_full
            || members.iter().any(|member| member.submission.condition.is_some());
        let proofs = members.iter().any(|member| member.submission.verify);
        let needed = 1 + u32::from(judges) + u32::from(proofs);
        let brought = members
            .iter()
            .flat_map(|member| std::iter::from_fn(|| member.submission.reserved_calls.take()));
        let permits: Vec<CallPermit> = brought.take(needed as usize).collect();
        let calls = needed - u32::try_from(permits.len()).unwrap_or(needed);
        let has_begun = members.iter().all(|member| !member.submission.pending_ids.is_empty());
        // There may be as many single writes as the batch had members: the calls of the original
        // write do not cover them.
        let class = if has_begun && kind == BatchKind::Shared {
            PriorityClass::Committed
        } else {
            PriorityClass::Write
        };
        let deadline = members.iter().map(|member| member.deadline()).max()?;
        let account = members
            .first()
            .map_or(BudgetAccount::SHARED, |member| member.submission.context.budget_account());
        let reservation_request = ReservationRequest { calls, class, deadline, account };
        Some(PlannedBatch { kind, reservation_request, permits })
    }

    /// Takes the members of the batch that wait at this moment.
    fn take_batch(&mut self, kind: BatchKind) -> (Vec<QueuedWrite>, RequestContext) {
        let now = Instant::now();
        self.receive();
        self.was_single = kind != BatchKind::Shared;
        let is_member =
            |queued_write: &mut QueuedWrite| queued_write.is_ready(now) && kind.has(queued_write);
        let mut members: Vec<_> = self.queued_writes.extract_if(.., is_member).collect();
        for queued_write in &mut members {
            queued_write.waiting = None;
            let waited = queued_write.entered.elapsed();
            self.parts().recorder.writes.wait.observe(waited);
            queued_write.submission.context.spend(RequestPhase::Queue, waited);
        }
        let context = context_of(&members);
        (members, context)
    }

    /// Refuses the waiting writes that `which` selects.
    pub(super) fn refuse(&mut self, refusal: &Error, which: impl Fn(&QueuedWrite) -> bool) {
        for queued_write in self.queued_writes.extract_if(.., |queued_write| which(queued_write)) {
            queued_write.complete(SubmissionResult::Refused(refusal.clone()));
        }
    }
}

impl Drop for BatchWorker {
    /// Cleans up when the task ends in another way, as by a panic in the upstream client.
    fn drop(&mut self) {
        if !self.is_over {
            self.parts().pending_writes.answered(self.participant_key);
            self.queues.inboxes.lock().remove(&self.participant_key);
        }
    }
}

/// One context for all members: it lasts until the latest deadline, but nothing is sent after the
/// earliest one.
fn context_of(queued_writes: &[QueuedWrite]) -> RequestContext {
    let now = Instant::now();
    let contexts = || queued_writes.iter().map(|queued_write| &queued_write.submission.context);
    let deadlines = || contexts().map(RequestContext::deadline).filter(|deadline| *deadline > now);
    let mut span = None;
    contexts().for_each(|context| TraceSpan::prefer(&mut span, context.span()));
    RequestContext::from_parts(ContextParts {
        deadline: deadlines().max().unwrap_or(now),
        start_by: Some(deadlines().min().unwrap_or(now)),
        client: contexts()
            .next()
            .map_or_else(Client::anonymous, |first| Arc::clone(first.client())),
        span,
        has_attempt_log: contexts().any(|context| context.attempt_log().is_some()),
        audit_entry: None,
    })
}
