//! A write: read, send the differences in a batch, read back.
//!
//! [`WriteOperation`] is the state of one client's write; reads, `PATCH`es and read-backs are
//! shared with others. Its future can be dropped at any await: the state holds what was learnt
//! until then, enough for a true answer. That is how the deadline and a drain are kept, whatever a
//! call does.

mod audit;
mod prepare;
mod report;
mod state;
mod submit;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use self::state::{SentChanges, VerificationState, WriteBaseline};
use super::batching::{SubmissionHandle, WritePrecondition};
use super::budget_accounts::ReservedCalls;
use super::coalescing::Freshness;
use super::conversation_reads::CoalescedRead;
use super::pending_writes::WriteAdmission;
use super::snapshot::{ParticipantKey, ReadTarget, Snapshot, log_id};
use super::{App, AppInner, access_filter, choose};
use crate::domain::{
    AttributeKey, AttributeMap, Conversation, ConversationId, ParticipantSelector,
    ParticipantSummary, Patch, SelectionRule, SelectorIntent, WriteReport,
};
use crate::error::{Effect, Error, RequestFailure};
use crate::ports::store::ContentDigest;
use crate::ports::{
    AuditScope, PriorityClass, RequestContext, RequestPhase, WriteNotes, state_digest,
};

/// A write that a client asks for.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant.
    pub selector: ParticipantSelector,
    /// The wanted values.
    pub patch: Patch,
    /// The precondition, if there is one.
    pub condition: Option<Arc<dyn WritePrecondition>>,
    /// How to write.
    pub options: WriteOptions,
    /// What is noted of it beyond this process.
    pub notes: Option<Arc<dyn WriteNotes>>,
    /// The request's context.
    pub context: RequestContext,
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Wait for the read-back.
    pub verify: bool,
    /// Only report what would be sent.
    pub dry_run: bool,
    /// Write even if the conversation has ended.
    pub allow_ended: bool,
}

/// How long after the deadline a write that has not ended is stopped. Timers that end with the
/// deadline run first; the answer is still well within 100 ms.
const DEADLINE_MARGIN: Duration = Duration::from_millis(20);

impl App {
    /// Writes attributes and verifies them. Continues when the client hangs up.
    ///
    /// # Errors
    /// With the effect that the write had, or may have had.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteReport, RequestFailure> {
        if self.shared.shutdown.is_draining() {
            return Err(Error::ShuttingDown.into());
        }
        let client = Arc::clone(request.context.client());
        if !client.rights.may_write() {
            return Err(Error::ReadOnlyClient.into());
        }
        access_filter::check_named(&request.selector, &client.rights)?;
        request.context.note_keys(request.patch.keys().map(AttributeKey::as_str));
        let admitted = self
            .shared
            .pending_writes
            .admit(request.conversation, request.context.budget_account())?;
        let audit_scope = request.context.take_audit_scope();
        let (reply, answer) = oneshot::channel();
        let mut operation =
            WriteOperation::new(Arc::clone(&self.shared), request, admitted, audit_scope);
        self.shared.shutdown.tasks().spawn(Box::pin(async move {
            let result = operation.run_to_deadline().await;
            drop(operation);
            // A client that hung up gets no answer.
            let _ = reply.send(result);
        }));
        let ended = answer.await.unwrap_or_else(|_| {
            // The task panicked; the panic hook has logged where.
            let error = Error::Internal("the task of a write panicked".to_owned());
            Err(RequestFailure { error, effect: Effect::Unknown })
        });
        match ended {
            Ok(report) => Ok(access_filter::report(report, &client.rights)),
            Err(failure) => Err(access_filter::failure(
                failure,
                &client.rights,
                self.shared.settings.patch_full,
            )),
        }
    }
}

/// The participant that is written to.
struct WriteTarget {
    participant_key: ParticipantKey,
    participant: ParticipantSummary,
    chosen_by: SelectionRule,
    /// It was chosen from a read that was sent before this write arrived.
    is_remembered: bool,
    /// The selector now matches another participant.
    has_moved: bool,
}

