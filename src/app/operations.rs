//! Carries out accepted writes: in order for each conversation, until each has an answer.
//!
//! The journal decides what is left to do, so a restart goes on where the last process stopped. A
//! write that may have been sent is tried with the state that was noted before it, and so reads first.

mod lane;
mod runner;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use self::lane::{LaneClaim, LaneWorker};
pub use self::runner::{OperationAnswer, OperationEnding, OperationRunner, word};
use crate::clock;
use crate::error::{Effect, Error, RequestFailure};
use crate::ports::MetricsRecorder;
use crate::ports::store::{
    CancelOutcome, JournalSummary, NewOperation, OperationJournal, StoreError,
};
use crate::shutdown::ShutdownSignal;

/// Most conversations that are worked on at once.
const LANES: usize = 32;
/// How often the journal is read while it holds work, and while it holds none.
const POLL: Duration = Duration::from_millis(250);
const IDLE_POLL: Duration = Duration::from_secs(5);
/// How often it is tried while the store does not answer.
const OUTAGE_POLL: Duration = Duration::from_secs(1);

/// The accepted writes. Cheap to clone.
#[derive(Clone)]
pub struct OperationQueue(Arc<QueueInner>);

struct QueueInner {
    journal: Arc<dyn OperationJournal>,
    recorder: Arc<MetricsRecorder>,
    not_after: Duration,
    wake: Notify,
    status: Mutex<Result<JournalSummary, StoreError>>,
}

impl OperationQueue {
    /// The accepted writes in this journal. Unless the client says otherwise, each may wait for `not_after`.
    pub fn new(
        journal: Arc<dyn OperationJournal>,
        recorder: Arc<MetricsRecorder>,
        not_after: Duration,
    ) -> Self {
        let status = Mutex::new(Ok(JournalSummary::default()));
        Self(Arc::new(QueueInner { journal, recorder, not_after, wake: Notify::new(), status }))
    }

    /// How long a write may wait, unless its client says otherwise.
    pub fn not_after(&self) -> Duration {
        self.0.not_after
    }

    /// What it works from.
    pub fn journal(&self) -> &dyn OperationJournal {
        &*self.0.journal
    }

    /// What the last look at the journal showed.
    pub fn status(&self) -> Result<JournalSummary, StoreError> {
        self.0.status.lock().clone()
    }

    /// Stores a write durably. `false`: the store cannot do that, so nothing was stored. A write that may
    /// have been stored is cancelled; if that fails, too, the effect is unknown.
    pub async fn accept(&self, operation: NewOperation) -> Result<bool, RequestFailure> {
        if self.status().is_err() {
            return Ok(false);
        }
        let (id, client) = (operation.id, operation.client.clone());
        match self.0.journal.append(operation).await {
            Ok(_) => {
                self.0.wake.notify_one();
                Ok(true)
            }
            Err(StoreError::Unusable(_)) => Ok(false),
            Err(StoreError::Full) => Err(Error::Overloaded("among the accepted writes").into()),
            Err(error) => match self.0.journal.cancel(id, &client).await {
                Ok(CancelOutcome::Cancelled | CancelOutcome::NotFound) => {
                    Err(RequestFailure::harmless(error.into()))
                }
                // It was stored, and is being carried out.
                Ok(CancelOutcome::TooLate) => Ok(true),
                Err(_) => Err(RequestFailure { error: error.into(), effect: Effect::Unknown }),
            },
        }
    }

    /// Carries out what the journal holds, until a drain begins.
    pub async fn work(self, runner: Arc<dyn OperationRunner>, shutdown: ShutdownSignal) {
        let lanes = Arc::new(Semaphore::new(LANES));
        while !shutdown.is_draining() {
            let claimed_at = Instant::now();
            let claimed = match lanes.available_permits() {
                0 => Ok(Vec::new()),
                free => self.0.journal.claim(free).await,
            };
            let pause = self.look(claimed.as_ref().err()).await;
            for lane in claimed.unwrap_or_default() {
                let Ok(permit) = Arc::clone(&lanes).try_acquire_owned() else { break };
                let worker = LaneWorker {
                    journal: Arc::clone(&self.0.journal),
                    recorder: Arc::clone(&self.0.recorder),
                    runner: Arc::clone(&runner),
                    shutdown: shutdown.clone(),
                    conversation: lane.conversation,
                    claim: LaneClaim::asked_at(claimed_at),
                };
                let queue = self.clone();
                shutdown.tasks().spawn(async move {
                    worker.work(lane.operations).await;
                    drop(permit);
                    queue.0.wake.notify_one();
                });
            }
            tokio::select! {
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = shutdown.draining() => {}
            }
        }
    }

    /// Reports the state of the journal, and returns when to look at it again.
    async fn look(&self, fault: Option<&StoreError>) -> Duration {
        let status = match fault {
            None => self.0.journal.summary().await,
            Some(error) => Err(error.clone()),
        };
        if let Ok(summary) = &status {
            let age = summary.oldest.map(|oldest| clock::now() - oldest);
            let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
            self.0.recorder.writes.set_operations(summary, age);
        }
        let before = std::mem::replace(&mut *self.0.status.lock(), status.clone());
        match status {
            Ok(summary) if summary.unfinished == 0 => IDLE_POLL,
            Ok(_) => POLL,
            Err(error) => {
                if before.is_ok() {
                    tracing::warn!(%error, "no write is accepted for later, and none is carried out");
                }
                OUTAGE_POLL
            }
        }
    }
}
