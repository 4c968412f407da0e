//! The right to write to a participant, which only one replica has at a time.

use std::sync::Arc;
use std::time::Duration;

use super::queue::QueuedWrite;
use super::worker::BatchWorker;
use crate::app::write_coordinator::{WriteCoordinator, WritePermit};
use crate::error::Error;
use crate::ports::RequestContext;

/// The mean pause before the right is asked for again, while another replica has it.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A permit of a worker, and where it came from. A single process needs none.
pub(super) struct HeldPermit {
    coordinator: Arc<WriteCoordinator>,
    permit: WritePermit,
    has_sent: bool,
}

impl BatchWorker {
    /// Takes the right to write, while any write waits. `Err`: none waits any more.
    pub(super) async fn acquire_permit(&mut self) -> Result<Option<HeldPermit>, ()> {
        let Some(coordinator) = self.parts().replicas.clone() else { return Ok(None) };
        loop {
            let pending_writes = self.parts().pending_writes.clone();
            match coordinator.acquire(self.participant_key, &pending_writes).await {
                Ok(Some(permit)) => {
                    return Ok(Some(HeldPermit { coordinator, permit, has_sent: false }));
                }
                Ok(None) => {}
                Err(refusal) => {
                    self.receive();
                    self.fail_all(&refusal);
                    return Err(());
                }
            }
            let pause = RETRY_INTERVAL / 2 + RETRY_INTERVAL.mul_f64((self.parts().random)());
            tokio::time::sleep(pause).await;
            self.receive();
            if self.queued_writes.is_empty() {
                return Err(());
            }
        }
    }

    /// Ends the right to write.
    pub(super) async fn release_permit(&self, held: Option<HeldPermit>) {
        if let Some(HeldPermit { coordinator, permit, has_sent }) = held {
            let pending_writes = &self.parts().pending_writes;
            coordinator.release(permit, self.participant_key, pending_writes, has_sent).await;
        }
    }

    /// Notes what the batch is about to send, which must leave before the lease ends. `Err`: it may not
    /// be sent.
    pub(super) async fn note_batch(
        &self,
        held: &mut Option<HeldPermit>,
        context: &mut RequestContext,
    ) -> Result<(), BatchHindrance> {
        let Some(held) = held else { return Ok(()) };
        let (key, pending_writes) = (self.participant_key, &self.parts().pending_writes);
        match held.coordinator.record(&mut held.permit, key, pending_writes).await {
            Ok(true) => held.has_sent = true,
            Ok(false) => return Err(BatchHindrance::LeaseLost),
            Err(refusal) => return Err(BatchHindrance::Refused(refusal)),
        }
        if let WritePermit::Leased(lease) = &held.permit {
            *context = context.starting_by(lease.send_before);
        }
        Ok(())
    }

    fn fail_all(&mut self, refusal: &Error) {
        let all: Vec<QueuedWrite> = self.queued_writes.drain(..).collect();
        for queued_write in all {
            queued_write.fail(refusal.clone());
        }
    }
}

/// Why a batch may not be sent.
pub(super) enum BatchHindrance {
    /// Another replica may write now.
    LeaseLost,
    /// The store is away, and writes are to be refused then.
    Refused(Error),
}