/// One write in progress.
struct WriteOperation {
    shared: Arc<AppInner>,
    request: WriteRequest,
    /// Its number in the order of arrival.
    arrival: u64,
    arrived: Instant,
    /// Counts the write until it is answered.
    admitted: Option<WriteAdmission>,
    /// The audit entry of this write, until it is answered.
    audit_scope: Option<AuditScope>,
    target: Option<WriteTarget>,
    baseline: WriteBaseline,
    sent: SentChanges,
    verification: VerificationState,
    effect: Effect,
    /// Its place in the queue or in a batch.
    handle: Option<SubmissionHandle>,
    /// Calls reserved for the next steps.
    reserved_calls: ReservedCalls,
    /// Why the result of a PATCH is unknown.
    failure: Option<Error>,
    /// Whether the last read showed the conversation as ended.
    ended: bool,
    warnings: Vec<String>,
}

impl WriteOperation {
    fn new(
        shared: Arc<AppInner>,
        request: WriteRequest,
        admitted: WriteAdmission,
        audit_scope: Option<AuditScope>,
    ) -> Self {
        Self {
            arrival: shared.write_queues.arrival(),
            arrived: Instant::now(),
            shared,
            request,
            admitted: Some(admitted),
            audit_scope,
            target: None,
            baseline: WriteBaseline::default(),
            sent: SentChanges::default(),
            verification: VerificationState::default(),
            effect: Effect::NotApplied,
            handle: None,
            reserved_calls: ReservedCalls::default(),
            failure: None,
            ended: false,
            warnings: Vec::new(),
        }
    }

