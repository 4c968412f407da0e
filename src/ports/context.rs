//! The context of one request: its deadline, its client, and what it has used so far.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::attempt_log::AttemptLog;
use super::audit::AuditEntry;
use super::call_budget::BudgetAccount;
use super::metrics::PlatformOperation;
use super::span::{MAX_CORRELATION_ID_BYTES, TraceSpan, UpstreamAttempt};
use crate::domain::{Client, KeyOutcome, ParticipantSummary, SelectionRule};

/// The phases that the time of a request is spent in; the entries of `Server-Timing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPhase {
    /// Waiting in the write queue.
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

/// The context of one request. Cheap to clone; all clones share their usage.
#[derive(Clone, Debug)]
pub struct RequestContext {
    deadline: Instant,
    start_by: Instant,
    shared: Arc<ContextInner>,
}

#[derive(Debug)]
struct ContextInner {
    client: Arc<Client>,
    span: Option<TraceSpan>,
    attempt_log: Option<AttemptLog>,
    audit_entry: Option<AuditEntry>,
    usage: Mutex<RequestUsage>,
}

/// What a request has used and found so far.
#[derive(Debug, Default)]
struct RequestUsage {
    calls: u32,
    spent: [Duration; RequestPhase::ALL.len()],
    /// Something was given up only because of `start_by`.
    was_cut_short: bool,
    last_attempt: Duration,
    correlation_id: Option<String>,
    participant: Option<(ParticipantSummary, SelectionRule)>,
}

/// What is known of a request when its context is made.
#[derive(Debug)]
pub struct ContextParts {
    /// When it has to be answered.
    pub deadline: Instant,
    /// Nothing may be sent from this moment on, if that is before the deadline. Several requests that
    /// share a call set it: the call must not leave after the first of them was refused.
    pub start_by: Option<Instant>,
    /// The client that the request is made for.
    pub client: Arc<Client>,
    /// Its place in a trace, if it is part of one.
    pub span: Option<TraceSpan>,
    /// Whether its attempts are recorded.
    pub has_attempt_log: bool,
    /// Its audit entry, if one is kept.
    pub audit_entry: Option<AuditEntry>,
}

impl ContextParts {
    /// The parts of an anonymous request that is neither traced nor recorded.
    pub fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            start_by: None,
            client: Client::anonymous(),
            span: None,
            has_attempt_log: false,
            audit_entry: None,
        }
    }
}

