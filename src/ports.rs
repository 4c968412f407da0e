//! What the use cases need from outside, as small object-safe traits.
//!
//! Held as `Arc<dyn …>`, so that no type parameter of the upstream client reaches a handler.

mod attempt_log;
mod audit;
mod audit_scope;
mod call_budget;
mod context;
mod metrics;
mod span;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use attempt_log::{AttemptLog, AttemptLogSnapshot};
pub use audit::{
    AuditEntry, AuditPort, AuditRecord, AuditWriteError, KeyRecord, KeyResult, RecordKind,
    RequestOrigin, ResponseSummary, StateBefore, ValueFingerprint, WriteFindings,
};
pub use audit_scope::AuditScope;
pub use call_budget::{
    BudgetAccount, CallBudget, CallPermit, CallPermits, PermitPool, PriorityClass, Reservation,
    ReservationRequest, UnlimitedBudget,
};
pub use context::{ContextParts, RequestContext, RequestPhase};
#[cfg(test)]
pub use metrics::NoMeter;
pub use metrics::{AttemptOutcome, MetricsRecorder, PlatformOperation};
pub use span::{AttemptEnd, TraceContext, TraceExporter, TraceId, TraceSpan, UpstreamAttempt};

use crate::domain::{
    AttributeMap, Conversation, ConversationFilter, ConversationId, ListPage, ParticipantId,
};
use crate::error::Error;

/// A boxed future, as an object-safe trait needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a call that failed may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFate {
    /// Certainly nothing was applied: it never left, or was refused.
    NotApplied,
    /// It left, and what became of it is not known.
    Unknown,
    /// The same, and upstream failed in a way that is worth one more try only.
    UnknownOnce,
}

/// A call to upstream that failed for good, as far as the client may decide.
#[derive(Clone, Debug)]
pub struct UpstreamFailure {
    /// What went wrong.
    pub error: Error,
    /// Whether it may have been applied all the same.
    pub fate: PatchFate,
    /// How long upstream asks to be left alone, if it says so (`Retry-After`).
    pub wait: Option<Duration>,
}

/// What to read.
#[derive(Debug)]
pub struct UpstreamRead {
    /// The conversation.
    pub conversation: ConversationId,
    /// The id that the client named, for a route that can read single participants only.
    pub participant: Option<ParticipantId>,
    /// Whether the client may try again. Read-backs are repeated by their own schedule.
    pub retries: bool,
    /// The right to make the first try; without it, the client books one.
    pub permit: Option<CallPermit>,
    /// How important further tries are.
    pub class: PriorityClass,
}

/// What a PATCH is to do.
#[derive(Debug)]
pub struct UpstreamPatch {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant.
    pub participant: ParticipantId,
    /// The entries to send; upstream leaves other keys alone.
    pub attributes: AttributeMap,
    /// Whether this request has sent a PATCH before: it then counts as a retry.
    pub again: bool,
    /// The right to make the first try; without it, the client books one.
    pub permit: Option<CallPermit>,
}

/// One page of the live conversations.
#[derive(Debug)]
pub struct UpstreamQuery<'a> {
    /// Which of them.
    pub filter: &'a ConversationFilter,
    /// Its number, from 1 on.
    pub page: u32,
}

/// The attributes of conversations, upstream.
pub trait ConversationsPort: Send + Sync {
    /// Whether a read shows the one participant that it names, and no other.
    fn reads_participants_singly(&self) -> bool;

    /// Reads a conversation.
    fn read<'a>(
        &'a self,
        read: UpstreamRead,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>>;

    /// Looks for live conversations, a page at a time and the newest first.
    fn find<'a>(
        &'a self,
        find: UpstreamQuery<'a>,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>>;

    /// Sends a PATCH. `Ok` means that upstream accepted it, not that it can be seen.
    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<(), UpstreamFailure>>;
}
