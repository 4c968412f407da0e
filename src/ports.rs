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

pub use attempt_log::{Attempt, AttemptEnd, Steps, Trail};
pub use audit::{
    Audit, AuditRecord, Caller, Custody, Dossier, Ending, Finding, KeyEnd, KeyRecord, Print, Stage,
    Stood, Unrecorded,
};
pub use call_budget::{Booking, Class, Pacing, Payer, Permit, Permits, Purse, Unlimited, Wish};
#[cfg(test)]
pub use metrics::NoMeter;
pub use metrics::{Answer, Meter, Operation};
pub use span::{Span, Spans, TraceContext, TraceId};

use crate::domain::{
    AttributeMap, Candidate, ChosenBy, Client, Conversation, ConversationFilter, ConversationId,
    ListPage, Outcome, ParticipantId,
};
use crate::error::Error;

/// A boxed future, as an object-safe trait needs it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a call that failed may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Certainly nothing was applied: it never left, or was refused.
    NotApplied,
    /// It left, and what became of it is not known.
    Unknown,
    /// The same, and upstream failed in a way that is worth one more try only.
    UnknownOnce,
}

/// A call to upstream that failed for good, as far as the client may decide.
#[derive(Clone, Debug)]
pub struct CallFailure {
    /// What went wrong.
    pub error: Error,
    /// Whether it may have been applied all the same.
    pub fate: Fate,
    /// How long upstream asks to be left alone, if it says so (`Retry-After`).
    pub wait: Option<Duration>,
}

/// What to read.
#[derive(Debug)]
pub struct ReadCall {
    /// The conversation.
    pub conversation: ConversationId,
    /// The id that the caller named, for a route that can read single participants only.
    pub participant: Option<ParticipantId>,
    /// Whether the client may try again. Read-backs are repeated by their own schedule.
    pub retries: bool,
    /// The right to make the first try; without it, the client books one.
    pub permit: Option<Permit>,
    /// How important further tries are.
    pub class: Class,
}

/// What a PATCH is to do.
#[derive(Debug)]
pub struct PatchCall {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant.
    pub participant: ParticipantId,
    /// The entries to send; upstream leaves other keys alone.
    pub attributes: AttributeMap,
    /// Whether this request has sent a PATCH before: it then counts as a retry.
    pub again: bool,
    /// The right to make the first try; without it, the client books one.
    pub permit: Option<Permit>,
}

/// One page of the live conversations.
#[derive(Debug)]
pub struct FindCall<'a> {
    /// Which of them.
    pub filter: &'a ConversationFilter,
    /// Its number, from 1 on.
    pub page: u32,
}

/// The attributes of conversations, upstream.
pub trait Conversations: Send + Sync {
    /// Whether a read shows the one participant that it names, and no other.
    fn reads_participants_singly(&self) -> bool;

    /// Reads a conversation.
    fn read<'a>(
        &'a self,
        read: ReadCall,
        cycle: &'a Cycle,
    ) -> BoxFuture<'a, Result<Conversation, Error>>;

    /// Looks for live conversations, a page at a time and the newest first.
    fn find<'a>(
        &'a self,
        find: FindCall<'a>,
        cycle: &'a Cycle,
    ) -> BoxFuture<'a, Result<ListPage, Error>>;

    /// Sends a PATCH. `Ok` means that upstream accepted it, not that it can be seen.
    fn patch<'a>(
        &'a self,
        patch: PatchCall,
        cycle: &'a Cycle,
    ) -> BoxFuture<'a, Result<(), CallFailure>>;
}

/// Where the time of a request goes; the entries of `Server-Timing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
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

impl Phase {
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
const LONGEST_CORRELATION_ID: usize = 64;

/// One request's way through the service: its deadline, and what it spent on the way. Cheap to
/// clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Cycle {
    deadline: Instant,
    start_by: Instant,
    shared: Arc<Spent>,
}

#[derive(Debug)]
struct Spent {
    /// On whose behalf.
    client: Arc<Client>,
    calls: AtomicU32,
    micros: [AtomicU64; Phase::ALL.len()],
    /// A PATCH is out, or was, and what became of it is not known to be nothing.
    exposed: AtomicBool,
    /// Something was given up only for the sake of `start_by`.
    hurried: AtomicBool,
    last_attempt_micros: AtomicU64,
    correlation: Mutex<Option<String>>,
    /// The participant that it turned out to be about.
    participant: Mutex<Option<(Candidate, ChosenBy)>>,
    /// Its place in a trace, if it is part of one.
    span: Option<Span>,
    /// What it did, where that is wanted.
    trail: Option<Trail>,
    /// What is recorded of it, where that is wanted.
    dossier: Option<Dossier>,
}

impl Default for Spent {
    fn default() -> Self {
        Self {
            client: Client::anonymous(),
            calls: AtomicU32::default(),
            micros: <[AtomicU64; Phase::ALL.len()]>::default(),
            exposed: AtomicBool::default(),
            hurried: AtomicBool::default(),
            last_attempt_micros: AtomicU64::default(),
            correlation: Mutex::default(),
            participant: Mutex::default(),
            span: None,
            trail: None,
            dossier: None,
        }
    }
}

