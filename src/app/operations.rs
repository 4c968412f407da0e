//! Carries out accepted writes: in order for each conversation, until each has an answer.
//!
//! The journal decides what is left to do, so a restart goes on where the last process stopped. A
//! write that may have been sent is tried with the state that was noted before it, and so reads first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::clock;
use crate::error::Error;
use crate::ports::store::{
    ClaimedLane, ContentDigest, ConversationId, JournalSummary, NewOperation, OperationJournal,
    OperationResult, OperationState, StoreError, StoredOperation,
};
use crate::ports::{BoxFuture, MetricsRecorder, WriteNotes};
use crate::shutdown::ShutdownSignal;

/// Most conversations that are worked on at once.
const LANES: usize = 32;
/// Longest time of one try; the shortest one also proves a write whose time is over.
const TRY_TIME: Duration = Duration::from_secs(30);
const SHORTEST_TRY: Duration = Duration::from_secs(5);
/// The pause after a try that may succeed later, unless its answer names another one.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a claim is extended. It is a fraction of its lease.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often the journal is read while it holds work, and while it holds none.
const POLL: Duration = Duration::from_millis(250);
const IDLE_POLL: Duration = Duration::from_secs(5);

/// Carries one write out, as if its client had sent it now.
pub trait OperationRunner: Send + Sync {
    /// One try, which ends within `time`.
    fn run<'a>(
        &'a self,
        operation: &'a StoredOperation,
        notes: Arc<dyn WriteNotes>,
        time: Duration,
    ) -> BoxFuture<'a, OperationAnswer>;
}

/// How one try ended.
pub struct OperationAnswer {
    /// What the client would have been answered.
    pub result: OperationResult,
    /// What it means for the operation.
    pub ending: OperationEnding,
}

/// What the answer to one try means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationEnding {
    /// The write is proved.
    Done,
    /// Upstream accepted the write, and no read has shown it.
    Unproved,
    /// Another try cannot succeed.
    Failed,
    /// Another try can succeed, after this pause.
    Again(Option<Duration>),
}

/// The accepted writes. Cheap to clone.
#[derive(Clone)]
pub struct OperationQueue(Arc<QueueInner>);

struct QueueInner {
    journal: Arc<dyn OperationJournal>,
    recorder: Arc<dyn MetricsRecorder>,
    not_after: Duration,
    wake: Notify,
    status: Mutex<Result<JournalSummary, StoreError>>,
}

impl OperationQueue {
    /// The accepted writes in this journal. Unless the client says otherwise, each may wait for `not_after`.
    pub fn new(
        journal: Arc<dyn OperationJournal>,
        recorder: Arc<dyn MetricsRecorder>,
        not_after: Duration,
    ) -> Self {
        let status = Mutex::new(Ok(JournalSummary::default()));
        Self(Arc::new(QueueInner { journal, recorder, not_after, wake: Notify::new(), status }))
    }

    /// How long a write may wait, unless its client says otherwise.
    pub fn not_after(&self) -> Duration {
        self.0.not_after
    }

    /// The journal.
    pub fn journal(&self) -> &dyn OperationJournal {
        &*self.0.journal
    }

    /// What the last look at the journal showed.
    pub fn status(&self) -> Result<JournalSummary, StoreError> {
        self.0.status.lock().clone()
    }

    /// Stores a write durably.
    ///
    /// # Errors
    /// If it was not stored. A write that may have been stored is cancelled.
    pub async fn accept(&self, operation: NewOperation) -> Result<(), Error> {
        let (id, client) = (operation.id, operation.client.clone());
        match self.0.journal.append(operation).await {
            Ok(_) => {
                self.0.wake.notify_one();
                Ok(())
            }
            Err(StoreError::Full) => Err(Error::Overloaded("among the accepted writes")),
            Err(error) => {
                let _ = self.0.journal.cancel(id, &client).await;
                Err(Error::StoreUnavailable(error.to_string()))
            }
        }
    }

    /// Carries out what the journal holds, until a drain begins.
    pub async fn work(self, runner: Arc<dyn OperationRunner>, shutdown: ShutdownSignal) {
        let lanes = Arc::new(Semaphore::new(LANES));
        while !shutdown.is_draining() {
            let free = lanes.available_permits();
            let claimed = if free == 0 { Vec::new() } else { self.claim(free).await };
            for lane in claimed {
                let Ok(permit) = Arc::clone(&lanes).try_acquire_owned() else { break };
                let worker = LaneWorker {
                    queue: self.clone(),
                    runner: Arc::clone(&runner),
                    shutdown: shutdown.clone(),
                };
                shutdown.tasks().spawn(worker.work(lane, permit));
            }
            let is_idle = self.look().await;
            let pause = if is_idle { IDLE_POLL } else { POLL };
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.draining() => {}
            }
        }
    }

    async fn claim(&self, lanes: usize) -> Vec<ClaimedLane> {
        self.0.journal.claim(lanes).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "accepted writes cannot be read from the store");
            Vec::new()
        })
    }

    /// Reports the state of the journal, and returns whether it holds no work.
    async fn look(&self) -> bool {
        let status = self.0.journal.summary().await;
        let is_idle = matches!(&status, Ok(summary) if summary.unfinished == 0);
        if let Ok(summary) = &status {
            let age = summary.oldest.map(|oldest| clock::now() - oldest);
            let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
            self.0.recorder.operations(summary, age);
        }
        *self.0.status.lock() = status;
        is_idle
    }
}

