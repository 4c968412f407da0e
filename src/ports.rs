//! What the use cases need from outside, as small object-safe traits.
//!
//! Held as `Arc<dyn …>`, so that no type parameter of the upstream client reaches a handler.

mod attempt_log;
mod audit;
mod call_budget;
mod metrics;
mod span;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use attempt_log::{AttemptEnd, AttemptLog, AttemptLogSnapshot, UpstreamAttempt};
pub use audit::{
    AuditEntry, AuditPort, AuditRecord, AuditScope, AuditWriteError, KeyRecord, KeyResult,
    RecordKind, RequestOrigin, ResponseSummary, StateBefore, ValueFingerprint, WriteFindings,
};
pub use call_budget::{
    BudgetAccount, CallBudget, CallPermit, CallPermits, PermitPool, PriorityClass, Reservation,
    ReservationRequest, UnlimitedBudget,
};
#[cfg(test)]
pub use metrics::NoMeter;
pub use metrics::{AttemptOutcome, MetricsRecorder, PlatformOperation};
pub use span::{TraceContext, TraceExporter, TraceId, TraceSpan};

use crate::domain::{
    AttributeMap, Client, Conversation, ConversationFilter, ConversationId, KeyOutcome, ListPage,
    ParticipantId, ParticipantSummary, SelectionRule,
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

/// Where the time of a request goes; the entries of `Server-Timing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPhase {
    /// Waiting for a turn.
    Queue,
    /// Waiting for a token.
    Token,
    /// Reading before the write, or for a read.
    Read,
    /// The PATCH, with its retries.
    Patch,
    /// Reading back.
    Verify,
}

impl RequestPhase {
    /// Every phase, in the order in which a write goes through them.
    pub const ALL: [Self; 5] = [Self::Queue, Self::Token, Self::Read, Self::Patch, Self::Verify];

    /// The metric name in `Server-Timing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Token => "token",
            Self::Read => "read",
            Self::Patch => "patch",
            Self::Verify => "verify",
        }
    }
}

/// Correlation ids are UUIDs; what is longer is cut, since it goes into logs and answers.
const MAX_CORRELATION_ID_BYTES: usize = 64;

/// One request's way through the service: its deadline, and what it spent on the way. Cheap to
/// clone; all clones count together.
#[derive(Clone, Debug)]
pub struct RequestContext {
    deadline: Instant,
    start_by: Instant,
    shared: Arc<ContextInner>,
}

#[derive(Debug)]
struct ContextInner {
    /// On whose behalf.
    client: Arc<Client>,
    calls: AtomicU32,
    micros: [AtomicU64; RequestPhase::ALL.len()],
    /// A PATCH is out, or was, and what became of it is not known to be nothing.
    exposed: AtomicBool,
    /// Something was given up only for the sake of `start_by`.
    hurried: AtomicBool,
    last_attempt_micros: AtomicU64,
    correlation: Mutex<Option<String>>,
    /// The participant that it turned out to be about.
    participant: Mutex<Option<(ParticipantSummary, SelectionRule)>>,
    /// Its place in a trace, if it is part of one.
    span: Option<TraceSpan>,
    /// What it did, where that is wanted.
    attempt_log: Option<AttemptLog>,
    /// What is recorded of it, where that is wanted.
    audit_entry: Option<AuditEntry>,
}

impl Default for ContextInner {
    fn default() -> Self {
        Self {
            client: Client::anonymous(),
            calls: AtomicU32::default(),
            micros: <[AtomicU64; RequestPhase::ALL.len()]>::default(),
            exposed: AtomicBool::default(),
            hurried: AtomicBool::default(),
            last_attempt_micros: AtomicU64::default(),
            correlation: Mutex::default(),
            participant: Mutex::default(),
            span: None,
            attempt_log: None,
            audit_entry: None,
        }
    }
}

