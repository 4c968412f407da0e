//! One shared read and the requests that wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::app::budget_accounts::{self, ReservedCalls};
use crate::app::snapshot::{ReadTarget, Snapshot};
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{
    BudgetAccount, CallPermit, PriorityClass, RequestContext, ReservationRequest, TraceSpan,
};

/// What a read must not have been sent before.
#[derive(Clone, Copy, Debug)]
pub enum Freshness {
    /// The last answer to a PATCH of ours to this conversation.
    AfterLastWrite,
    /// This moment.
    SentAfter(Instant),
}

/// A read that a request needs.
#[derive(Debug)]
pub struct CoalescedRead {
    /// What to read.
    pub read_target: ReadTarget,
    /// What it must not have been sent before.
    pub cause: Freshness,
    /// Its priority.
    pub class: PriorityClass,
    /// Whether a failed read is retried. Read-backs have a schedule of their own.
    pub retries: bool,
    /// A permit for it, if one was reserved before.
    pub permit: Option<CallPermit>,
    /// Calls to reserve together with it, for the write that follows.
    pub reserve: u32,
}

/// The result of a read, for each waiter.
#[derive(Clone, Debug)]
pub(super) struct ReadResult {
    pub result: Result<Snapshot, Error>,
    pub spent: RequestContext,
    pub reserved_calls: ReservedCalls,
}

/// A read that requests wait for.
pub struct ReadTask {
    pub id: u64,
    /// When it was sent; until then requests can join it.
    pub sent: Option<Instant>,
    /// A PATCH was answered since it was sent.
    pub stale: bool,
    pub(super) waiters: Vec<ReadWaiter>,
    /// The earliest deadline of its waiters, once it is sent: there are no retries after it.
    pub start_by: Option<Instant>,
    /// Do not send before this moment; set when the previous read was throttled.
    pub(super) not_before: Option<Instant>,
    pub(super) class: PriorityClass,
    pub(super) retries: bool,
    pub(super) permit: Option<CallPermit>,
    pub(super) reserve: u32,
    /// The client of the first request; the read is made for it.
    pub(super) client: Option<Arc<Client>>,
    /// All accounts that it can be charged to.
    pub(super) accounts: Vec<BudgetAccount>,
    /// The earliest time when it can be sent, as far as it is known.
    pub(super) expected: Option<Instant>,
    /// The trace that it is part of: an exported one, if any waiter has one.
    pub(super) span: Option<TraceSpan>,
    /// Whether its attempts are recorded.
    pub(super) recorded: bool,
    /// A waiter joined or left, or an earlier read ended.
    pub(super) changed: Arc<Notify>,
}

pub(super) struct ReadWaiter {
    number: u64,
    pub(super) deadline: Instant,
    sender: oneshot::Sender<ReadResult>,
}

impl ReadTask {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            sent: None,
            stale: false,
            waiters: Vec::new(),
            start_by: None,
            not_before: None,
            class: PriorityClass::ReadBack,
            retries: false,
            permit: None,
            reserve: 0,
            client: None,
            accounts: Vec::new(),
            expected: None,
            span: None,
            recorded: false,
            changed: Arc::default(),
        }
    }

    /// Whether this deadline is known to come before the read can be sent. A request with a permit,
    /// a higher priority or another account may move the read forward.
    pub fn is_too_late_for(&self, wanted: &CoalescedRead, context: &RequestContext) -> bool {
        let deadline = context.deadline();
        let waits = wanted.permit.is_none() && wanted.class >= self.class;
        waits
            && self.accounts.contains(&context.budget_account())
            && self.expected.is_some_and(|expected| expected >= deadline)
    }

    /// Adds a waiter.
    pub fn join(
        &mut self,
        number: u64,
        wanted: CoalescedRead,
        context: &RequestContext,
    ) -> oneshot::Receiver<ReadResult> {
        let (sender, ended) = oneshot::channel();
        self.waiters.push(ReadWaiter { number, deadline: context.deadline(), sender });
        if self.sent.is_none() {
            self.class = self.class.min(wanted.class);
            self.retries |= wanted.retries;
            self.permit = self.permit.take().or(wanted.permit);
            self.reserve = self.reserve.max(wanted.reserve);
            self.recorded |= context.attempt_log().is_some();
            budget_accounts::add_account(&mut self.accounts, context.budget_account());
            self.client.get_or_insert_with(|| Arc::clone(context.client()));
            TraceSpan::prefer(&mut self.span, context.span());
            self.changed.notify_one();
        }
        ended
    }

    pub fn leave(&mut self, number: u64) {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.number != number);
        if self.waiters.len() < before {
            self.changed.notify_one();
        }
    }

    pub(super) fn latest_deadline(&mut self) -> Option<Instant> {
        self.waiters.retain(|waiter| !waiter.sender.is_closed());
        self.waiters.iter().map(|waiter| waiter.deadline).max()
    }

    /// The reservation to make: no calls if there is a permit. A request that would reserve more
    /// calls with the read then gets it for free, and reserves the rest in its batch. A read
    /// reserved to verify a write waits for no other request.
    pub(super) fn reservation_request(&mut self) -> Option<ReservationRequest> {
        let deadline = self.latest_deadline()?;
        let calls = if self.permit.is_some() { 0 } else { 1 + self.reserve };
        let account = self.accounts.first().copied().unwrap_or(BudgetAccount::SHARED);
        Some(ReservationRequest { calls, class: self.class, deadline, account })
    }

    /// Takes the permit, as part of the write that reserved it. If the permit is no longer valid,
    /// the read still goes before calls of writes that have not started.
    pub(super) fn take_permit(&mut self) -> Option<CallPermit> {
        let permit = self.permit.take()?;
        self.class = PriorityClass::Committed;
        Some(permit)
    }

    /// Takes out the waiters with a later deadline than the earliest, and with time for another try
    /// after `wait`.
    pub(super) fn take_patient(&mut self, wait: Duration) -> Vec<ReadWaiter> {
        let again = Instant::now() + wait;
        let is_patient = |waiter: &ReadWaiter| {
            waiter.deadline > again
                && self.start_by.is_some_and(|start_by| waiter.deadline > start_by)
        };
        let (patient, rest) = std::mem::take(&mut self.waiters).into_iter().partition(is_patient);
        self.waiters = rest;
        patient
    }

    /// Takes out the waiters whose deadline is not after `moment`.
    pub(super) fn take_until(&mut self, moment: Instant) -> Vec<ReadWaiter> {
        let (late, rest) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| waiter.deadline <= moment);
        self.waiters = rest;
        late
    }
}

pub(super) fn notify_waiters(waiters: Vec<ReadWaiter>, ended: &ReadResult) {
    for waiter in waiters {
        // A waiter that has left needs no answer.
        let _ = waiter.sender.send(ended.clone());
    }
}

impl ReadResult {
    pub(super) fn failed(error: Error) -> Self {
        Self {
            result: Err(error),
            spent: RequestContext::new(Instant::now()),
            reserved_calls: ReservedCalls::default(),
        }
    }
}