impl Cycle {
    /// A request that has to be answered by `deadline`.
    pub fn new(deadline: Instant) -> Self {
        Self::traced(deadline, None)
    }

    /// The same, as part of a trace.
    pub fn traced(deadline: Instant, span: Option<Span>) -> Self {
        let shared = Arc::new(Spent { span, ..Spent::default() });
        Self { deadline, start_by: deadline, shared }
    }

    /// The same on behalf of this caller, and not of nobody in particular. To be asked for before
    /// the cycle is cloned.
    #[must_use]
    pub fn on_behalf_of(mut self, client: Arc<Client>) -> Self {
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
    pub fn payer(&self) -> Payer {
        Payer::from(&**self.client())
    }

    /// The same, with a trail if one is `wanted`. To be asked for before the cycle is cloned.
    #[must_use]
    pub fn recorded(mut self, wanted: bool) -> Self {
        if let (true, Some(spent)) = (wanted, Arc::get_mut(&mut self.shared)) {
            spent.trail = Some(Trail::default());
        }
        self
    }

    /// The same, with a dossier. To be asked for before the cycle is cloned.
    #[must_use]
    pub fn audited(mut self, dossier: Option<Dossier>) -> Self {
        if let (Some(dossier), Some(spent)) = (dossier, Arc::get_mut(&mut self.shared)) {
            spent.dossier = Some(dossier);
        }
        self
    }

    /// What is recorded of it.
    pub fn dossier(&self) -> Option<&Dossier> {
        self.shared.dossier.as_ref()
    }

    /// What was done so far, where that is recorded.
    pub fn trail(&self) -> Option<&Trail> {
        self.shared.trail.as_ref()
    }

    /// The request is about these keys.
    pub fn note_keys<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        if let Some(trail) = self.trail() {
            trail.ask(keys);
        }
    }

    /// This became of the keys that were noted.
    pub fn note_outcomes(&self, outcome: impl Fn(&str) -> Option<Outcome>) {
        if let Some(trail) = self.trail() {
            trail.tell(outcome);
        }
    }

    /// An attempt of this request leaves; whoever makes it tells how it ended. `None` if nobody wants
    /// to know.
    pub fn note_attempt(&self, operation: Operation) -> Option<Arc<Attempt>> {
        let exported = self.span().is_some_and(|span| span.spans().is_some());
        if self.trail().is_none() && !exported {
            return None;
        }
        let attempt = Arc::new(Attempt::begin(operation, self.span().map(Span::step)));
        if let Some(trail) = self.trail() {
            trail.add([Arc::clone(&attempt)]);
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
    pub fn share(&self, other: &Self) {
        self.shared.calls.fetch_add(other.calls(), Ordering::Relaxed);
        for phase in [Phase::Token, Phase::Patch] {
            self.spend(phase, other.spent(phase));
        }
        self.shared
            .last_attempt_micros
            .store(other.shared.last_attempt_micros.load(Ordering::Relaxed), Ordering::Relaxed);
        if let Some(id) = other.correlation_id() {
            self.set_correlation_id(&id);
        }
        if let (Some(trail), Some(others)) = (self.trail(), other.trail()) {
            trail.add(others.steps().attempts);
        }
    }

    /// Something is given up although there would be time for it before the deadline: nothing may
    /// leave so late. Means something where several requests share alone.
    pub fn hurry(&self) {
        if self.start_by < self.deadline {
            self.shared.hurried.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something was given up for the sake of the most impatient of those who share.
    pub fn was_hurried(&self) -> bool {
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
    pub fn spend(&self, phase: Phase, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.shared.micros[phase as usize].fetch_add(micros, Ordering::Relaxed);
    }

    /// Time spent in a phase so far.
    pub fn spent(&self, phase: Phase) -> Duration {
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
    pub fn expose(&self, exposed: bool) {
        self.shared.exposed.store(exposed, Ordering::Relaxed);
    }

    /// Whether a PATCH that left may have been applied.
    pub fn is_exposed(&self) -> bool {
        self.shared.exposed.load(Ordering::Relaxed)
    }

    /// Keeps Genesys' correlation id of the last call; support asks for it.
    pub fn set_correlation_id(&self, id: &str) {
        let mut kept = self.shared.correlation.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(id.chars().take(LONGEST_CORRELATION_ID).collect());
    }

    /// Genesys' correlation id of the last call that had one.
    pub fn correlation_id(&self) -> Option<String> {
        self.shared.correlation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the participant that was found, so that errors name it too. Only one that the client may
    /// know of.
    pub fn note_participant(&self, participant: Candidate, by: ChosenBy) {
        let mut kept = self.shared.participant.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((participant, by));
    }

    /// The participant that was found.
    pub fn participant(&self) -> Option<(Candidate, ChosenBy)> {
        self.shared.participant.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its place in a trace, if it is part of one.
    pub fn span(&self) -> Option<&Span> {
        self.shared.span.as_ref()
    }
}