impl RequestContext {
    /// A context for an anonymous request that has to be answered by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self::from_parts(ContextParts::new(deadline))
    }

    /// A context made of these parts. They cannot be changed later.
    pub fn from_parts(parts: ContextParts) -> Self {
        let ContextParts { deadline, start_by, client, span, has_attempt_log, audit_entry } = parts;
        let attempt_log = has_attempt_log.then(AttemptLog::default);
        let usage = Mutex::default();
        let shared = Arc::new(ContextInner { client, span, attempt_log, audit_entry, usage });
        let start_by = start_by.map_or(deadline, |start_by| start_by.min(deadline));
        Self { deadline, start_by, shared }
    }

    /// The client that the calls are made for.
    pub fn client(&self) -> &Arc<Client> {
        &self.shared.client
    }

    /// The budget account that pays for the calls.
    pub fn budget_account(&self) -> BudgetAccount {
        BudgetAccount::from(&**self.client())
    }

    /// Its audit entry, if one is kept.
    pub fn audit_entry(&self) -> Option<&AuditEntry> {
        self.shared.audit_entry.as_ref()
    }

    /// Its attempts so far, where they are recorded.
    pub fn attempt_log(&self) -> Option<&AttemptLog> {
        self.shared.attempt_log.as_ref()
    }

    /// Its place in a trace, if it is part of one.
    pub fn span(&self) -> Option<&TraceSpan> {
        self.shared.span.as_ref()
    }

    /// Records the keys that the request is about.
    pub fn note_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        if let Some(attempt_log) = self.attempt_log() {
            attempt_log.record_keys(keys);
        }
    }

    /// Records the outcomes of these keys.
    pub fn note_outcomes(&self, outcome: impl Fn(&str) -> Option<KeyOutcome>) {
        if let Some(attempt_log) = self.attempt_log() {
            attempt_log.record_outcomes(outcome);
        }
    }

    /// Records an attempt that leaves now; the layer that makes it records its end. `None` if
    /// attempts of the request are neither recorded nor exported.
    pub fn note_attempt(&self, operation: PlatformOperation) -> Option<Arc<UpstreamAttempt>> {
        let exported = self.span().is_some_and(TraceSpan::is_exported);
        if self.attempt_log().is_none() && !exported {
            return None;
        }
        let attempt = Arc::new(UpstreamAttempt::begin(operation, self.span().map(TraceSpan::step)));
        if let Some(attempt_log) = self.attempt_log() {
            attempt_log.add([Arc::clone(&attempt)]);
        }
        Some(attempt)
    }

    /// When it has to be answered.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time left until the deadline.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Nothing may be sent from this moment on: the deadline, or earlier if several requests share.
    pub fn start_by(&self) -> Instant {
        self.start_by
    }

    /// The same context, in which nothing may be sent from `start_by` on.
    #[must_use]
    pub fn starting_by(&self, start_by: Instant) -> Self {
        Self { start_by: self.start_by.min(start_by), ..self.clone() }
    }

    /// The time left until `start_by`.
    pub fn time_to_start(&self) -> Duration {
        self.start_by.saturating_duration_since(Instant::now())
    }

    /// Adds the usage of another context whose calls were made for this request too.
    pub fn add_usage_of(&self, other: &Self) {
        if let (Some(attempt_log), Some(others)) = (self.attempt_log(), other.attempt_log()) {
            attempt_log.add(others.snapshot().attempts);
        }
        let (calls, last_attempt) = (other.calls(), other.last_attempt());
        let phases = [RequestPhase::Token, RequestPhase::Patch].map(|one| (one, other.spent(one)));
        let correlation_id = other.correlation_id();
        let mut usage = self.usage();
        usage.calls += calls;
        usage.last_attempt = last_attempt;
        usage.correlation_id = correlation_id.or(usage.correlation_id.take());
        for (phase, time) in phases {
            usage.spent[phase as usize] += time;
        }
    }

    /// Records that something was given up because of `start_by`, although the deadline left time for
    /// it. Has an effect only where several requests share.
    pub fn mark_cut_short(&self) {
        if self.start_by < self.deadline {
            self.usage().was_cut_short = true;
        }
    }

    /// Whether something was given up because of the earliest deadline among the sharing requests.
    pub fn was_cut_short(&self) -> bool {
        self.usage().was_cut_short
    }

    /// Counts one call to the platform API (not the token endpoint).
    pub fn count_call(&self) {
        self.usage().calls += 1;
    }

    /// Calls to the platform API so far.
    pub fn calls(&self) -> u32 {
        self.usage().calls
    }

    /// Adds to the time spent in a phase.
    pub fn spend(&self, phase: RequestPhase, time: Duration) {
        self.usage().spent[phase as usize] += time;
    }

    /// Time spent in a phase so far.
    pub fn spent(&self, phase: RequestPhase) -> Duration {
        self.usage().spent[phase as usize]
    }

    /// Records how long the last exchange with upstream took, without the waits around it.
    pub fn set_last_attempt(&self, took: Duration) {
        self.usage().last_attempt = took;
    }

    /// How long the last exchange with upstream took.
    pub fn last_attempt(&self) -> Duration {
        self.usage().last_attempt
    }

    /// Records Genesys' correlation id of the last call; their support asks for it.
    pub fn set_correlation_id(&self, id: &str) {
        let id = id.chars().take(MAX_CORRELATION_ID_BYTES).collect();
        self.usage().correlation_id = Some(id);
    }

    /// Genesys' correlation id of the last call that had one.
    pub fn correlation_id(&self) -> Option<String> {
        self.usage().correlation_id.clone()
    }

    /// Records the participant that was found, so that errors can name it. The client must see it.
    pub fn note_participant(&self, participant: ParticipantSummary, by: SelectionRule) {
        self.usage().participant = Some((participant, by));
    }

    /// The participant that was found.
    pub fn participant(&self) -> Option<(ParticipantSummary, SelectionRule)> {
        self.usage().participant.clone()
    }

    fn usage(&self) -> MutexGuard<'_, RequestUsage> {
        self.shared.usage.lock()
    }
}
