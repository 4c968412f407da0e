//! How a shared read comes by its permits: it books for those who wait, again when that changes, and
//! tells those who cannot wait so long.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::task::{ReadTask, ReadWaiter, notify_waiters};
use super::{ReadCoalescer, ReadResult, ReadTarget};
use crate::app::budget_accounts;
use crate::error::Error;
use crate::ports::{BoxFuture, BudgetAccount, CallPermits, Reservation, ReservationRequest};

/// Ends when what was booked is granted, or never will be.
type GrantFuture = BoxFuture<'static, Result<CallPermits, Error>>;

impl ReadCoalescer {
    /// Gets the permits for a read, and for what is booked with it. `None` once nobody waits.
    pub(super) async fn book(&self, read_target: ReadTarget, id: u64) -> Option<CallPermits> {
        loop {
            let (reservation_request, changed) = self.wish(read_target, id)?;
            if reservation_request.calls == 0 {
                return self.with(read_target, id, ReadTask::take_permit)?.map(CallPermits::from);
            }
            let accounts = self.with(read_target, id, |job| job.accounts.clone())?;
            let reservation = match budget_accounts::reserve(
                &*self.parts.call_budget,
                reservation_request,
                &accounts,
            ) {
                Ok(reservation) => reservation,
                Err(refusal) => {
                    self.refuse(read_target, id, reservation_request.deadline, &refusal);
                    continue;
                }
            };
            let (expected, granted) = match reservation {
                Reservation::Now(permits) => return Some(permits),
                Reservation::Later { expected, granted } => (expected, granted),
            };
            self.expect((read_target, id), expected, reservation_request)?;
            let (job, asked) = ((read_target, id), (reservation_request, accounts));
            match self.granted(job, asked, &changed, (expected, granted)).await {
                Some(Ok(permits)) => return Some(permits),
                Some(Err(refusal)) => {
                    self.refuse(read_target, id, reservation_request.deadline, &refusal);
                }
                None => {}
            }
            self.with(read_target, id, |job| job.expected = None);
        }
    }

    /// It cannot be sent before `expected`: whoever must be answered by then is told now.
    fn expect(
        &self,
        (read_target, id): (ReadTarget, u64),
        expected: Instant,
        reservation_request: ReservationRequest,
    ) -> Option<()> {
        let is_late = |one: &ReadWaiter| one.deadline <= expected;
        let any_late = self.with(read_target, id, |job| {
            job.expected = Some(expected);
            job.waiters.iter().any(is_late)
        })?;
        if any_late {
            let refusal = self
                .parts
                .call_budget
                .refusal(reservation_request.account, reservation_request.calls);
            self.refuse(read_target, id, expected, &refusal);
        }
        Some(())
    }

    /// Waits for what was booked. `None` if something else is to be booked instead.
    async fn granted(
        &self,
        (read_target, id): (ReadTarget, u64),
        (reservation_request, mut accounts): (ReservationRequest, Vec<BudgetAccount>),
        changed: &Notify,
        (mut expected, mut granted): (Instant, GrantFuture),
    ) -> Option<Result<CallPermits, Error>> {
        loop {
            tokio::select! {
                permits = &mut granted => return Some(permits),
                () = changed.notified() => {}
            }
            let (now, _) = self.wish(read_target, id)?;
            // More important company moves it forward, and needs more calls perhaps.
            if now.class < reservation_request.class || now.calls != reservation_request.calls {
                return None;
            }
            // And so does company that pays for it, and gets the calls sooner.
            let all = self.with(read_target, id, |job| job.accounts.clone())?;
            let new: Vec<_> =
                all.into_iter().filter(|account| !accounts.contains(account)).collect();
            if new.is_empty() {
                continue;
            }
            let deadline = now.deadline;
            match budget_accounts::reserve(
                &*self.parts.call_budget,
                ReservationRequest { deadline, ..reservation_request },
                &new,
            ) {
                Ok(Reservation::Now(permits)) => return Some(Ok(permits)),
                Ok(Reservation::Later { expected: sooner, granted: other })
                    if sooner < expected =>
                {
                    (expected, granted) = (sooner, other);
                }
                Ok(Reservation::Later { .. }) | Err(_) => {}
            }
            accounts.extend(new);
            self.expect((read_target, id), expected, reservation_request)?;
        }
    }

    /// What has to be booked. Without joiners the read is removed in the same moment, so that nobody
    /// joins what will not be made.
    fn wish(&self, read_target: ReadTarget, id: u64) -> Option<(ReservationRequest, Arc<Notify>)> {
        let mut targets = self.targets();
        let target = targets.get_mut(&read_target)?;
        let job = target.next.as_mut().filter(|job| job.id == id)?;
        let reservation_request = job
            .reservation_request()
            .map(|reservation_request| (reservation_request, Arc::clone(&job.changed)));
        if reservation_request.is_none() {
            target.next = None;
            if target.is_idle() {
                targets.remove(&read_target);
            }
        }
        reservation_request
    }

    /// Refuses those whose deadline is not after `until`.
    fn refuse(&self, read_target: ReadTarget, id: u64, until: Instant, refusal: &Error) {
        let refused = self.with(read_target, id, |job| job.take_until(until)).unwrap_or_default();
        notify_waiters(refused, &ReadResult::failed(refusal.clone()));
    }
}
