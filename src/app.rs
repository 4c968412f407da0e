//! The use cases: reading and writing the attributes of one participant.
//!
//! Sees ports, policies and the domain, never HTTP or the upstream client. A write runs on the
//! task tracker and not in its caller's future, so that a caller who hangs up cannot cut it in
//! half.

use std::sync::Arc;

use crate::domain::{
    ChosenBy, ConversationId, Participant, ParticipantSelector, Patch, WriteReport,
};
use crate::error::Failure;
use crate::ports::Cycle;

/// What a caller wants to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose attributes.
    pub selector: ParticipantSelector,
    /// Deadline and spending.
    pub cycle: Cycle,
}

/// What a read found.
#[derive(Clone, Debug)]
pub enum Reading {
    /// One participant.
    One {
        /// The participant, attributes included.
        participant: Participant,
        /// The rule that chose it.
        chosen_by: ChosenBy,
    },
    /// Every participant, in order of joining (`participant=all`).
    All(Vec<Participant>),
}

/// What a caller wants to write.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// Whose attributes.
    pub selector: ParticipantSelector,
    /// What the keys should hold.
    pub patch: Patch,
    /// How to go about it.
    pub options: WriteOptions,
    /// Deadline and spending.
    pub cycle: Cycle,
}

/// How to go about a write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Wait for the read-back.
    pub verify: bool,
    /// Only tell what would be sent.
    pub dry_run: bool,
    /// Write to a conversation that has ended, too.
    pub allow_ended: bool,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<()>,
}

impl App {
    /// Reads attributes.
    pub async fn read(&self, request: ReadRequest) -> Result<Reading, Failure> {
        let _ = (&self.inner, request);
        std::future::pending().await
    }

    /// Writes attributes.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteReport, Failure> {
        let _ = (&self.inner, request);
        std::future::pending().await
    }
}

#[cfg(test)]
impl App {
    /// An application for tests of requests that never reach it.
    pub(crate) fn for_tests() -> Self {
        Self {
            inner: Arc::default(),
        }
    }
}
