//! What a queue is built on, scripted: upstream, the call budget, the leases of replicas.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::batching::WritePrecondition;
use crate::app::write_coordinator::{OutagePolicy, WriteCoordinator};
use crate::domain::{AttributeMap, Conversation, ListPage, ParticipantId, Patch};
use crate::error::Error;
use crate::ports::store::{LastPatch, StoreError, StoreFuture, WriteLease, WriteLeases};
use crate::ports::{
    BoxFuture, BudgetAccount, CallBudget, CallPermits, ConversationsPort, PatchOutcome,
    PriorityClass, RequestContext, Reservation, ReservationRequest, StoreLink, UnlimitedBudget,
    UpstreamPatch, UpstreamQuery, UpstreamRead, WriteNotes,
};

/// Keeps the keys of each PATCH, and answers after 10 ms: as scripted, and then with acceptance. A
/// PATCH leaves after 5 ms.
#[derive(Default)]
pub struct PatchLog(pub Mutex<Vec<String>>, Mutex<VecDeque<fn() -> PatchOutcome>>);

impl PatchLog {
    pub fn scripted(answers: &[fn() -> PatchOutcome]) -> Arc<Self> {
        Arc::new(Self(Mutex::default(), Mutex::new(answers.to_vec().into())))
    }
}

/// Upstream refuses the content of a PATCH.
pub fn rejected() -> PatchOutcome {
    PatchOutcome::Refused(Error::UpstreamRejected { status: 400, code: None, message: None })
}

impl ConversationsPort for PatchLog {
    fn reads_participants_singly(&self) -> bool {
        false
    }

    fn read<'a>(
        &'a self,
        _: UpstreamRead,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(std::future::pending())
    }

    fn find<'a>(
        &'a self,
        _: UpstreamQuery<'a>,
        _: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(std::future::pending())
    }

    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome> {
        assert!(patch.permit.is_some(), "every PATCH has its permit");
        let keys: Vec<_> = patch.attributes.iter().map(|(key, _)| key.as_str()).collect();
        self.0.lock().push(keys.join(","));
        let answer = self.1.lock().pop_front();
        Box::pin(async move {
            sleep(Duration::from_millis(5)).await;
            context.count_call();
            sleep(Duration::from_millis(5)).await;
            answer.map_or(PatchOutcome::Accepted, |answer| answer())
        })
    }
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