/// Works on the operations of one conversation.
struct LaneWorker {
    queue: OperationQueue,
    runner: Arc<dyn OperationRunner>,
    shutdown: ShutdownSignal,
}

/// Why an operation has not ended.
enum LanePause {
    For(Duration),
    /// The claim is lost: another process works on the conversation.
    ClaimLost,
}

impl LaneWorker {
    async fn work(self, lane: ClaimedLane, _permit: OwnedSemaphorePermit) {
        let mut pause = Duration::ZERO;
        for operation in lane.operations {
            if self.shutdown.is_draining() {
                break;
            }
            let ended = match operation {
                Ok(operation) => self.carry_out(&operation).await,
                // It cannot be read, so it cannot be carried out.
                Err(id) => self.finish(id, OperationState::Failed, None).await,
            };
            match ended {
                Ok(()) => {}
                Err(LanePause::For(time)) => {
                    pause = time;
                    break;
                }
                Err(LanePause::ClaimLost) => return,
            }
        }
        let _ = self.queue.0.journal.release(lane.conversation, pause).await;
        self.queue.0.wake.notify_one();
    }

    /// Tries until the operation has ended, or has to wait.
    async fn carry_out(&self, operation: &StoredOperation) -> Result<(), LanePause> {
        let (id, not_after) = (operation.operation.id, operation.operation.not_after);
        let left = time_until(not_after);
        let was_sent = operation.patch_digest.is_some();
        if left < Duration::from_secs(1) && !was_sent {
            return self.finish(id, OperationState::Expired, None).await;
        }
        let notes = Arc::new(JournalNotes {
            journal: Arc::clone(&self.queue.0.journal),
            id,
            not_after,
            earlier: operation.patch_digest,
            is_sent: AtomicBool::new(was_sent),
        });
        let time = left.clamp(SHORTEST_TRY, TRY_TIME);
        let run = self.runner.run(operation, Arc::clone(&notes) as _, time);
        let conversation = operation.operation.conversation;
        let OperationAnswer { result, ending } = self.with_claim(conversation, run).await?;
        let is_sent = notes.is_sent.load(Ordering::Relaxed);
        let state = match ending {
            OperationEnding::Done => OperationState::Done,
            OperationEnding::Failed => OperationState::Failed,
            OperationEnding::Unproved | OperationEnding::Again(_) => {
                let pause = match ending {
                    OperationEnding::Again(Some(pause)) => pause.max(PAUSE),
                    _ => PAUSE,
                };
                if self.shutdown.is_draining() || time_until(not_after) > pause {
                    return Err(LanePause::For(pause));
                }
                match ending {
                    OperationEnding::Unproved => OperationState::Done,
                    _ if is_sent => OperationState::Failed,
                    _ => OperationState::Expired,
                }
            }
        };
        self.finish(id, state, Some(result)).await
    }

    /// Extends the claim on the conversation while `run` works.
    async fn with_claim(
        &self,
        conversation: ConversationId,
        mut run: BoxFuture<'_, OperationAnswer>,
    ) -> Result<OperationAnswer, LanePause> {
        loop {
            tokio::select! {
                answer = &mut run => return Ok(answer),
                () = tokio::time::sleep(RENEWAL) => {
                    if matches!(self.queue.0.journal.renew(conversation).await, Ok(false)) {
                        return Err(LanePause::ClaimLost);
                    }
                }
            }
        }
    }

    async fn finish(
        &self,
        id: Uuid,
        state: OperationState,
        result: Option<OperationResult>,
    ) -> Result<(), LanePause> {
        match self.queue.0.journal.finish(id, state, result).await {
            Ok(true) => self.queue.0.recorder.operation_ended(word(state)),
            // It was cancelled.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the end of an accepted write cannot be stored");
                return Err(LanePause::For(PAUSE));
            }
        }
        Ok(())
    }
}

/// The word for a state in answers and metrics.
pub fn word(state: OperationState) -> &'static str {
    match state {
        OperationState::Queued => "queued",
        OperationState::Sent => "running",
        OperationState::Done => "done",
        OperationState::Failed => "failed",
        OperationState::Expired => "expired",
        OperationState::Cancelled => "cancelled",
    }
}

fn time_until(moment: OffsetDateTime) -> Duration {
    Duration::try_from(moment - clock::now()).unwrap_or_default()
}

/// The notes of an accepted write, in its journal.
struct JournalNotes {
    journal: Arc<dyn OperationJournal>,
    id: Uuid,
    not_after: OffsetDateTime,
    earlier: Option<ContentDigest>,
    is_sent: AtomicBool,
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
            match self.journal.mark_sent(self.id, state).await {
                Ok(true) => {
                    self.is_sent.store(true, Ordering::Relaxed);
                    Ok(())
                }
                Ok(false) => Err(Error::OperationEnded),
                Err(error) => Err(Error::StoreUnavailable(error.to_string())),
            }
        })
    }
}
