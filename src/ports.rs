//! What the use cases need from outside, as small object-safe traits.
//!
//! They are used as `Arc<dyn …>`, so handlers have no type parameter for the upstream client.

mod attempt_log;
mod audit;
mod audit_scope;
mod call_budget;
mod context;
mod metric_family;
mod metrics;
mod span;
mod store_link;
mod write_notes;

pub use gateway_store::ports as store;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub(crate) use attempt_log::{AttemptLog, AttemptLogSnapshot};
pub(crate) use audit::{
    AuditEntry, AuditPort, AuditRecord, AuditWriteError, KeyResult, RecordKind, RecordedFuture,
    ResponseSummary, StateBefore, WriteFindings,
};
pub(crate) use audit_scope::AuditScope;
#[cfg(test)]
pub use call_budget::unlimited::UnlimitedBudget;
pub use call_budget::{
    BudgetAccount, CallBudget, CallPermit, CallPermits, PermitPool, PriorityClass, Reservation,
    ReservationRequest,
};
pub use context::{ContextParts, RequestContext, RequestPhase};
pub(crate) use metric_family::{
    DurationHistogram, LabelValue, MetricFamily, MetricRegistry, OptionalGauge,
};
pub(crate) use metrics::{AttemptOutcome, MetricsRecorder, PlatformOperation, gauge_value};
pub(crate) use span::{TraceContext, TraceExporter, TraceSpan, UpstreamAttempt};
pub use store_link::StoreLink;
pub use write_notes::{WriteNotes, patch_digest, state_digest};

use crate::domain::{
    AttributeMap, Conversation, ConversationFilter, ConversationId, ListPage, ParticipantId,
};
use crate::error::Error;

/// A boxed future, as object-safe traits need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What became of a PATCH, after the retries of the upstream client.
#[derive(Clone, Debug)]
pub enum PatchOutcome {
    /// Upstream accepted it; reads may show it later.
    Accepted,
    /// It was certainly not applied: it was not sent, or upstream refused it.
    Refused(Error),
    /// It was sent, and may have been applied.
    Unknown(UnknownPatch),
}

/// A PATCH that may have been applied.
#[derive(Clone, Debug)]
pub struct UnknownPatch {
    /// What went wrong.
    pub error: Error,
    /// The failure is worth only one more try.
    pub is_last_try: bool,
    /// How long upstream asks us to wait.
    pub retry_after: Option<Duration>,
}

/// What to read.
#[derive(Debug)]
pub struct UpstreamRead {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant's id, for a route that can only read single participants.
    pub participant: Option<ParticipantId>,
    /// Whether a failed read is retried. Read-backs are repeated by their own schedule.
    pub retries: bool,
    /// The permit for the first try; without it, the upstream client reserves one.
    pub permit: Option<CallPermit>,
    /// The priority of further tries.
    pub class: PriorityClass,
}

/// What to write.
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
    /// The permit for the first try; without it, the upstream client reserves one.
    pub permit: Option<CallPermit>,
}

/// One page of the list of live conversations.
#[derive(Debug)]
pub struct UpstreamQuery<'a> {
    /// Which conversations.
    pub filter: &'a ConversationFilter,
    /// The page number, from 1 on.
    pub page: u32,
}

/// The attributes of conversations, upstream.
pub trait ConversationsPort: Send + Sync {
    /// Whether a read shows only the participant that it names.
    fn reads_participants_singly(&self) -> bool;

    /// Reads a conversation.
    fn read<'a>(
        &'a self,
        read: UpstreamRead,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>>;

    /// Lists live conversations, one page at a time, newest first.
    fn find<'a>(
        &'a self,
        find: UpstreamQuery<'a>,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>>;

    /// Sends a PATCH.
    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome>;
}
