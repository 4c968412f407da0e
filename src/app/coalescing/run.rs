//! The task of a shared call: it waits for earlier calls and for permits, makes the call, and
//! notifies the waiting requests.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::shared_call::{CallResult, SharedCall, notify_waiters};
use super::{CallId, CallParts, CallSource, Coalescer};
use crate::app::budget_accounts::{self, ReservedCalls};
use crate::error::Error;
use crate::ports::{CallPermits, PriorityClass, RequestContext, RequestPhase};

/// A call that takes longer than this does not delay the next one.
const OVERLAP_DELAY: Duration = Duration::from_millis(100);

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
                let mut keys = self.keys();
                let Some(calls) = keys.get_mut(&call.key) else { return };
                let until = calls.sent.iter().filter(|_| S::IS_RESERVED);
                let until = until.filter_map(|sent| sent.sent).max();
                let until = until.map(|sent| sent + OVERLAP_DELAY);
                let Some(own) = calls.get_mut(call.id) else { return };
                let until = until.max(own.not_before).filter(|until| *until > Instant::now());
                (until, Arc::clone(&own.changed))
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
                if let Some(latest) =
                    self.keys().get(&call.key).and_then(|calls| calls.latest.as_ref())
                {
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

    /// Moves waiters that have time left to another call, if this one was given up because of the
    /// earliest deadline.
    fn go_again(&self, call: &CallId<S::Key>, wait: Duration) {
        let mut keys = self.keys();
        let Some(calls) = keys.get_mut(&call.key) else { return };
        let Some(own) = calls.sent.iter_mut().find(|own| own.id == call.id && own.retries) else {
            return;
        };
        let patient = own.take_patient(wait);
        if patient.is_empty() {
            return;
        }
        let again = SharedCall {
            class: own.class,
            client: own.client.clone(),
            retries: true,
            not_before: Some(Instant::now() + wait),
            ..SharedCall::new(self.next_id())
        };
        let (accounts, has_attempt_log) = (own.accounts.clone(), own.has_attempt_log);
        if calls.next.is_none() {
            self.start(CallId { key: call.key.clone(), id: again.id });
        }
        let next = calls.next.get_or_insert(again);
        next.waiters.extend(patient);
        next.has_attempt_log |= has_attempt_log;
        for account in accounts {
            budget_accounts::add_account(&mut next.accounts, account);
        }
    }

    /// Waits until no request waits for this call; then none can join it either.
    async fn deserted(&self, call: &CallId<S::Key>) {
        while let Some(changed) = self.with(call, |own| Arc::clone(&own.changed)) {
            let all_left = poll_fn(|cx| {
                let mut keys = self.keys();
                let Some(calls) = keys.get_mut(&call.key) else { return Poll::Ready(()) };
                let Some(index) = calls.sent.iter().position(|own| own.id == call.id) else {
                    return Poll::Ready(());
                };
                let polled = calls.sent[index].poll_deserted(cx);
                if polled.is_ready() {
                    calls.sent.swap_remove(index);
                }
                polled
            });
            tokio::select! {
                () = all_left => return,
                () = changed.notified() => {}
            }
        }
    }

    /// Marks the call as sent: from now on only requests with an older cause may join it.
    fn leave(
        &self,
        call: &CallId<S::Key>,
        mut permits: Option<CallPermits>,
    ) -> Option<(CallParts, RequestContext, Option<CallPermits>)> {
        let mut keys = self.keys();
        let calls = keys.get_mut(&call.key)?;
        let mut own = calls.next.take_if(|next| next.id == call.id)?;
        let sent = Instant::now();
        let context = own.leave(sent, !S::IS_RESERVED)?;
        // A permit that a write has reserved stays part of that write, also for a retry.
        let permit = own.take_permit().or_else(|| permits.as_mut()?.take());
        let is_of_write = own.class <= PriorityClass::Write;
        let class = if is_of_write { PriorityClass::Committed } else { own.class };
        let parts = CallParts { sent, retries: own.retries, permit, class };
        calls.sent.push(own);
        Some((parts, context, permits))
    }
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