impl RequestContext {
    /// A request that has to be answered by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self::traced(deadline, None)
    }

    /// The same, as part of a trace.
    pub fn traced(deadline: Instant, span: Option<TraceSpan>) -> Self {
        let shared = Arc::new(ContextInner { span, ..ContextInner::default() });
        Self { deadline, start_by: deadline, shared }
    }

    /// The same on behalf of this client, and not of nobody in particular. To be asked for before
    /// the cycle is cloned.
    #[must_use]
    pub fn with_client(mut self, client: Arc<Client>) -> Self {
        if let Some(spent) = Arc::get_mut(&mut self.shared) {
            spent.client = client;
        }
        self
    }

    /// On whose behalf the calls are made.
    pub fn client(&self) -> &Arc<Client> {
        &self.shared.client
    }

    /// On whose account they are made.
    pub fn budget_account(&self) -> BudgetAccount {
        BudgetAccount::from(&**self.client())
    }

    /// The same, with a trail if one is `wanted`. To be asked for before the cycle is cloned.
    #[must_use]
    pub fn with_attempt_log(mut self, wanted: bool) -> Self {
        if let (true, Some(spent)) = (wanted, Arc::get_mut(&mut self.shared)) {
            spent.attempt_log = Some(AttemptLog::default());
        }
        self
    }

    /// The same, with a dossier. To be asked for before the cycle is cloned.
    #[must_use]
    pub fn with_audit_entry(mut self, audit_entry: Option<AuditEntry>) -> Self {
        if let (Some(audit_entry), Some(spent)) = (audit_entry, Arc::get_mut(&mut self.shared)) {
            spent.audit_entry = Some(audit_entry);
        }
        self
    }

    /// What is recorded of it.
    pub fn audit_entry(&self) -> Option<&AuditEntry> {
        self.shared.audit_entry.as_ref()
    }

    /// What was done so far, where that is recorded.
    pub fn attempt_log(&self) -> Option<&AttemptLog> {
        self.shared.attempt_log.as_ref()
    }

    /// The request is about these keys.
    pub fn note_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        if let Some(attempt_log) = self.attempt_log() {
            attempt_log.record_keys(keys);
        }
    }

    /// This became of the keys that were noted.
    pub fn note_outcomes(&self, outcome: impl Fn(&str) -> Option<KeyOutcome>) {
        if let Some(attempt_log) = self.attempt_log() {
            attempt_log.record_outcomes(outcome);
        }
    }

    /// An attempt of this request leaves; whoever makes it tells how it ended. `None` if nobody wants
    /// to know.
    pub fn note_attempt(&self, operation: PlatformOperation) -> Option<Arc<UpstreamAttempt>> {
        let exported = self.span().is_some_and(|span| span.spans().is_some());
        if self.attempt_log().is_none() && !exported {
            return None;
        }
        let attempt = Arc::new(UpstreamAttempt::begin(operation, self.span().map(TraceSpan::step)));
        if let Some(attempt_log) = self.attempt_log() {
            attempt_log.add([Arc::clone(&attempt)]);
        }
        Some(attempt)
    }

    /// The same, but nothing may be sent any more from `start_by` on: what is shared by several
    /// requests must not leave after the first of them was told that it did not.
    #[must_use]
    pub fn starting_by(self, start_by: Instant) -> Self {
        Self { start_by: start_by.min(self.deadline), ..self }
    }

    /// When it has to be answered.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left until then.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// From when on nothing may be sent any more; the deadline, unless several requests share.
    pub fn start_by(&self) -> Instant {
        self.start_by
    }

    /// What is left for something to be sent.
    pub fn time_to_start(&self) -> Duration {
        self.start_by.saturating_duration_since(Instant::now())
    }

    /// Adds what another cycle has spent on this one's behalf.
    pub fn add_usage_of(&self, other: &Self) {
        self.shared.calls.fetch_add(other.calls(), Ordering::Relaxed);
        for phase in [RequestPhase::Token, RequestPhase::Patch] {
            self.spend(phase, other.spent(phase));
        }
        self.shared
            .last_attempt_micros
            .store(other.shared.last_attempt_micros.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Some(id) = other.correlation_id() {
            self.set_correlation_id(&id);
        }
        if let (Some(attempt_log), Some(others)) = (self.attempt_log(), other.attempt_log()) {
            attempt_log.add(others.snapshot().attempts);
        }
    }

    /// Something is given up although there would be time for it before the deadline: nothing may
    /// leave so late. Means something where several requests share alone.
    pub fn mark_cut_short(&self) {
        if self.start_by < self.deadline {
            self.shared.hurried.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something was given up for the sake of the most impatient of those who share.
    pub fn was_cut_short(&self) -> bool {
        self.shared.hurried.load(Ordering::Relaxed)
    }

    /// Counts one call to the platform API (not the token endpoint).
    pub fn count_call(&self) {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls to the platform API so far.
    pub fn calls(&self) -> u32 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Adds to the time spent in a phase.
    pub fn spend(&self, phase: RequestPhase, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.shared.micros[phase as usize].fetch_add(micros, Ordering::Relaxed);
    }

    /// Time spent in a phase so far.
    pub fn spent(&self, phase: RequestPhase) -> Duration {
        Duration::from_micros(self.shared.micros[phase as usize].load(Ordering::Relaxed))
    }

    /// Keeps how long the last exchange with upstream took, waits around it left out.
    pub fn set_last_attempt(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.shared.last_attempt_micros.store(micros, Ordering::Relaxed);
    }

    /// How long the last exchange with upstream took.
    pub fn last_attempt(&self) -> Duration {
        Duration::from_micros(self.shared.last_attempt_micros.load(Ordering::Relaxed))
    }

    /// A PATCH leaves, or is certain not to have been applied.
    pub fn mark_ambiguous(&self, exposed: bool) {
        self.shared.exposed.store(exposed, Ordering::Relaxed);
    }

    /// Whether a PATCH that left may have been applied.
    pub fn is_ambiguous(&self) -> bool {
        self.shared.exposed.load(Ordering::Relaxed)
    }

    /// Keeps Genesys' correlation id of the last call; support asks for it.
    pub fn set_correlation_id(&self, id: &str) {
        let mut kept = self.shared.correlation.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(id.chars().take(MAX_CORRELATION_ID_BYTES).collect());
    }

    /// Genesys' correlation id of the last call that had one.
    pub fn correlation_id(&self) -> Option<String> {
        self.shared.correlation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the participant that was found, so that errors name it too. Only one that the client may
    /// know of.
    pub fn note_participant(&self, participant: ParticipantSummary, by: SelectionRule) {
        let mut kept = self.shared.participant.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((participant, by));
    }

    /// The participant that was found.
    pub fn participant(&self) -> Option<(ParticipantSummary, SelectionRule)> {
        self.shared.participant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its place in a trace, if it is part of one.
    pub fn span(&self) -> Option<&TraceSpan> {
        self.shared.span.as_ref()
    }
}
