//! The task of a shared call: it waits for earlier calls and for permits, makes the call, and
//! notifies the waiting requests.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::shared_call::{CallResult, SharedCall, notify_waiters};
use super::{CallId, CallParts, CallSource, Coalescer, remove_call};
use crate::app::budget_accounts::{self, ReservedCalls};
use crate::error::Error;
use crate::ports::{
    BoxFuture, BudgetAccount, CallPermits, PriorityClass, RequestContext, RequestPhase,
    Reservation, ReservationRequest,
};

/// A call that takes longer than this does not delay the next one.
const OVERLAP_DELAY: Duration = Duration::from_millis(100);

/// Permits that come later.
struct ExpectedGrant {
    request: ReservationRequest,
    expected: Instant,
    granted: BoxFuture<'static, Result<CallPermits, Error>>,
}

/// Removes a call when its task ends in any way. Waiters without an answer see their channel close.
struct CallGuard<S: CallSource> {
    calls: Coalescer<S>,
    call: CallId<S::Key>,
}

impl<S: CallSource> Drop for CallGuard<S> {
    fn drop(&mut self) {
        self.calls.remove(&self.call);
    }
}

impl<S: CallSource> Coalescer<S> {
    pub(super) fn start(&self, call: CallId<S::Key>) {
        let guard = CallGuard { calls: self.clone(), call };
        self.0.shutdown.tasks().spawn(Box::pin(async move {
            let CallGuard { calls, call } = &guard;
            calls.after_those_before(call).await;
            if let Some(permits) = calls.book(call).await {
                calls.make(call, permits).await;
            }
        }));
    }

