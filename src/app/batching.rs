//! The queue of a participant: waiting writes are merged at the moment of sending.
//!
//! One worker task serves the queue of a participant while any write waits in it. It takes all writes
//! that wait at that moment, in order of arrival, and sends one PATCH for all; later ones go into the
//! next batch. No write waits only to be batched. Each member gets the result and reads back its own
//! keys while the next batch goes.
//!
//! The worker owns its queue: writes come through a channel, and each result leaves through another.
//! A member that drops its handle leaves; if it was not sent yet, it never will be. Nothing is sent
//! after the earliest deadline of a batch: the other members then go again without that member.

mod base;
mod batch;
mod lease;
mod merge;
mod queue;
mod reserve;
mod submission;
mod worker;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};

pub use self::queue::BatchingParts;
use self::queue::{QueuedWrite, QueuesInner};
pub use self::submission::{
    BatchReceipt, LostKeyReport, PatchInFlight, SubmissionResult, WritePrecondition,
    WriteSubmission,
};
use self::worker::BatchWorker;
use super::snapshot::ParticipantKey;

/// The write queues of all participants.
pub struct WriteQueues(Arc<QueuesInner>);

/// The submitter's handle of a queued write. Dropping it cancels the write.
#[derive(Debug)]
pub struct SubmissionHandle {
    in_flight: Arc<parking_lot::Mutex<Option<PatchInFlight>>>,
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
    pub fn submit(
        &self,
        participant_key: ParticipantKey,
        submission: WriteSubmission,
    ) -> SubmissionHandle {
        let (sender, receiver) = oneshot::channel();
        let queued_write = QueuedWrite::new(submission, sender, &self.0.parts.recorder);
        let in_flight = Arc::clone(&queued_write.in_flight);
        let mut inboxes = self.0.inboxes.lock();
        let rejected = match inboxes.get(&participant_key) {
            Some(inbox) => {
                inbox.send(queued_write).err().map(|mpsc::error::SendError(write)| write)
            }
            None => Some(queued_write),
        };
        // There is no worker, or it has died.
        if let Some(queued_write) = rejected {
            let inbox = BatchWorker::start(&self.0, participant_key, queued_write);
            inboxes.insert(participant_key, inbox);
        }
        SubmissionHandle { in_flight, receiver }
    }
}

impl SubmissionHandle {
    /// Waits for the result.
    pub async fn result(&mut self) -> SubmissionResult {
        (&mut self.receiver).await.unwrap_or(SubmissionResult::Lost)
    }

    /// Cancels the write, and returns the PATCH that carries it, if it is on its way.
    pub fn cancel(mut self) -> Option<PatchInFlight> {
        // First closed, then asked: the worker does it in the opposite order, so that no write is
        // sent unnoticed.
        self.receiver.close();
        self.in_flight.lock().take()
    }
}

#[cfg(test)]
mod tests;
