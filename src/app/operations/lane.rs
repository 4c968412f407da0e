//! Works on the operations of one claimed conversation, in order.
//!
//! Operations that wait together and change different keys are carried out together. The gate lets them
//! reach the write queue at the same time, which sends them in one PATCH.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::runner::{OperationAnswer, OperationEnding, OperationRunner, word};
use crate::clock;
use crate::error::Error;
use crate::ports::store::{
    ContentDigest, ConversationId, OperationJournal, OperationResult, OperationState,
    StoredOperation,
};
use crate::ports::{BoxFuture, MetricsRecorder, WriteNotes};
use crate::shutdown::ShutdownSignal;

/// Longest time of one try; the shortest one also proves a write whose time is over.
const TRY_TIME: Duration = Duration::from_secs(30);
const SHORTEST_TRY: Duration = Duration::from_secs(5);
/// The pause after a try that may succeed later, unless its answer names another one.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a claim is extended. It is a fraction of its lease.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long a claim gives the right to send. Its lease is two seconds longer, for a call that has left.
const CLAIM_TIME: Duration = Duration::from_secs(8);
/// Most operations that are carried out together.
const GROUP: usize = 20;
/// How long an operation waits for the others of its group.
const GATE_TIME: Duration = Duration::from_millis(500);

pub(super) struct LaneWorker {
    pub journal: Arc<dyn OperationJournal>,
    pub recorder: Arc<MetricsRecorder>,
    pub runner: Arc<dyn OperationRunner>,
    pub shutdown: ShutdownSignal,
    pub conversation: ConversationId,
    pub claim: LaneClaim,
}

/// A claim, by the clock of this process: until when it gives the right to send.
pub(super) struct LaneClaim(Mutex<Instant>);

impl LaneClaim {
    /// A claim that was asked for at this moment.
    pub fn asked_at(asked: Instant) -> Self {
        Self(Mutex::new(asked + CLAIM_TIME))
    }

    fn is_held(&self) -> bool {
        Instant::now() < *self.0.lock()
    }
}

/// An operation, or the id of one that cannot be read.
type LaneOperation = Result<StoredOperation, Uuid>;

/// How long an operation that has not ended waits for its next try.
type NextTry = Option<Duration>;

impl LaneWorker {
    /// Carries out what can be, and gives the claim back.
    pub async fn work(self, operations: Vec<LaneOperation>) {
        let worker = Arc::new(self);
        let done = Arc::clone(&worker).carry_out_all(operations.into());
        if let Some(pause) = worker.while_claimed(done).await {
            let _ = worker.journal.release(worker.conversation, pause).await;
        }
    }

    /// Carries out one group after the other, up to one that has to wait. Returns how long.
    async fn carry_out_all(self: Arc<Self>, mut waiting: VecDeque<LaneOperation>) -> Duration {
        while !waiting.is_empty() && !self.shutdown.is_draining() {
            let count = self.next_group(&waiting);
            let gate = watch::Sender::new(count);
            let mut running = JoinSet::new();
            for operation in waiting.drain(..count) {
                let ticket = GateTicket { gate: gate.clone(), has_arrived: AtomicBool::new(false) };
                running.spawn(Arc::clone(&self).carry_out(operation, ticket));
            }
            let ended = running.join_all().await;
            if let Some(pause) = ended.into_iter().flatten().max() {
                return pause;
            }
        }
        Duration::ZERO
    }

    /// How many operations are carried out together. One that was sent is judged alone.
    fn next_group(&self, waiting: &VecDeque<LaneOperation>) -> usize {
        let group: Vec<_> = waiting
            .iter()
            .take(GROUP)
            .map_while(|one| one.as_ref().ok().filter(|one| one.patch_digest.is_none()))
            .collect();
        if group.len() < 2 { 1 } else { self.runner.together(&group).max(1) }
    }

    /// Tries once, unless the time of the operation is over.
    async fn carry_out(self: Arc<Self>, operation: LaneOperation, ticket: GateTicket) -> NextTry {
        let operation = match operation {
            Ok(operation) => operation,
            // It cannot be read, so it cannot be carried out.
            Err(id) => return self.finish(id, OperationState::Failed, None).await,
        };
        let (id, not_after) = (operation.operation.id, operation.operation.not_after);
        let left = time_until(not_after);
        let was_sent = operation.patch_digest.is_some();
        if left < Duration::from_secs(1) && !was_sent {
            return self.finish(id, OperationState::Expired, None).await;
        }
        let notes = Arc::new(JournalNotes {
            worker: Arc::clone(&self),
            id,
            not_after,
            earlier: operation.patch_digest,
            is_sent: AtomicBool::new(was_sent),
            is_refused: AtomicBool::new(false),
            ticket,
        });
        let time = left.clamp(SHORTEST_TRY, TRY_TIME);
        let answer = self.runner.run(&operation, Arc::clone(&notes) as _, time).await;
        notes.ticket.arrive();
        self.judge(answer, &notes).await
    }

