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

/// A read that somebody wants.
#[derive(Debug)]
pub struct CoalescedRead {
    /// Of what.
    pub read_target: ReadTarget,
    /// What it must not have been sent before.
    pub cause: Freshness,
    /// How important it is.
    pub class: PriorityClass,
    /// Whether it is repeated when it fails. Read-backs have a schedule of their own.
    pub retries: bool,
    /// The right to make it, if that was booked before.
    pub permit: Option<CallPermit>,
    /// Calls to book together with it, for the write that follows.
    pub reserve: u32,
}

/// How a read ended, for each who joined it.
#[derive(Clone, Debug)]
pub(super) struct ReadResult {
    pub result: Result<Snapshot, Error>,
    pub spent: RequestContext,
    pub reserved_calls: ReservedCalls,
}

/// A read that somebody waits for.
pub struct ReadTask {
    pub id: u64,
    /// When it was sent; it is collecting joiners until then.
    pub sent: Option<Instant>,
    /// A PATCH was answered since it was sent.
    pub stale: bool,
    pub(super) waiters: Vec<ReadWaiter>,
    /// The deadline of its most impatient joiner, once it is sent: nothing is tried again after it.
    pub start_by: Option<Instant>,
    /// It is not to be sent before, because another one was told to wait.
    pub(super) not_before: Option<Instant>,
    pub(super) class: PriorityClass,
    pub(super) retries: bool,
    pub(super) permit: Option<CallPermit>,
    pub(super) reserve: u32,
    /// On whose behalf it is made: of whoever was there first.
    pub(super) client: Option<Arc<Client>>,
    /// Everybody on whose account it can be made.
    pub(super) accounts: Vec<BudgetAccount>,
    /// When it can be sent at the earliest, as far as can be told.
    pub(super) expected: Option<Instant>,
    /// The trace that it is part of: an exported one, if any joiner's is.
    pub(super) span: Option<TraceSpan>,
    /// Whether somebody wants to know what it did.
    pub(super) recorded: bool,
    /// Somebody joined or left, or a read before it ended.
    pub(super) changed: Arc<Notify>,
}

pub(super) struct ReadWaiter {
    number: u64,
    pub(super) deadline: Instant,
    tell: oneshot::Sender<ReadResult>,
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

    /// Whether it is known that this deadline comes before it can be sent. Whoever brings a permit
    /// along, is more important, or pays for it in place of others, may move it forward.
    pub fn is_too_late_for(&self, wanted: &CoalescedRead, context: &RequestContext) -> bool {
        let deadline = context.deadline();
        let waits = wanted.permit.is_none() && wanted.class >= self.class;
        waits
            && self.accounts.contains(&context.budget_account())
            && self.expected.is_some_and(|expected| expected >= deadline)
    }

    /// Adds a joiner.
    pub fn join(
        &mut self,
        number: u64,
        wanted: CoalescedRead,
        context: &RequestContext,
    ) -> oneshot::Receiver<ReadResult> {
        let (tell, ended) = oneshot::channel();
        self.waiters.push(ReadWaiter { number, deadline: context.deadline(), tell });
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
        self.waiters.retain(|waiter| !waiter.tell.is_closed());
        self.waiters.iter().map(|waiter| waiter.deadline).max()
    }

    /// What has to be booked: nothing if a permit was brought along. Who would book more together
    /// with the read has it for nothing then, and books the rest in its turn: a read that was booked
    /// as the proof of a write waits for nobody.
    pub(super) fn reservation_request(&mut self) -> Option<ReservationRequest> {
        let deadline = self.latest_deadline()?;
        let calls = if self.permit.is_some() { 0 } else { 1 + self.reserve };
        let account = self.accounts.first().copied().unwrap_or(BudgetAccount::SHARED);
        Some(ReservationRequest { calls, class: self.class, deadline, account })
    }

    /// Takes the permit that was brought along, as part of a write that goes on: should it be no good
    /// any more, its read goes before what has not begun.
    pub(super) fn take_permit(&mut self) -> Option<CallPermit> {
        let permit = self.permit.take()?;
        self.class = PriorityClass::Committed;
        Some(permit)
    }

    /// Those who wait longer than the most impatient one, and long enough for another try after
    /// `wait`, where this one has failed for the sake of him.
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

    /// Takes out those whose deadline is not after `moment`.
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
        // Whoever has left does not want it any more.
        let _ = waiter.tell.send(ended.clone());
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
