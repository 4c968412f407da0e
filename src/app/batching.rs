//! The queue of a participant: waiting writes are merged at the moment of sending.
//!
//! One worker task serves the queue of a participant while any write waits in it. It takes all writes
//! that wait at that moment, in order of arrival, and sends one PATCH for all; later ones go into the
//! next batch. No write waits only to be batched. Each member gets the result and reads back its own
//! keys while the next batch goes.
//!
//! A member may leave at any time; if it was not sent yet, it never will be. Nothing is sent after
//! the earliest deadline of a batch: the other members then go again without that member.

mod batch;
mod merge;
mod queue;
mod reserve;
mod singles;
mod submission;
mod worker;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::oneshot;
use tokio::time::Instant;

pub use self::queue::BatchingParts;
use self::queue::{QueuedWrite, QueuesInner, SubmissionState};
pub use self::submission::{
    BatchReceipt, LostKeyReport, SubmissionResult, WritePrecondition, WriteSubmission,
};
use self::worker::BatchWorker;
use super::snapshot::ParticipantKey;
use crate::error::Error;
use crate::ports::RequestContext;

/// The write queues of all participants.
pub struct WriteQueues(Arc<QueuesInner>);

/// The submitter's handle of a queued write. Dropping it cancels the write.
#[derive(Debug)]
pub struct SubmissionHandle {
    shared: Weak<QueuesInner>,
    participant_key: ParticipantKey,
    arrival: u64,
    state: Arc<Mutex<SubmissionState>>,
    receiver: oneshot::Receiver<SubmissionResult>,
}

impl WriteQueues {
    /// Empty queues whose workers use these parts.
    pub fn new(parts: BatchingParts) -> Self {
        Self(Arc::new(QueuesInner::new(parts)))
    }

    /// The next number in the order of arrival.
    pub fn arrival(&self) -> u64 {
        self.0.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a write to the queue of a participant.
    ///
    /// # Errors
    /// If the next batch is known to leave only after the deadline.
    pub fn submit(
        &self,
        participant_key: ParticipantKey,
        submission: WriteSubmission,
    ) -> Result<SubmissionHandle, Error> {
        let shared = &self.0;
        let (sender, receiver) = oneshot::channel();
        let (arrival, deadline) = (submission.arrival, submission.context.deadline());
        let state = Arc::new(Mutex::new(SubmissionState::Queued));
        let entered = Instant::now();
        let mut queues = shared.queues();
        let queue = queues.entry(participant_key).or_default();
        let account = submission.context.budget_account();
        let is_late = queue.expected.is_some_and(|expected| expected >= deadline);
        // A write with another account, or with reserved calls, may let the batch leave earlier.
        if is_late && queue.accounts.contains(&account) && !submission.reserved_calls.is_paid() {
            drop(queues);
            return Err(shared.parts.call_budget.refusal(account, 2));
        }
        let queued_write = QueuedWrite {
            submission,
            state: Arc::clone(&state),
            sender,
            not_before: None,
            put_off: 0,
            alone: false,
            entered,
        };
        queue.queued_writes.insert(arrival, queued_write);
        queue.changed.notify_one();
        if !std::mem::replace(&mut queue.running, true) {
            BatchWorker::start(Arc::clone(shared), participant_key);
        }
        drop(queues);
        shared.parts.recorder.writes_waiting(1);
        Ok(SubmissionHandle {
            shared: Arc::downgrade(shared),
            participant_key,
            arrival,
            state,
            receiver,
        })
    }
}

impl SubmissionHandle {
    /// Waits for the result.
    pub async fn result(&mut self) -> SubmissionResult {
        (&mut self.receiver).await.unwrap_or(SubmissionResult::Lost)
    }

    /// Whether a PATCH with changes of this write was sent and may have been applied.
    pub fn is_ambiguous(&self) -> bool {
        self.spent().is_some_and(|context| context.is_ambiguous())
    }

    /// The context of its batch, while it is in flight.
    pub fn spent(&self) -> Option<RequestContext> {
        match &*self.state() {
            SubmissionState::InFlight(context) => Some(context.clone()),
            SubmissionState::Queued | SubmissionState::Cancelled => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, SubmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SubmissionHandle {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        // The same lock order as in `requeue`.
        let mut queues = shared.queues();
        *self.state() = SubmissionState::Cancelled;
        if let Some(queue) = queues.get_mut(&self.participant_key)
            && queue.queued_writes.remove(&self.arrival).is_some()
        {
            queue.changed.notify_one();
            shared.parts.recorder.writes_waiting(-1);
        }
    }
}
