//! What a queue is built on, scripted: the call budget, the leases of replicas, notes and preconditions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::batching::WritePrecondition;
use crate::app::write_coordinator::{OutagePolicy, WriteCoordinator};
use crate::domain::{AttributeMap, ParticipantId, Patch};
use crate::error::Error;
use crate::ports::store::{LastPatch, StoreError, StoreFuture, WriteLease, WriteLeases};
use crate::ports::{
    BoxFuture, BudgetAccount, CallBudget, CallPermits, PatchOutcome, PriorityClass, Reservation,
    ReservationRequest, StoreLink, UnlimitedBudget, WriteNotes,
};

/// Upstream refuses the content of a PATCH.
pub fn rejected() -> PatchOutcome {
    PatchOutcome::Refused(Error::UpstreamRejected { status: 400, code: None, message: None })
}

/// Keeps what was requested. Accounts other than the first client's get their calls at once, and
/// that client's only `until` then.
#[derive(Default)]
pub struct BudgetLog {
    pub requests: Mutex<Vec<(u32, PriorityClass)>>,
    pub until: Mutex<Option<Instant>>,
    /// The estimate is too early.
    pub is_optimistic: bool,
}

impl CallBudget for BudgetLog {
    fn reserve(&self, request: ReservationRequest) -> Result<Reservation, Error> {
        self.requests.lock().push((request.calls, request.class));
        let permits =
            move || CallPermits::new(Arc::new(UnlimitedBudget), request.account, request.calls);
        match *self.until.lock() {
            Some(until)
                if request.deadline <= until && request.account == BudgetAccount::SHARED =>
            {
                Err(self.refusal(request.account, request.calls))
            }
            Some(until) if until > Instant::now() && request.account == BudgetAccount::SHARED => {
                let granted = Box::pin(async move {
                    tokio::time::sleep_until(until).await;
                    Ok(permits())
                });
                let expected = if self.is_optimistic { Instant::now() } else { until };
                Ok(Reservation::Later { expected, granted })
            }
            _ => Ok(Reservation::Now(permits())),
        }
    }

    fn refusal(&self, _: BudgetAccount, _: u32) -> Error {
        Error::Overloaded("there is no budget")
    }
}

/// Gives every lease, and answers as scripted when a PATCH is noted.
struct ScriptedLeases(Mutex<VecDeque<Result<bool, StoreError>>>);

impl WriteLeases for ScriptedLeases {
    fn acquire<'a>(&'a self, participant: &'a str) -> StoreFuture<'a, Option<WriteLease>> {
        let send_before = Instant::now() + Duration::from_secs(1);
        let (participant, owner) = (participant.to_owned(), Uuid::new_v4());
        let lease = WriteLease { participant, owner, send_before, last_patch: None };
        Box::pin(async { Ok(Some(lease)) })
    }

    fn last_patch<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<LastPatch>> {
        Box::pin(async { Ok(None) })
    }

    fn record<'a>(
        &'a self,
        _: &'a mut WriteLease,
        _: LastPatch,
        _: Duration,
    ) -> StoreFuture<'a, bool> {
        let answer = self.0.lock().pop_front().unwrap_or(Ok(true));
        Box::pin(async { answer })
    }

    fn release(&self, _: WriteLease, _: Option<(LastPatch, Duration)>) -> StoreFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// A store that answers like that, without which writes are refused.
pub fn coordinator(answers: Vec<Result<bool, StoreError>>) -> Arc<WriteCoordinator> {
    let (leases, link) = (ScriptedLeases(Mutex::new(answers.into())), StoreLink::new(None));
    let keep = Duration::from_secs(30);
    let (leases, link) = (Arc::new(leases), Arc::new(link));
    Arc::new(WriteCoordinator::new(leases, link, OutagePolicy::Refuse, keep))
}

/// Holds for every map.
#[derive(Debug)]
pub struct Always;

impl WritePrecondition for Always {
    fn holds(&self, _: ParticipantId, _: &AttributeMap, _: &Patch) -> bool {
        true
    }

    fn current(&self, _: ParticipantId, _: &AttributeMap) -> String {
        String::new()
    }
}

/// The notes of a write that another process may send.
#[derive(Debug)]
pub struct LostNotes;

impl WriteNotes for LostNotes {
    fn earlier(&self) -> Option<[u8; 32]> {
        None
    }

    fn before_sending(&self, _: [u8; 32]) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn may_send(&self) -> bool {
        false
    }
}