    /// Ends an operation after a try, or says when to try again.
    async fn judge(&self, answer: OperationAnswer, notes: &JournalNotes) -> NextTry {
        let OperationAnswer { result, ending } = answer;
        if ending != OperationEnding::Done && !notes.may_send() {
            // It was cancelled, or is for another process to judge.
            return Some(Duration::ZERO);
        }
        let pause = match ending {
            OperationEnding::Again(pause) => pause.unwrap_or_default().max(PAUSE),
            _ => PAUSE,
        };
        let has_time = self.shutdown.is_draining() || time_until(notes.not_after) > pause;
        let state = match ending {
            OperationEnding::Unproved | OperationEnding::Again(_) if has_time => {
                return Some(pause);
            }
            OperationEnding::Done | OperationEnding::Unproved => OperationState::Done,
            OperationEnding::Failed => OperationState::Failed,
            OperationEnding::Again(_) if notes.is_sent.load(Ordering::Relaxed) => {
                OperationState::Failed
            }
            OperationEnding::Again(_) => OperationState::Expired,
        };
        self.finish(notes.id, state, Some(result)).await
    }

    /// Extends the claim while `work` goes on. `None`: it is lost, perhaps to another process.
    async fn while_claimed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEWAL).await;
                let asked = Instant::now();
                match self.journal.renew(self.conversation).await {
                    Ok(true) => *self.claim.0.lock() = asked + CLAIM_TIME,
                    Ok(false) => return,
                    Err(_) if !self.claim.is_held() => return,
                    Err(_) => {}
                }
            }
        };
        tokio::select! {
            done = work => Some(done),
            () = renewing => {
                *self.claim.0.lock() = Instant::now();
                None
            }
        }
    }

    async fn finish(
        &self,
        id: Uuid,
        state: OperationState,
        result: Option<OperationResult>,
    ) -> NextTry {
        match self.journal.finish(id, state, result).await {
            Ok(true) => {
                self.recorder.writes.operations_ended.with(&[word(state).into()]).inc();
            }
            // It was cancelled.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the end of an accepted write cannot be stored");
                return Some(PAUSE);
            }
        }
        None
    }
}

fn time_until(moment: OffsetDateTime) -> Duration {
    Duration::try_from(moment - clock::now()).unwrap_or_default()
}

/// The notes of an accepted write, in its journal.
struct JournalNotes {
    worker: Arc<LaneWorker>,
    id: Uuid,
    not_after: OffsetDateTime,
    earlier: Option<ContentDigest>,
    is_sent: AtomicBool,
    /// The journal has refused to send it.
    is_refused: AtomicBool,
    ticket: GateTicket,
}

/// The place of an operation at the gate of its group, which counts those that have not arrived.
struct GateTicket {
    gate: watch::Sender<usize>,
    has_arrived: AtomicBool,
}

impl GateTicket {
    /// It is ready to be sent, or has ended.
    fn arrive(&self) {
        if !self.has_arrived.swap(true, Ordering::Relaxed) {
            self.gate.send_modify(|missing| *missing -= 1);
        }
    }

    /// Waits for the others of the group.
    async fn pass(&self) {
        self.arrive();
        let mut missing = self.gate.subscribe();
        let _ = tokio::time::timeout(GATE_TIME, missing.wait_for(|missing| *missing == 0)).await;
    }
}

impl Drop for GateTicket {
    fn drop(&mut self) {
        self.arrive();
    }
}

impl std::fmt::Debug for JournalNotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalNotes").field("id", &self.id).finish_non_exhaustive()
    }
}

impl WriteNotes for JournalNotes {
    fn earlier(&self) -> Option<ContentDigest> {
        self.earlier
    }

    fn before_sending(&self, state: ContentDigest) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if clock::now() > self.not_after {
                return Err(Error::DeadlineExceeded("the operation was waiting to be sent"));
            }
            match self.worker.journal.mark_sent(self.id, state).await {
                Ok(true) => {
                    self.is_sent.store(true, Ordering::Relaxed);
                    self.ticket.pass().await;
                    Ok(())
                }
                Ok(false) => {
                    self.is_refused.store(true, Ordering::Relaxed);
                    Err(Error::OperationEnded)
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn may_send(&self) -> bool {
        self.worker.claim.is_held() && !self.is_refused.load(Ordering::Relaxed)
    }
}
