//! Members of a rejected batch: each goes alone, in order of arrival, on the account of its own client.
//!
//! There may be as many as a batch had members, each with calls of its own, so nothing of it was
//! booked before. Where a client has no calls left for them, they wait as anything else of it would,
//! and whoever else writes to this participant goes meanwhile.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::worker::{BatchWorker, PlannedBatch};
use super::{ParticipantQueue, QueuedWrite};
use crate::error::Error;
use crate::ports::{BudgetAccount, CallPermit, Reservation, ReservationRequest};

/// Who is put off is looked at again no sooner: the time that was reckoned may have come already.
const MIN_PAUSE: Duration = Duration::from_millis(10);

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

impl ParticipantQueue {
    /// Who goes next: the first of those who can, and all who go with it. Between two that go alone
    /// everybody else has a turn.
    pub(super) fn ready(&self, now: Instant) -> (BatchKind, Vec<&QueuedWrite>) {
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
}

impl QueuedWrite {
    /// Whether it has not been put off, or no longer.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| moment <= now)
    }

    /// Whether it goes alone, on the account of `account`.
    fn is_alone_for(&self, account: BudgetAccount) -> bool {
        self.alone && self.submission.context.budget_account() == account
    }
}

impl BatchWorker {
    /// Gets the permits for one that goes alone. `None` if there are none yet, or will be none.
    pub(super) async fn reserve_single(
        &self,
        arrival: u64,
        next: PlannedBatch,
        changed: &Notify,
    ) -> Option<Vec<CallPermit>> {
        let PlannedBatch { reservation_request, mut permits, .. } = next;
        let granted = match self.shared.call_budget.reserve(reservation_request) {
            Ok(Reservation::Now(granted)) => Ok(granted),
            Ok(Reservation::Later { expected, granted }) => {
                self.refuse_single(
                    &self
                        .shared
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

    /// Ends when somebody waits who could go in place of those who go alone for `account`, or when the
    /// one that is booked for has left.
    async fn other_writer_waiting(&self, arrival: u64, account: BudgetAccount, changed: &Notify) {
        loop {
            let waits = match self.shared.write_queues.queues().get(&self.participant_key) {
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
        if let Some(queue) = self.shared.write_queues.queues().get_mut(&self.participant_key) {
            for queued_write in queue
                .queued_writes
                .values_mut()
                .filter(|queued_write| queued_write.is_alone_for(account))
            {
                queued_write.not_before = Some(until);
            }
        }
    }

    /// Tells those who go alone as well and cannot wait so long.
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
