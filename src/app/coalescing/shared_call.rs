//! One shared call and the requests that wait for it.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::app::budget_accounts::{self, ReservedCalls};
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{
    BudgetAccount, CallPermit, ContextParts, PriorityClass, RequestContext, ReservationRequest,
    TraceSpan,
};

/// What a call must not have been sent before.
#[derive(Clone, Copy, Debug)]
pub enum Freshness {
    /// The last answer to a PATCH of ours to this conversation.
    AfterLastWrite,
    SentAfter(Instant),
}

#[derive(Debug)]
pub struct CoalescedCall<K> {
    pub key: K,
    pub freshness: Freshness,
    pub class: PriorityClass,
    /// Whether a failed call is retried. Read-backs have a schedule of their own.
    pub retries: bool,
    pub permit: Option<CallPermit>,
    /// Calls to reserve together with it, for the write that follows.
    pub reserve: u32,
}

impl<K> CoalescedCall<K> {
    /// A call that is retried, for which nothing is reserved yet.
    pub fn new(key: K, freshness: Freshness, class: PriorityClass) -> Self {
        Self { key, freshness, class, retries: true, permit: None, reserve: 0 }
    }
}

#[derive(Clone)]
pub(super) struct CallResult<T> {
    pub result: Result<T, Error>,
    pub spent: Option<RequestContext>,
    pub reserved_calls: ReservedCalls,
}

impl<T> From<Error> for CallResult<T> {
    fn from(error: Error) -> Self {
        Self { result: Err(error), spent: None, reserved_calls: ReservedCalls::default() }
    }
}

pub(super) struct SharedCall<T> {
    pub id: u64,
    /// When it was sent; until then requests can join it.
    pub sent: Option<Instant>,
    /// A PATCH was answered since it was sent.
    pub is_stale: bool,
    pub waiters: Vec<CallWaiter<T>>,
    /// The earliest deadline of its waiters, once it is sent: there are no retries after it.
    pub start_by: Option<Instant>,
    pub spent: Option<RequestContext>,
    /// Do not send before this moment; set when the previous call was throttled.
    pub not_before: Option<Instant>,
    pub class: PriorityClass,
    pub retries: bool,
    pub permit: Option<CallPermit>,
    pub reserve: u32,
    /// The client of the first request; the call is made for it.
    pub client: Option<Arc<Client>>,
    /// All accounts that it can be charged to.
    pub accounts: Vec<BudgetAccount>,
    /// The trace that it is part of: an exported one, if any waiter has one.
    pub span: Option<TraceSpan>,
    pub has_attempt_log: bool,
    /// A waiter joined, or an earlier call ended.
    pub changed: Arc<Notify>,
}

pub(super) struct CallWaiter<T> {
    pub deadline: Instant,
    sender: oneshot::Sender<CallResult<T>>,
}

impl<T> SharedCall<T> {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            sent: None,
            is_stale: false,
            waiters: Vec::new(),
            start_by: None,
            spent: None,
            not_before: None,
            class: PriorityClass::ReadBack,
            retries: false,
            permit: None,
            reserve: 0,
            client: None,
            accounts: Vec::new(),
            span: None,
            has_attempt_log: false,
            changed: Arc::default(),
        }
    }

    pub fn join<K>(
        &mut self,
        wanted: CoalescedCall<K>,
        context: &RequestContext,
    ) -> oneshot::Receiver<CallResult<T>> {
        let (sender, ended) = oneshot::channel();
        self.waiters.push(CallWaiter { deadline: context.deadline(), sender });
        if self.sent.is_none() {
            self.class = self.class.min(wanted.class);
            self.retries |= wanted.retries;
            self.permit = self.permit.take().or(wanted.permit);
            self.reserve = self.reserve.max(wanted.reserve);
            self.has_attempt_log |= context.attempt_log().is_some();
            budget_accounts::add_account(&mut self.accounts, context.budget_account());
            self.client.get_or_insert_with(|| Arc::clone(context.client()));
            TraceSpan::prefer(&mut self.span, context.span());
        }
        self.changed.notify_one();
        ended
    }

    /// Whether it serves a request: not sent yet, or sent after its cause. A request with an earlier
    /// deadline than all waiters does not join a call in flight, since it might have to wait for its
    /// retries. Without reserved permits, it joins only if it has left, or waits for what `context` would
    /// wait for too.
    pub fn serves(
        &self,
        freshness: Freshness,
        context: &RequestContext,
        is_reserved: bool,
    ) -> bool {
        let Some(sent) = self.sent else { return true };
        let is_fresh = match freshness {
            Freshness::AfterLastWrite => !self.is_stale,
            Freshness::SentAfter(moment) => sent > moment,
        };
        is_fresh
            && self.start_by.is_some_and(|start_by| start_by <= context.deadline())
            && (is_reserved
                || self.accounts.contains(&context.budget_account())
                || self.spent.as_ref().is_some_and(|spent| spent.calls() > 0))
    }

    /// Removes the waiters that have left, and is ready once none is left.
    pub fn poll_deserted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.waiters.retain_mut(|waiter| waiter.sender.poll_closed(cx).is_pending());
        if self.waiters.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    pub fn latest_deadline(&mut self) -> Option<Instant> {
        self.waiters.retain(|waiter| !waiter.sender.is_closed());
        self.waiters.iter().map(|waiter| waiter.deadline).max()
    }

    /// The reservation to make: no calls if there is a permit. A request that would reserve more
    /// calls with the read then gets it for free, and reserves the rest in its batch. A read
    /// reserved to verify a write waits for no other request.
    pub fn reservation_request(&mut self) -> Option<ReservationRequest> {
        let deadline = self.latest_deadline()?;
        let calls = if self.permit.is_some() { 0 } else { 1 + self.reserve };
        let account = self.accounts.first().copied().unwrap_or(BudgetAccount::SHARED);
        Some(ReservationRequest { calls, class: self.class, deadline, account })
    }

    /// Marks it as sent at `sent`, and makes its context. `None` if no request waits. An answer may
    /// come until the latest deadline, or until the earliest if `is_short`.
    pub fn leave(&mut self, sent: Instant, is_short: bool) -> Option<RequestContext> {
        let latest = self.latest_deadline()?;
        self.sent = Some(sent);
        self.start_by = self.waiters.iter().map(|waiter| waiter.deadline).min();
        let deadline = self.start_by.filter(|_| is_short).unwrap_or(latest);
        let context = RequestContext::from_parts(ContextParts {
            deadline,
            start_by: self.start_by,
            client: self.client.clone().unwrap_or_else(Client::anonymous),
            span: self.span.take(),
            has_attempt_log: self.has_attempt_log,
            audit_entry: None,
        });
        self.spent = Some(context.clone());
        Some(context)
    }

    pub fn take_waiters(&mut self, which: impl Fn(Instant) -> bool) -> Vec<CallWaiter<T>> {
        self.waiters.extract_if(.., |waiter| which(waiter.deadline)).collect()
    }
}

pub(super) fn notify_waiters<T: Clone>(waiters: Vec<CallWaiter<T>>, ended: &CallResult<T>) {
    for waiter in waiters {
        // A waiter that has left needs no answer.
        let _ = waiter.sender.send(ended.clone());
    }
}
