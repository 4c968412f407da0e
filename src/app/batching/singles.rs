//! Members of a rejected batch: each is sent alone, in order of arrival, on its own client's
//! account.
//!
//! There may be as many as the batch had members, each with calls of its own, so none were reserved
//! before. If a client has no calls left, its writes wait like all its requests, and other clients'
//! writes to the participant go meanwhile.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::worker::{BatchWorker, PlannedBatch};
use crate::error::Error;
use crate::ports::{BudgetAccount, CallPermit, Reservation, ReservationRequest};

/// The minimum pause of a deferred write: the expected time may have passed already.
const MIN_PAUSE: Duration = Duration::from_millis(10);

impl BatchWorker {
    /// Gets the permits of a single write. `None` if there are none yet, or will be none.
    pub(super) async fn reserve_single(
        &self,
        arrival: u64,
        next: PlannedBatch,
        changed: &Notify,
    ) -> Option<Vec<CallPermit>> {
        let PlannedBatch { reservation_request, mut permits, .. } = next;
        let granted = match self.shared.parts.call_budget.reserve(reservation_request) {
            Ok(Reservation::Now(granted)) => Ok(granted),
            Ok(Reservation::Later { expected, granted }) => {
                self.refuse_single(
                    &self
                        .shared
                        .parts
                        .call_budget
                        .refusal(reservation_request.account, reservation_request.calls),
                    reservation_request,
                    expected,
                );
                tokio::select! {
                    granted = granted => granted,
                    () = self.other_writer_waiting(arrival, reservation_request.account, changed) => {
                        self.defer(reservation_request.account, expected);
                        return None;
                    }
                }
            }
            Err(refusal) => Err(refusal),
        };
        match granted {
            Ok(mut granted) => {
                permits.extend(std::iter::from_fn(|| granted.take()));
                Some(permits)
            }
            Err(refusal) => {
                self.refuse_single(&refusal, reservation_request, reservation_request.deadline);
                None
            }
        }
    }

    /// Ends when a write waits that is not a single write on `account`, or when the write with this
    /// arrival number has left.
    async fn other_writer_waiting(&self, arrival: u64, account: BudgetAccount, changed: &Notify) {
        loop {
            let waits = match self.shared.queues().get(&self.participant_key) {
                Some(queue) => {
                    queue.queued_writes.contains_key(&arrival)
                        && queue
                            .queued_writes
                            .values()
                            .all(|queued_write| queued_write.is_alone_for(account))
                }
                None => false,
            };
            if !waits {
                return;
            }
            changed.notified().await;
        }
    }

    fn defer(&self, account: BudgetAccount, expected: Instant) {
        let until = expected.max(Instant::now() + MIN_PAUSE);
        if let Some(queue) = self.shared.queues().get_mut(&self.participant_key) {
            for queued_write in queue
                .queued_writes
                .values_mut()
                .filter(|queued_write| queued_write.is_alone_for(account))
            {
                queued_write.not_before = Some(until);
            }
        }
    }

    /// Refuses single writes on the same account that cannot wait that long.
    fn refuse_single(
        &self,
        refusal: &Error,
        reservation_request: ReservationRequest,
        until: Instant,
    ) {
        self.refuse(refusal, |queued_write| {
            queued_write.is_alone_for(reservation_request.account)
                && queued_write.deadline() <= until
        });
    }
}