    /// Waits until no other call for the key is in flight, or only slow ones are.
    async fn after_those_before(&self, call: &CallId<S::Key>) {
        let mut had_to_wait = false;
        loop {
            let (until, changed) = {
                let keys = self.keys();
                let Some(of_key) = keys.get(&call.key) else { return };
                let Some(own) = of_key.calls.iter().find(|own| own.id == call.id) else { return };
                let before = of_key.calls.iter().filter(|_| S::IS_RESERVED);
                let until = before.filter_map(|before| before.sent).max();
                let until = until.map(|sent| sent + OVERLAP_DELAY).max(own.not_before);
                (until.filter(|until| *until > Instant::now()), Arc::clone(&own.changed))
            };
            let Some(until) = until else { break };
            had_to_wait = true;
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        if had_to_wait {
            // The last answer may be enough for some waiters of this one: they go first.
            tokio::task::yield_now().await;
        }
    }

    /// Gets the permits for a call, and for those reserved with it. It reserves again when the waiting
    /// requests change, and refuses those that cannot wait that long. `None` once no request waits.
    async fn book(&self, call: &CallId<S::Key>) -> Option<Option<CallPermits>> {
        let changed = self.with(call, |own| Arc::clone(&own.changed))?;
        let (mut held, mut tried) = (None::<ExpectedGrant>, Vec::new());
        loop {
            let (request, mut accounts) = self.reservation_request(call)?;
            if request.calls == 0 || !S::IS_RESERVED {
                return Some(None);
            }
            // A more important request moves the call forward, and may need more calls.
            let is_short = |held: &mut ExpectedGrant| {
                request.class < held.request.class || request.calls != held.request.calls
            };
            if held.take_if(is_short).is_some() {
                tried.clear();
            }
            // A request with another account may get the calls earlier.
            accounts.retain(|account| !tried.contains(account));
            if held.is_none() || !accounts.is_empty() {
                match self.reserve(request, &accounts, &mut held) {
                    Ok(Some(permits)) => return Some(Some(permits)),
                    Ok(None) => tried.extend(accounts),
                    Err(refusal) => self.refuse(call, request.deadline, || refusal),
                }
            }
            let Some(grant) = &mut held else { continue };
            let refusal = || self.0.call_budget.refusal(request.account, request.calls);
            self.refuse(call, grant.expected, refusal);
            tokio::select! {
                granted = &mut grant.granted => match granted {
                    Ok(permits) => return Some(Some(permits)),
                    Err(refusal) => {
                        self.refuse(call, grant.request.deadline, || refusal);
                        (held, tried) = (None, Vec::new());
                    }
                },
                () = changed.notified() => {}
                () = poll_fn(|cx| self.poll_deserted(call, cx)) => {}
            }
        }
    }

    /// Reserves on the one of these accounts that gets the calls first. What is held stays, unless the
    /// calls come earlier.
    fn reserve(
        &self,
        request: ReservationRequest,
        accounts: &[BudgetAccount],
        held: &mut Option<ExpectedGrant>,
    ) -> Result<Option<CallPermits>, Error> {
        match budget_accounts::reserve(&*self.0.call_budget, request, accounts) {
            Ok(Reservation::Now(permits)) => return Ok(Some(permits)),
            Ok(Reservation::Later { expected, granted }) => {
                if held.as_ref().is_none_or(|held| expected < held.expected) {
                    *held = Some(ExpectedGrant { request, expected, granted });
                }
            }
            Err(refusal) if held.is_none() => return Err(refusal),
            Err(_) => {}
        }
        Ok(None)
    }

    /// The reservation to make, and the accounts that can pay for it. Without waiters the call is
    /// removed under the same lock, so that no request joins it.
    fn reservation_request(
        &self,
        call: &CallId<S::Key>,
    ) -> Option<(ReservationRequest, Vec<BudgetAccount>)> {
        let mut keys = self.keys();
        let own = keys.get_mut(&call.key)?.calls.iter_mut().find(|own| own.id == call.id)?;
        let request = own.reservation_request().map(|request| (request, own.accounts.clone()));
        if request.is_none() {
            remove_call::<S>(&mut keys, call);
        }
        request
    }

    /// Refuses the waiters whose deadline is not after `until`.
    fn refuse(&self, call: &CallId<S::Key>, until: Instant, refusal: impl FnOnce() -> Error) {
        let is_late = |deadline: Instant| deadline <= until;
        let refused = self.with(call, |own| own.take_waiters(is_late)).unwrap_or_default();
        if !refused.is_empty() {
            notify_waiters(refused, &refusal().into());
        }
    }

    /// Makes the call, and answers all waiters.
    async fn make(&self, call: &CallId<S::Key>, permits: Option<CallPermits>) {
        let Some((parts, context, permits)) = self.leave(call, permits) else { return };
        let (start, sent) = (Instant::now(), parts.sent);
        let result = tokio::select! {
            biased;
            result = self.0.source.call(&call.key, parts, &context) => result,
            // Without waiters, it is not retried either.
            () = self.deserted(call) => return,
            () = self.0.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        context.spend(RequestPhase::Read, start.elapsed());
        match &result {
            Ok(output) => {
                let is_stale = self.with(call, |own| own.is_stale).unwrap_or(true);
                self.0.source.keep(&call.key, output, is_stale);
                let keys = self.keys();
                if let Some(latest) = keys.get(&call.key).and_then(|calls| calls.latest.as_ref()) {
                    latest.send_replace(Some((sent, output.clone())));
                }
            }
            Err(error) if context.was_cut_short() || !S::IS_RESERVED => {
                self.go_again(call, error.retry_after().unwrap_or_default());
            }
            Err(_) => {}
        }
        if let Some(own) = self.remove(call) {
            let reserved_calls = permits.map(ReservedCalls::new).unwrap_or_default();
            let ended = CallResult { result, spent: Some(context), reserved_calls };
            notify_waiters(own.waiters, &ended);
        }
    }

    /// Marks the call as sent: from now on only requests with an older cause may join it.
    fn leave(
        &self,
        call: &CallId<S::Key>,
        mut permits: Option<CallPermits>,
    ) -> Option<(CallParts, RequestContext, Option<CallPermits>)> {
        let mut keys = self.keys();
        let own = keys.get_mut(&call.key)?.calls.iter_mut().find(|own| own.id == call.id)?;
        let sent = Instant::now();
        let Some(context) = own.leave(sent, !S::IS_RESERVED) else {
            remove_call::<S>(&mut keys, call);
            return None;
        };
        // A permit that a write has reserved stays part of that write, also for a retry. If it is no longer
        // valid, the call still goes before calls of writes that have not started.
        let reserved = own.permit.take();
        if reserved.is_some() {
            own.class = PriorityClass::Committed;
        }
        let is_of_write = own.class <= PriorityClass::Write;
        let class = if is_of_write { PriorityClass::Committed } else { own.class };
        let permit = reserved.or_else(|| permits.as_mut()?.take());
        let parts = CallParts { sent, retries: own.retries, permit, class };
        Some((parts, context, permits))
    }

    /// Moves waiters that have time left to another call, if this one ended at the earliest deadline.
    fn go_again(&self, call: &CallId<S::Key>, wait: Duration) {
        let again = Instant::now() + wait;
        let mut keys = self.keys();
        let Some(of_key) = keys.get_mut(&call.key) else { return };
        let own = of_key.calls.iter_mut().find(|own| own.id == call.id && own.retries);
        let Some((own, start_by)) =
            own.and_then(|own| own.start_by.map(|start_by| (own, start_by)))
        else {
            return;
        };
        let patient = own.take_waiters(|deadline| deadline > start_by.max(again));
        if patient.is_empty() {
            return;
        }
        let mut next = SharedCall {
            class: own.class,
            client: own.client.clone(),
            retries: true,
            not_before: Some(again),
            ..SharedCall::new(self.next_id())
        };
        let (accounts, has_attempt_log) = (own.accounts.clone(), own.has_attempt_log);
        let unsent = of_key.calls.last_mut().filter(|last| last.sent.is_none());
        let target = unsent.unwrap_or(&mut next);
        target.waiters.extend(patient);
        target.has_attempt_log |= has_attempt_log;
        for account in accounts {
            budget_accounts::add_account(&mut target.accounts, account);
        }
        if !next.waiters.is_empty() {
            self.start(CallId { key: call.key.clone(), id: next.id });
            of_key.calls.push(next);
        }
    }

    /// Waits until no request waits for this call; then none can join it either.
    async fn deserted(&self, call: &CallId<S::Key>) {
        while let Some(changed) = self.with(call, |own| Arc::clone(&own.changed)) {
            tokio::select! {
                () = poll_fn(|cx| self.poll_deserted(call, cx)) => return,
                () = changed.notified() => {}
            }
        }
    }

    /// Removes a call once no request waits for it.
    fn poll_deserted(&self, call: &CallId<S::Key>, cx: &mut Context<'_>) -> Poll<()> {
        let mut keys = self.keys();
        let calls = keys.get_mut(&call.key).map(|of_key| of_key.calls.iter_mut());
        let own = calls.and_then(|mut calls| calls.find(|own| own.id == call.id));
        let polled = own.map_or(Poll::Ready(()), |own| own.poll_deserted(cx));
        if polled.is_ready() {
            remove_call::<S>(&mut keys, call);
        }
        polled
    }
}
