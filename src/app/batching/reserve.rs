//! Reserves the calls of the next batch for the writes that wait. It reserves again when a write
//! comes with another account or with reserved calls, and refuses writes that cannot wait that
//! long.

use tokio::sync::Notify;
use tokio::time::Instant;

use super::queue::QueuedWrite;
use super::submission::SubmissionResult;
use super::worker::{BatchWorker, PlannedBatch};
use crate::app::budget_accounts;
use crate::error::Error;
use crate::ports::{
    BoxFuture, BudgetAccount, CallPermit, CallPermits, Reservation, ReservationRequest,
};

/// Ends when the calls are granted or refused.
type GrantFuture = BoxFuture<'static, Result<CallPermits, Error>>;

impl BatchWorker {
    /// Gets the missing permits. `None` if there will be none, or no write waits.
    pub(super) async fn reserve(
        &self,
        next: PlannedBatch,
        changed: &Notify,
    ) -> Option<Vec<CallPermit>> {
        let PlannedBatch { reservation_request, mut permits, .. } = next;
        if reservation_request.calls == 0 {
            return Some(permits);
        }
        let accounts = self.payers();
        let granted = match budget_accounts::reserve(
            &*self.shared.parts.call_budget,
            reservation_request,
            &accounts,
        ) {
            Ok(Reservation::Now(granted)) => Ok(each(granted, Vec::new())),
            Ok(Reservation::Later { expected, granted }) => {
                self.record_expected_start(expected, reservation_request);
                self.granted(reservation_request, accounts, (expected, granted), changed).await?
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
                    !queued_write.alone && queued_write.deadline() <= reservation_request.deadline
                });
                None
            }
        }
    }

    /// Waits for the calls: on the account that gets them first, or from members that have reserved
    /// calls. `None` if no write waits.
    async fn granted(
        &self,
        reservation_request: ReservationRequest,
        mut accounts: Vec<BudgetAccount>,
        (mut expected, mut granted): (Instant, GrantFuture),
        changed: &Notify,
    ) -> Option<Result<Vec<CallPermit>, Error>> {
        let (mut brought, mut missing) = (Vec::new(), reservation_request.calls);
        loop {
            tokio::select! {
                granted = &mut granted => return Some(granted.map(|all| each(all, brought))),
                () = changed.notified() => if self.is_deserted() { return None },
            }
            let here = self.take_prereserved(missing);
            let fewer = !here.is_empty();
            missing = missing.saturating_sub(u32::try_from(here.len()).unwrap_or(missing));
            brought.extend(here);
            if missing == 0 {
                return Some(Ok(brought));
            }
            let mut who = self.payers();
            // Any account may get fewer calls earlier; for the same number, only new accounts are
            // asked.
            who.retain(|account| fewer || !accounts.contains(account));
            if who.is_empty() {
                continue;
            }
            match budget_accounts::reserve(
                &*self.shared.parts.call_budget,
                ReservationRequest { calls: missing, ..reservation_request },
                &who,
            ) {
                Ok(Reservation::Now(permits)) => return Some(Ok(each(permits, brought))),
                Ok(Reservation::Later { expected: sooner, granted: other })
                    if sooner < expected =>
                {
                    (expected, granted) = (sooner, other);
                }
                Ok(Reservation::Later { .. }) | Err(_) => {}
            }
            for account in who {
                budget_accounts::add_account(&mut accounts, account);
            }
            self.record_expected_start(expected, reservation_request);
        }
    }

    /// Takes at most `calls` calls that members have reserved earlier.
    fn take_prereserved(&self, calls: u32) -> Vec<CallPermit> {
        let queues = self.shared.queues();
        let Some(queue) = queues.get(&self.participant_key) else { return Vec::new() };
        let now = Instant::now();
        let ready = queue
            .queued_writes
            .values()
            .filter(|queued_write| !queued_write.alone && queued_write.is_ready(now));
        let permits = ready.flat_map(|queued_write| {
            std::iter::from_fn(|| queued_write.submission.reserved_calls.take())
        });
        permits.take(calls as usize).collect()
    }

    /// All accounts that the next batch can be charged to.
    fn payers(&self) -> Vec<BudgetAccount> {
        let mut queues = self.shared.queues();
        let Some(queue) = queues.get_mut(&self.participant_key) else { return Vec::new() };
        for queued_write in queue.queued_writes.values().filter(|queued_write| !queued_write.alone)
        {
            budget_accounts::add_account(
                &mut queue.accounts,
                queued_write.submission.context.budget_account(),
            );
        }
        queue.accounts.clone()
    }

    /// The next batch cannot leave before `expected`: writes with an earlier deadline are refused
    /// now.
    fn record_expected_start(&self, expected: Instant, reservation_request: ReservationRequest) {
        if let Some(queue) = self.shared.queues().get_mut(&self.participant_key) {
            queue.expected = Some(expected);
        }
        let is_late =
            |queued_write: &QueuedWrite| !queued_write.alone && queued_write.deadline() <= expected;
        let queues = self.shared.queues();
        let any = queues
            .get(&self.participant_key)
            .is_some_and(|queue| queue.queued_writes.values().any(is_late));
        drop(queues);
        if any {
            let refusal = self
                .shared
                .parts
                .call_budget
                .refusal(reservation_request.account, reservation_request.calls);
            self.refuse(&refusal, is_late);
        }
    }

    pub(super) fn refuse(&self, refusal: &Error, which: impl Fn(&QueuedWrite) -> bool) {
        let refused = match self.shared.queues().get_mut(&self.participant_key) {
            Some(queue) => queue.take(which),
            None => return,
        };
        for queued_write in refused {
            self.shared.parts.recorder.writes_waiting(-1);
            queued_write.complete(SubmissionResult::Refused(refusal.clone()));
        }
    }

    fn is_deserted(&self) -> bool {
        self.shared
            .queues()
            .get(&self.participant_key)
            .is_none_or(|queue| queue.queued_writes.is_empty())
    }
}

/// Adds the permits one by one to `others`.
fn each(mut permits: CallPermits, mut others: Vec<CallPermit>) -> Vec<CallPermit> {
    others.extend(std::iter::from_fn(|| permits.take()));
    others
}
