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

/// A read that takes longer than this does not delay the next one.
const OVERLAP_DELAY: Duration = Duration::from_millis(100);

impl ReadCoalescer {
    pub(super) async fn run(self, read_target: ReadTarget, id: u64) {
        // If this task ends in any other way, as by a panic in the upstream client, no waiter is
        // left waiting.
        let mut ends = ReadTaskGuard { reads: self, read_target, id, is_over: false };
        ends.reads.after_those_before(read_target, id).await;
        if let Some(permits) = ends.reads.book(read_target, id).await {
            ends.is_over = ends.reads.make(read_target, id, permits).await;
        }
    }

    /// Waits until no other read of the target is in flight, or only slow ones are.
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
            // The last read may be enough for some waiters of this one: they go first.
            tokio::task::yield_now().await;
        }
    }

    /// Makes the read. Returns whether it ended normally, so that no trace of it is left.
    async fn make(&self, read_target: ReadTarget, id: u64, mut permits: CallPermits) -> bool {
        let Some((call, context, sent)) = self.leave_early(read_target, id, &mut permits) else {
            return false;
        };
        let start = Instant::now();
        let read = tokio::select! {
            biased;
            read = self.parts.conversations.read(call, &context) => read,
            // Without waiters, it is not retried either.
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
        let super::ReadParts { pending_writes, cache, lags, .. } = &*self.parts;
        if !pending_writes.is_idle() {
            let settle = lags.settle().measured;
            pending_writes.apply_snapshot(&snapshot.conversation, snapshot.sent, settle);
        }
        let stale = self.with(read_target, id, |job| job.stale).unwrap_or(true);
        if cache.remember(read_target, snapshot, stale) {
            tokio::spawn(Arc::clone(cache).sweep());
        }
    }

    /// Moves waiters that have time left to another read, if this one was given up because of the
    /// earliest deadline.
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

    /// Waits until no request waits for this read; then none can join it either.
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

    /// Marks the read as sent: from now on only requests with an older cause may join it.
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
        // A permit that a write has reserved stays part of that write, also for a retry.
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

    /// Answers all waiters, and starts the next read.
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

/// Removes a read when its task ends in any way.
struct ReadTaskGuard {
    reads: ReadCoalescer,
    read_target: ReadTarget,
    id: u64,
    /// The read is removed already.
    is_over: bool,
}

impl Drop for ReadTaskGuard {
    fn drop(&mut self) {
        if !self.is_over {
            // Waiters without an answer see their channel close.
            self.reads.remove(self.read_target, self.id, None);
        }
    }
}
