//! One shared read on its way: it waits for its turn and its permits, leaves, and tells its joiners.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::{CoalescedRead, ReadCoalescer, ReadResult, ReadTarget, ReservedCalls, Snapshot};
use crate::app::budget_accounts;
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{
    BudgetAccount, CallPermit, CallPermits, PriorityClass, RequestContext, RequestPhase,
    ReservationRequest, TraceSpan, UpstreamRead,
};

/// A read that takes longer than this does not hold up the next one.
const OVERLAP_DELAY: Duration = Duration::from_millis(100);

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
    not_before: Option<Instant>,
    class: PriorityClass,
    retries: bool,
    pub(super) permit: Option<CallPermit>,
    reserve: u32,
    /// On whose behalf it is made: of whoever was there first.
    client: Option<Arc<Client>>,
    /// Everybody on whose account it can be made.
    pub(super) accounts: Vec<BudgetAccount>,
    /// When it can be sent at the earliest, as far as can be told.
    pub(super) expected: Option<Instant>,
    /// The trace that it is part of: an exported one, if any joiner's is.
    span: Option<TraceSpan>,
    /// Whether somebody wants to know what it did.
    recorded: bool,
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

    fn latest_deadline(&mut self) -> Option<Instant> {
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
    fn take_patient(&mut self, wait: Duration) -> Vec<ReadWaiter> {
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

impl ReadCoalescer {
    pub(super) async fn run(self, read_target: ReadTarget, id: u64) {
        // Whatever ends this task, a panic of upstream's client included: nobody is left waiting.
        let mut ends = ReadTaskGuard { reads: self, read_target, id, is_over: false };
        ends.reads.after_those_before(read_target, id).await;
        if let Some(permits) = ends.reads.book(read_target, id).await {
            ends.is_over = ends.reads.make(read_target, id, permits).await;
        }
    }

    /// Waits until no other read of the subject is on its way, or it has been for too long.
    async fn after_those_before(&self, read_target: ReadTarget, id: u64) {
        let mut had_to_wait = false;
        loop {
            let (until, changed) = {
                let mut targets = self.targets();
                let Some(target) = targets.get_mut(&read_target) else { return };
                let until = target.sent.iter().filter_map(|job| job.sent).max();
                let until = until.map(|sent| sent + OVERLAP_DELAY);
                let Some(job) = target.task(id) else { return };
                let until = until.max(job.not_before).filter(|until| *until > Instant::now());
                (until, Arc::clone(&job.changed))
            };
            let Some(until) = until else { break };
            had_to_wait = true;
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        if had_to_wait {
            // What that read showed may be enough for some who wait for this one: they go first.
            tokio::task::yield_now().await;
        }
    }

    /// Makes the read. Whether it ended as it should, so that nothing is left of the job.
    async fn make(&self, read_target: ReadTarget, id: u64, mut permits: CallPermits) -> bool {
        let Some((call, context, sent)) = self.leave_early(read_target, id, &mut permits) else {
            return false;
        };
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.parts.conversations.read(call, &context) => read,
            // Nobody waits for its retries either.
            () = self.deserted(read_target, id) => return true,
            () = self.parts.shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        context.spend(RequestPhase::Read, start.elapsed());
        let result = read.map(|conversation| {
            let conversation = Arc::new(conversation);
            Snapshot { sent, conversation, spent: context.clone() }
        });
        match &result {
            Ok(snapshot) => self.keep(read_target, id, snapshot),
            Err(error) if context.was_cut_short() => {
                self.go_again(read_target, id, error.retry_after().unwrap_or_default());
            }
            Err(_) => {}
        }
        self.end(
            read_target,
            id,
            &ReadResult { result, spent: context, reserved_calls: ReservedCalls::new(permits) },
        );
        true
    }

    /// Compares a snapshot with the pending writes, and caches it.
    fn keep(&self, read_target: ReadTarget, id: u64, snapshot: &Snapshot) {
        let super::ReadParts { pending_writes, memory, settle, .. } = &*self.parts;
        if !pending_writes.is_idle() {
            pending_writes.apply_snapshot(&snapshot.conversation, snapshot.sent, settle());
        }
        let stale = self.with(read_target, id, |job| job.stale).unwrap_or(true);
        if memory.remember(read_target, snapshot, stale) {
            tokio::spawn(Arc::clone(memory).sweep());
        }
    }

    /// Lets those wait for another read who can, where this one was given up for the sake of the
    /// most impatient.
    fn go_again(&self, read_target: ReadTarget, id: u64, wait: Duration) {
        let mut targets = self.targets();
        let Some(target) = targets.get_mut(&read_target) else { return };
        let Some(job) = target.sent.iter_mut().find(|job| job.id == id && job.retries) else {
            return;
        };
        let (patient, class, recorded) = (job.take_patient(wait), job.class, job.recorded);
        let (client, accounts) = (job.client.clone(), job.accounts.clone());
        if patient.is_empty() {
            return;
        }
        if target.next.is_none() {
            let id = self.number();
            let not_before = Some(Instant::now() + wait);
            let next = ReadTask { class, client, retries: true, not_before, ..ReadTask::new(id) };
            target.next = Some(next);
            self.parts.shutdown.tasks().spawn(Box::pin(self.clone().run(read_target, id)));
        }
        if let Some(next) = &mut target.next {
            next.waiters.extend(patient);
            next.recorded |= recorded;
            for account in accounts {
                budget_accounts::add_account(&mut next.accounts, account);
            }
        }
    }

    /// Waits until nobody waits for this read any more; then nobody can join it either.
    async fn deserted(&self, read_target: ReadTarget, id: u64) {
        loop {
            let changed = {
                let mut targets = self.targets();
                let Some(target) = targets.get_mut(&read_target) else { return };
                let Some(index) = target.sent.iter().position(|job| job.id == id) else { return };
                if target.sent[index].waiters.is_empty() {
                    target.sent.swap_remove(index);
                    if let Some(next) = &target.next {
                        next.changed.notify_one();
                    }
                    if target.is_idle() {
                        targets.remove(&read_target);
                    }
                    return;
                }
                Arc::clone(&target.sent[index].changed)
            };
            changed.notified().await;
        }
    }

    /// From here on it is sent, and only those may join it whose cause is older.
    fn leave_early(
        &self,
        read_target: ReadTarget,
        id: u64,
        permits: &mut CallPermits,
    ) -> Option<(UpstreamRead, RequestContext, Instant)> {
        let mut targets = self.targets();
        let target = targets.get_mut(&read_target)?;
        let mut job = target.next.take_if(|job| job.id == id)?;
        let sent = Instant::now();
        job.sent = Some(sent);
        let deadline = job.latest_deadline()?;
        job.start_by = job.waiters.iter().map(|waiter| waiter.deadline).min();
        // What was booked by a write that goes on is part of it, also when it is tried again.
        let permit = job.take_permit().or_else(|| permits.take());
        let of_a_write = job.class <= PriorityClass::Write;
        let call = UpstreamRead {
            conversation: read_target.conversation,
            participant: read_target.participant,
            retries: job.retries,
            permit,
            class: if of_a_write { PriorityClass::Committed } else { job.class },
        };
        let context =
            RequestContext::traced(deadline, job.span.take()).with_attempt_log(job.recorded);
        let context = context.with_client(job.client.clone().unwrap_or_else(Client::anonymous));
        let context = context.starting_by(job.start_by.unwrap_or(deadline));
        target.sent.push(job);
        Some((call, context, sent))
    }

    /// Tells everybody, and makes way for the next.
    fn end(&self, read_target: ReadTarget, id: u64, ended: &ReadResult) {
        let Some(job) = self.remove(read_target, id, ended.result.as_ref().ok()) else { return };
        notify_waiters(job.waiters, ended);
    }

    fn remove(
        &self,
        read_target: ReadTarget,
        id: u64,
        shown: Option<&Snapshot>,
    ) -> Option<ReadTask> {
        let mut targets = self.targets();
        let target = targets.get_mut(&read_target)?;
        let sent = target.sent.iter().position(|job| job.id == id);
        let job = match sent {
            Some(index) => Some(target.sent.swap_remove(index)),
            None => target.next.take_if(|job| job.id == id),
        };
        if let Some(next) = &target.next {
            next.changed.notify_one();
        }
        if let (Some(latest), Some(snapshot)) = (&target.latest, shown) {
            latest.send_replace(Some(snapshot.clone()));
        }
        if target.is_idle() {
            targets.remove(&read_target);
        }
        job
    }
}

/// Removes a job when its task ends, however it does.
struct ReadTaskGuard {
    reads: ReadCoalescer,
    read_target: ReadTarget,
    id: u64,
    /// The job is removed already.
    is_over: bool,
}

impl Drop for ReadTaskGuard {
    fn drop(&mut self) {
        if !self.is_over {
            // Joiners that were not told see their channel close.
            self.reads.remove(self.read_target, self.id, None);
        }
    }
}
