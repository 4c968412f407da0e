//! Reserves the calls of the next batch for the writes that wait. It reserves again when a write
//! comes with another account or with reserved calls, and refuses writes that cannot wait that
//! long.

use std::time::Duration;

use tokio::time::Instant;

use super::queue::QueuedWrite;
use super::worker::{BatchWorker, PlannedBatch};
use crate::app::budget_accounts;
use crate::error::Error;
use crate::ports::{
    BoxFuture, BudgetAccount, CallPermit, CallPermits, Reservation, ReservationRequest,
};

/// The minimum pause of a deferred write: the expected time may have passed already.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// Calls that can be made later.
struct ExpectedGrant {
    expected: Instant,
    granted: BoxFuture<'static, Result<CallPermits, Error>>,
}

impl BatchWorker {
    /// Gets the missing permits. `None` if there will be none, or no write waits.
    pub(super) async fn reserve(&mut self, next: PlannedBatch) -> Option<Vec<CallPermit>> {
        let PlannedBatch { reservation_request, mut permits, .. } = next;
        if reservation_request.calls == 0 {
            return Some(permits);
        }
        let mut accounts = Vec::new();
        self.add_accounts(&mut accounts);
        let granted = match self.request(reservation_request, &accounts) {
            Ok(Reservation::Now(granted)) => Ok(each(granted, Vec::new())),
            Ok(Reservation::Later { expected, granted }) => {
                let grant = ExpectedGrant { expected, granted };
                self.granted(reservation_request, accounts, grant).await?
            }
            Err(refusal) => Err(refusal),
        };
        match granted {
            Ok(granted) => {
                permits.extend(granted);
                Some(permits)
            }
            Err(refusal) => {
                // Calls for writes that came later, with more time, are requested again.
                self.refuse(&refusal, |queued_write| {
                    !queued_write.is_single
                        && queued_write.deadline() <= reservation_request.deadline
                });
                None
            }
        }
    }

    /// Waits for the calls: on the account that gets them first, or from members that have reserved
    /// calls. `None` if no write waits.
    async fn granted(
        &mut self,
        request: ReservationRequest,
        mut accounts: Vec<BudgetAccount>,
        mut grant: ExpectedGrant,
    ) -> Option<Result<Vec<CallPermit>, Error>> {
        let (mut brought, mut missing) = (Vec::new(), request.calls);
        loop {
            let here = self.take_prereserved(missing);
            let has_fewer = !here.is_empty();
            missing = missing.saturating_sub(u32::try_from(here.len()).unwrap_or(missing));
            brought.extend(here);
            if missing == 0 {
                return Some(Ok(brought));
            }
            let known = accounts.len();
            self.add_accounts(&mut accounts);
            // Any account may get fewer calls earlier; for the same number, only new accounts are
            // asked.
            let asked = if has_fewer { &accounts[..] } else { &accounts[known..] };
            if !asked.is_empty() {
                match self.request(ReservationRequest { calls: missing, ..request }, asked) {
                    Ok(Reservation::Now(permits)) => return Some(Ok(each(permits, brought))),
                    Ok(Reservation::Later { expected, granted }) if expected < grant.expected => {
                        grant = ExpectedGrant { expected, granted };
                    }
                    Ok(Reservation::Later { .. }) | Err(_) => {}
                }
            }
            self.refuse_late(grant.expected, request);
            if self.queued_writes.is_empty() {
                return None;
            }
            tokio::select! {
                granted = &mut grant.granted => return Some(granted.map(|all| each(all, brought))),
                () = self.changed() => {}
            }
        }
    }

    fn request(
        &self,
        request: ReservationRequest,
        accounts: &[BudgetAccount],
    ) -> Result<Reservation, Error> {
        budget_accounts::reserve(&*self.parts().call_budget, request, accounts)
    }

    /// Takes at most `calls` calls that members have reserved earlier.
    fn take_prereserved(&self, calls: u32) -> Vec<CallPermit> {
        let now = Instant::now();
        let ready = self
            .queued_writes
            .iter()
            .filter(|queued_write| !queued_write.is_single && queued_write.is_ready(now));
        let permits = ready.flat_map(|queued_write| {
            std::iter::from_fn(|| queued_write.submission.reserved_calls.take())
        });
        permits.take(calls as usize).collect()
    }

    /// Adds the accounts that the next batch can be charged to.
    fn add_accounts(&self, accounts: &mut Vec<BudgetAccount>) {
        for queued_write in self.queued_writes.iter().filter(|queued_write| !queued_write.is_single)
        {
            let account = queued_write.submission.context.budget_account();
            budget_accounts::add_account(accounts, account);
        }
    }

    /// The next batch cannot leave before `expected`: writes with an earlier deadline are refused
    /// now.
    fn refuse_late(&mut self, expected: Instant, request: ReservationRequest) {
        let is_late = |queued_write: &QueuedWrite| {
            !queued_write.is_single && queued_write.deadline() <= expected
        };
        if self.queued_writes.iter().any(is_late) {
            let refusal = self.parts().call_budget.refusal(request.account, request.calls);
            self.refuse(&refusal, is_late);
        }
    }

    /// Gets the permits of a member of a rejected batch, on its own client's account. There may be
    /// as many such writes as the batch had members, so no other write waits for their calls.
    pub(super) async fn reserve_single(&mut self, next: PlannedBatch) -> Option<Vec<CallPermit>> {
        let PlannedBatch { reservation_request: request, permits, .. } = next;
        let (refusal, until) = match self.parts().call_budget.reserve(request) {
            Ok(Reservation::Now(granted)) => return Some(each(granted, permits)),
            Ok(Reservation::Later { expected, mut granted }) => {
                let refusal = self.parts().call_budget.refusal(request.account, request.calls);
                self.refuse_singles(&refusal, request.account, expected);
                loop {
                    if !self.queued_writes.iter().all(|one| one.is_single_of(request.account)) {
                        self.defer_singles(request.account, expected);
                        return None;
                    }
                    tokio::select! {
                        granted = &mut granted => match granted {
                            Ok(granted) => return Some(each(granted, permits)),
                            Err(refusal) => break (refusal, request.deadline),
                        },
                        () = self.changed() => {}
                    }
                }
            }
            Err(refusal) => (refusal, request.deadline),
        };
        self.refuse_singles(&refusal, request.account, until);
        None
    }

    /// Refuses single writes on an account that cannot wait until then.
    fn refuse_singles(&mut self, refusal: &Error, account: BudgetAccount, until: Instant) {
        self.refuse(refusal, |queued_write| {
            queued_write.is_single_of(account) && queued_write.deadline() <= until
        });
    }

    fn defer_singles(&mut self, account: BudgetAccount, until: Instant) {
        let until = until.max(Instant::now() + MIN_PAUSE);
        for queued_write in self.queued_writes.iter_mut().filter(|one| one.is_single_of(account)) {
            queued_write.not_before = Some(until);
        }
    }
}

/// Adds the permits one by one to `others`.
fn each(mut permits: CallPermits, mut others: Vec<CallPermit>) -> Vec<CallPermit> {
    others.extend(std::iter::from_fn(|| permits.take()));
    others
}