    /// Runs until it ends, or the deadline or the end of a drain stops it.
    async fn run_to_deadline(&mut self) -> Result<WriteReport, RequestFailure> {
        let shutdown = self.shared.shutdown.clone();
        let deadline = self.request.context.deadline() + DEADLINE_MARGIN;
        let result = tokio::select! {
            biased;
            result = self.run() => result,
            () = tokio::time::sleep_until(deadline) => Err(Error::DeadlineExceeded("writing")),
            () = shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        let result = self.finish(result);
        self.finish_audit(&result);
        result
    }

    async fn run(&mut self) -> Result<(), Error> {
        if let Some(audit_scope) = &self.audit_scope {
            audit_scope.intend().await?;
        }
        let mut pending = self.prepare().await?;
        if self.request.options.dry_run {
            self.check_condition()?;
            self.check_size(&pending)?;
            self.sent.changes = pending;
            return Ok(());
        }
        loop {
            // A precondition is checked even if there is nothing to send.
            if !pending.is_empty() || self.request.condition.is_some() {
                self.send(pending).await?;
            }
            // After a 409, or a later client's change, there may be nothing left to verify.
            let in_doubt = !self.sent.changes.is_empty() || self.has_unread();
            if self.request.options.verify && in_doubt {
                self.read_back().await;
            }
            pending = self.take_missing();
            if pending.is_empty() {
                return Ok(());
            }
        }
    }

    /// Reads, possibly together with other requests.
    async fn read(&mut self, wanted: CoalescedRead) -> Result<AttributeMap, Error> {
        let (snapshot, _) = self.shared.reads.call(wanted, &self.request.context).await?;
        self.baseline.is_remembered = false;
        self.apply_snapshot(&snapshot)
    }

    /// Applies what a read showed. The first read chooses the participant; later ones find it by
    /// its id.
    fn apply_snapshot(&mut self, snapshot: &Snapshot) -> Result<AttributeMap, Error> {
        self.verification.read_cost = snapshot.spent.last_attempt();
        self.verification.last_read = Some(snapshot.sent);
        self.resolve_target(&snapshot.conversation)?;
        let (_, id) = self.participant_key()?;
        let found = snapshot.conversation.participant(id);
        self.baseline.shown = found.map(|found| found.attributes.clone()).unwrap_or_default();
        Ok(self.baseline.shown.clone())
    }

    fn subject(&self) -> ReadTarget {
        let target = self.target.as_ref().map(|target| target.participant.id);
        let participant = target.or(self.request.selector.id());
        self.shared.reads.target(self.request.conversation, participant)
    }

    /// Chooses the participant, or checks that it is still there.
    fn resolve_target(&mut self, conversation: &Conversation) -> Result<(), Error> {
        self.ended = conversation.live == Some(false);
        self.note_participant(conversation);
        // Once a PATCH was sent, a read has to show its effect, even in a conversation that has
        // ended.
        if self.effect == Effect::NotApplied && self.earlier().is_none() {
            self.check_live()?;
        }
        if self.ended {
            self.warn("the conversation has ended: analytics will not keep this write");
        }
        if let Some(target) = &self.target {
            let id = target.participant.id;
            if conversation.participant(id).is_none() {
                return Err(Error::ParticipantLeft { participant: id, code: None, message: None });
            }
            self.follow(conversation);
            return Ok(());
        }
        let chosen = choose(&self.request.selector, conversation, SelectorIntent::Write)?;
        let rights = &self.request.context.client().rights;
        if !rights.reaches(chosen.participant, conversation, self.shared.reads.reads_whole()) {
            return Err(access_filter::refused(&self.request.selector));
        }
        let participant_key = (conversation.id, chosen.participant.id);
        if let Some(admitted) = &mut self.admitted {
            admitted.acquire(participant_key)?;
        }
        self.target = Some(WriteTarget {
            participant_key,
            participant: chosen.participant.candidate(),
            chosen_by: chosen.by,
            is_remembered: self.baseline.is_remembered,
            has_moved: false,
        });
        self.follow(conversation);
        Ok(())
    }

    /// Records the participant that the request names, so that errors can name it.
    fn note_participant(&self, conversation: &Conversation) {
        let context = &self.request.context;
        let rights = &context.client().rights;
        if self.target.is_none()
            && let Ok(chosen) = choose(&self.request.selector, conversation, SelectorIntent::Write)
            && rights.reaches(chosen.participant, conversation, self.shared.reads.reads_whole())
        {
            context.note_participant(chosen.participant.candidate(), chosen.by);
        }
    }

    /// Checks the precondition of a dry run.
    fn check_condition(&self) -> Result<(), Error> {
        let (Some(condition), (_, id)) = (&self.request.condition, self.participant_key()?) else {
            return Ok(());
        };
        if condition.holds(id, &self.baseline.shown, &self.request.patch) {
            return Ok(());
        }
        Err(Error::PreconditionFailed { current: condition.current(id, &self.baseline.shown) })
    }

    /// Checks the size of the map that a dry run would send.
    fn check_size(&self, pending: &Patch) -> Result<(), Error> {
        let checked = self
            .shared
            .settings
            .limits
            .check(&self.baseline.shown, &pending.applied_to(&self.baseline.shown));
        checked.map_err(Error::AttributesTooLarge)
    }

    /// The state before an earlier try whose PATCH may have been applied.
    fn earlier(&self) -> Option<ContentDigest> {
        self.request.notes.as_ref()?.earlier()
    }

    /// What the participant holds for the keys of this write.
    fn state_digest(&self, now: &AttributeMap) -> Result<ContentDigest, Error> {
        Ok(state_digest(self.participant_key()?.1, &self.request.patch, now))
    }

    /// Notes the state before a PATCH.
    async fn note_sending(&self) -> Result<(), Error> {
        let Some(notes) = &self.request.notes else { return Ok(()) };
        notes.before_sending(self.state_digest(&self.baseline.shown)?).await
    }

    /// Whether an earlier try has made this write, as `now` shows.
    ///
    /// # Errors
    /// If `now` shows neither that write nor the state before it.
    fn check_earlier(&mut self, now: &AttributeMap) -> Result<bool, Error> {
        let Some(before) = self.earlier() else { return Ok(false) };
        if self.request.patch.is_shown_in(now) {
            // Its own change must not fail its condition.
            self.request.condition = None;
            return Ok(true);
        }
        self.check_live()?;
        if self.state_digest(now)? == before {
            return Ok(false);
        }
        Err(Error::EarlierTrySuperseded)
    }

    /// Whether writes to this conversation are allowed.
    fn check_live(&self) -> Result<(), Error> {
        if self.ended && !self.request.options.allow_ended {
            return Err(Error::ConversationEnded(self.request.conversation));
        }
        Ok(())
    }

    fn participant_key(&self) -> Result<ParticipantKey, Error> {
        let participant_key = self.target.as_ref().map(|target| target.participant_key);
        participant_key.ok_or_else(|| Error::Internal("no participant was chosen".to_owned()))
    }

    fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// The time since `since`; zero if it is `None`.
fn since(since: Option<Instant>) -> Duration {
    since.map(|since| since.elapsed()).unwrap_or_default()
}
