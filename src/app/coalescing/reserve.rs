//! Reserves the permits of a shared call for the requests that wait. It reserves again when they
//! change, and refuses those that cannot wait that long.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use super::shared_call::notify_waiters;
use super::{CallId, CallSource, Coalescer};
use crate::app::budget_accounts;
use crate::error::Error;
use crate::ports::{BoxFuture, BudgetAccount, CallPermits, Reservation, ReservationRequest};

/// Calls that can be made later.
struct ExpectedGrant {
    expected: Instant,
    granted: BoxFuture<'static, Result<CallPermits, Error>>,
}

impl<S: CallSource> Coalescer<S> {
    /// Gets the permits for a call, and for those reserved with it. `None` once no request waits.
    pub(super) async fn book(&self, call: &CallId<S::Key>) -> Option<Option<CallPermits>> {
        loop {
            let request = self.reservation_request(call)?;
            if request.calls == 0 || !S::IS_RESERVED {
                return Some(None);
            }
            let accounts = self.with(call, |own| own.accounts.clone())?;
            let granted = match self.request(request, &accounts) {
                Ok(Reservation::Now(permits)) => return Some(Some(permits)),
                Ok(Reservation::Later { expected, granted }) => {
                    let grant = ExpectedGrant { expected, granted };
                    self.granted(call, request, accounts, grant).await
                }
                Err(refusal) => Some(Err(refusal)),
            };
            match granted {
                Some(Ok(permits)) => return Some(Some(permits)),
                Some(Err(refusal)) => self.refuse(call, request.deadline, &refusal),
                None => {}
            }
        }
    }

    /// Waits for the calls. `None` if another reservation is needed instead.
    async fn granted(
        &self,
        call: &CallId<S::Key>,
        request: ReservationRequest,
        mut accounts: Vec<BudgetAccount>,
        mut grant: ExpectedGrant,
    ) -> Option<Result<CallPermits, Error>> {
        let changed = self.with(call, |own| Arc::clone(&own.changed))?;
        loop {
            let now = self.reservation_request(call)?;
            // A more important request moves the call forward, and may need more calls.
            if now.class < request.class || now.calls != request.calls {
                return None;
            }
            // A request with another account may get the calls earlier.
            let mut new = self.with(call, |own| own.accounts.clone())?;
            new.retain(|account| !accounts.contains(account));
            if !new.is_empty() {
                match self.request(ReservationRequest { deadline: now.deadline, ..request }, &new) {
                    Ok(Reservation::Now(permits)) => return Some(Ok(permits)),
                    Ok(Reservation::Later { expected, granted }) if expected < grant.expected => {
                        grant = ExpectedGrant { expected, granted };
                    }
                    Ok(Reservation::Later { .. }) | Err(_) => {}
                }
                accounts.extend(new);
            }
            self.refuse_late(call, grant.expected, request);
            tokio::select! {
                permits = &mut grant.granted => return Some(permits),
                () = changed.notified() => {}
                () = self.waiters_left(call) => {}
            }
        }
    }

    fn request(
        &self,
        request: ReservationRequest,
        accounts: &[BudgetAccount],
    ) -> Result<Reservation, Error> {
        budget_accounts::reserve(&*self.0.call_budget, request, accounts)
    }

    /// Waits until no request waits.
    async fn waiters_left(&self, call: &CallId<S::Key>) {
        poll_fn(|cx| self.with(call, |own| own.poll_deserted(cx)).unwrap_or(Poll::Ready(()))).await;
    }

    /// The call cannot be sent before `expected`: requests with an earlier deadline are refused
    /// now.
    fn refuse_late(&self, call: &CallId<S::Key>, expected: Instant, request: ReservationRequest) {
        let has_late = self
            .with(call, |own| own.waiters.iter().any(|waiter| waiter.deadline <= expected))
            .unwrap_or_default();
        if has_late {
            let refusal = self.0.call_budget.refusal(request.account, request.calls);
            self.refuse(call, expected, &refusal);
        }
    }

    /// The reservation to make. Without waiters the call is removed under the same lock, so that no
    /// request joins it.
    fn reservation_request(&self, call: &CallId<S::Key>) -> Option<ReservationRequest> {
        let mut keys = self.keys();
        let calls = keys.get_mut(&call.key)?;
        let request = calls.next.as_mut().filter(|own| own.id == call.id)?.reservation_request();
        if request.is_none() {
            calls.next = None;
        }
        request
    }

    /// Refuses the waiters whose deadline is not after `until`.
    fn refuse(&self, call: &CallId<S::Key>, until: Instant, refusal: &Error) {
        let refused = self.with(call, |own| own.take_until(until)).unwrap_or_default();
        notify_waiters(refused, &refusal.clone().into());
    }
}
