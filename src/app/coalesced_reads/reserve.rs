//! Reserves the permits of a shared read for the requests that wait. It reserves again when they
//! change, and refuses those that cannot wait that long.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::ReadCoalescer;
use super::task::{ReadResult, ReadTask, ReadWaiter, notify_waiters};
use crate::app::budget_accounts;
use crate::app::snapshot::ReadTarget;
use crate::error::Error;
use crate::ports::{BoxFuture, BudgetAccount, CallPermits, Reservation, ReservationRequest};

/// Ends when the calls are granted or refused.
type GrantFuture = BoxFuture<'static, Result<CallPermits, Error>>;

impl ReadCoalescer {
    /// Gets the permits for a read, and for the calls reserved with it. `None` once no request
    /// waits.
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

    /// The read cannot be sent before `expected`: requests with an earlier deadline are refused
    /// now.
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

    /// Waits for the calls. `None` if another reservation is needed instead.
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
            // A more important request moves the read forward, and may need more calls.
            if now.class < reservation_request.class || now.calls != reservation_request.calls {
                return None;
            }
            // A request with another account may get the calls earlier.
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

    /// The reservation to make. Without waiters the read is removed under the same lock, so that no
    /// request joins it.
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

    /// Refuses the waiters whose deadline is not after `until`.
    fn refuse(&self, read_target: ReadTarget, id: u64, until: Instant, refusal: &Error) {
        let refused = self.with(read_target, id, |job| job.take_until(until)).unwrap_or_default();
        notify_waiters(refused, &ReadResult::failed(refusal.clone()));
    }
}
