//! The task of a shared read: it waits for earlier reads and for permits, reads, and notifies the
//! waiting requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ReadCoalescer;
use super::task::{ReadResult, ReadTask, notify_waiters};
use crate::app::budget_accounts::{self, ReservedCalls};
use crate::app::snapshot::{ReadTarget, Snapshot};
use crate::domain::Client;
use crate::error::Error;
use crate::ports::{
    CallPermits, ContextParts, PriorityClass, RequestContext, RequestPhase, UpstreamRead,
};

/// A read that takes longer than this does not hold up the next one.
const OVERLAP_DELAY: Duration = Duration::from_millis(100);

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
            Ok(snapshot) => {
                if !self.parts.pending_writes.is_idle() {
                    let settle = self.parts.lags.settle().measured;
                    self.parts.pending_writes.apply_snapshot(
                        &snapshot.conversation,
                        snapshot.sent,
                        settle,
                    );
                }
                let stale = self.with(read_target, id, |job| job.stale).unwrap_or(true);
                if self.parts.memory.remember(read_target, snapshot, stale) {
                    tokio::spawn(Arc::clone(&self.parts.memory).sweep());
                }
            }
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
        let context = RequestContext::from_parts(ContextParts {
            deadline,
            start_by: job.start_by,
            client: job.client.clone().unwrap_or_else(Client::anonymous),
            span: job.span.take(),
            has_attempt_log: job.recorded,
            audit_entry: None,
        });
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
