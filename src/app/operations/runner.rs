//! How one accepted write is carried out, and what can come of it.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::store::{OperationResult, OperationState, StoredOperation};
use crate::ports::{BoxFuture, WriteNotes};

/// Carries one write out, as if its client had sent it now.
pub trait OperationRunner: Send + Sync {
    /// How many of these operations, from the first on, can be carried out at the same time, because none
    /// changes what another one writes.
    fn together(&self, operations: &[&StoredOperation]) -> usize;

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
