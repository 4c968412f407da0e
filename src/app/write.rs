//! Writing: read, send what differs, read back.
//!
//! [`Flow`] is the state of one write. Its future can be dropped at any await: what was learnt
//! until then is in the flow, and an answer that is true can be made of it. That is how the
//! deadline and a drain are kept whatever a call does.

mod finish;
mod read_back;
mod send;
mod survival;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::held::{Admitted, Place};
use super::{App, Shared, choose, log_id};
use crate::domain::{
    AttributeKey, AttributeMap, Candidate, ChosenBy, Conversation, ConversationId, Evidence,
    Intent, ParticipantSelector, Patch, Watch, WriteReport,
};
use crate::error::{Effect, Error, Failure};
use crate::ports::{Cycle, Phase, ReadCall};

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

/// How long after the deadline a flow that did not end by itself is ended. Timers that end with
/// the deadline get to run first; the answer is still well within 100 ms.
const GRACE: Duration = Duration::from_millis(20);

impl App {
    /// Writes attributes, and proves it. Goes on when the caller hangs up.
    ///
    /// # Errors
    /// With the effect that the write had, or may have had, until then.
    pub async fn write(&self, request: WriteRequest) -> Result<WriteReport, Failure> {
        if self.shared.shutdown.is_draining() {
            return Err(Error::ShuttingDown.into());
        }
        let admitted = self.shared.held.admit()?;
        let (reply, answer) = oneshot::channel();
        let mut flow = Flow::new(Arc::clone(&self.shared), request, admitted);
        self.shared.shutdown.tasks().spawn(async move {
            let result = flow.drive().await;
            flow.admitted = None;
            // A caller who has hung up does not want it any more.
            let _ = reply.send(result);
            flow.watch_survival().await;
        });
        answer.await.unwrap_or_else(|_| {
            // The task panicked; the hook has logged where.
            let error = Error::Internal("the task of a write panicked".to_owned());
            Err(Failure { error, effect: Effect::Unknown })
        })
    }
}

/// The participant that is written to.
struct Target {
    place: Place,
    participant: Candidate,
    chosen_by: ChosenBy,
}

/// One write on its way.
struct Flow {
    shared: Arc<Shared>,
    request: WriteRequest,
    /// Counts the write until it is answered.
    admitted: Option<Admitted>,
    target: Option<Target>,
    /// The map before anything of ours was sent.
    before: AttributeMap,
    /// The map as last read.
    shown: AttributeMap,
    /// Whether `shown` was read after the last PATCH was accepted.
    shown_after: bool,
    /// Keys that need no sending, watched lest they are replaced.
    kept: Watch,
    /// Everything that was sent.
    sent: Patch,
    /// Keys that upstream has accepted in a PATCH.
    taken: BTreeSet<AttributeKey>,
    /// Keys that were sent, watched until they show.
    watch: Watch,
    effect: Effect,
    /// While a PATCH is under way: the effect before it.
    under_way: Option<Effect>,
    accepted: Option<Instant>,
    reads: u32,
    last_read: Option<Instant>,
    /// Until when upstream wants to be left alone.
    throttled: Option<Instant>,
    /// What a read takes, as last measured.
    read_cost: Duration,
    /// Reads that showed nothing but our PATCH.
    replaced_reads: u32,
    repaired: bool,
    /// Whether the last read showed the conversation as over.
    ended: bool,
    warnings: Vec<String>,
}

impl Flow {
    fn new(shared: Arc<Shared>, request: WriteRequest, admitted: Admitted) -> Self {
        Self {
            shared,
            request,
            admitted: Some(admitted),
            target: None,
            before: AttributeMap::default(),
            shown: AttributeMap::default(),
            shown_after: false,
            kept: Watch::default(),
            sent: Patch::default(),
            taken: BTreeSet::new(),
            watch: Watch::default(),
            effect: Effect::NotApplied,
            under_way: None,
            accepted: None,
            reads: 0,
            last_read: None,
            throttled: None,
            read_cost: Duration::ZERO,
            replaced_reads: 0,
            repaired: false,
            ended: false,
            warnings: Vec::new(),
        }
    }

    /// Runs to its end, the deadline, or the end of a drain.
    async fn drive(&mut self) -> Result<WriteReport, Failure> {
        let shutdown = self.shared.shutdown.clone();
        let deadline = self.request.cycle.deadline() + GRACE;
        let result = tokio::select! {
            biased;
            result = self.run() => result,
            () = tokio::time::sleep_until(deadline) => Err(Error::DeadlineExceeded("writing")),
            () = shutdown.drain_over() => Err(Error::ShuttingDown),
        };
        self.finish(result)
    }

    async fn run(&mut self) -> Result<(), Error> {
        let pending = self.plan().await?;
        if pending.is_empty() || self.request.options.dry_run {
            self.sent = pending;
            return Ok(());
        }
        self.send(pending).await?;
        // After a 409 there may be nothing left to send, and so nothing to prove.
        if self.request.options.verify && !self.sent.is_empty() {
            self.read_back().await;
        }
        Ok(())
    }

    /// Reads, and finds out what has to be sent.
    async fn plan(&mut self) -> Result<Patch, Error> {
        let cycle = self.request.cycle.clone();
        let now = self.read(Some(Phase::Read), &cycle).await?;
        self.before = now.clone();
        self.pending(&now)
    }

    /// The changes that `now` does not show, or that are not certain to stay as shown.
    fn pending(&mut self, now: &AttributeMap) -> Result<Patch, Error> {
        let place = self.place()?;
        let wanted = &self.request.patch;
        let missing = wanted.missing_in(now);
        let held = &self.shared.held;
        let pending = wanted.only(|key| missing.get(key).is_some() || held.is_open(place, key));
        let kept = wanted.only(|key| pending.get(key).is_none());
        self.kept = Watch::new(&kept, now);
        self.kept.observe(now, Duration::ZERO);
        Ok(pending)
    }

    /// Reads the participant. The first read chooses it; later ones find it again by its id.
    /// A read-back belongs to no phase by itself, and is repeated by its own schedule alone.
    async fn read(&mut self, phase: Option<Phase>, cycle: &Cycle) -> Result<AttributeMap, Error> {
        let target = self.target.as_ref().map(|target| target.participant.id);
        let call = ReadCall {
            conversation: self.request.conversation,
            participant: target.or(self.request.selector.id()),
            retries: phase.is_some(),
            permit: None,
        };
        let start = Instant::now();
        let read = self.shared.conversations.read(call, cycle).await;
        if let Some(phase) = phase {
            cycle.spend(phase, start.elapsed());
        }
        let conversation = read?;
        self.read_cost = cycle.last_attempt();
        self.last_read = Some(start);
        self.aim(&conversation)?;
        let place = self.place()?;
        let found = conversation.participants.into_iter().find(|other| other.id == place.1);
        let attributes = found.map(|participant| participant.attributes).unwrap_or_default();
        self.shared.held.seen(place, &attributes, start);
        self.shown = attributes.clone();
        Ok(attributes)
    }

    /// Chooses the participant, or sees to it that it is still there.
    fn aim(&mut self, conversation: &Conversation) -> Result<(), Error> {
        self.ended = conversation.live == Some(false);
        // Once a PATCH has left, a read is to show what became of it, also when all is over.
        if self.effect == Effect::NotApplied {
            self.check_live()?;
        }
        if let Some(target) = &self.target {
            let still_there = conversation.participant(target.participant.id).is_some();
            return if still_there {
                Ok(())
            } else {
                Err(Error::UpstreamInvalidResponse("the participant is gone".to_owned()))
            };
        }
        let chosen = choose(&self.request.selector, conversation, Intent::Write)?;
        let place = (conversation.id, chosen.participant.id);
        if let Some(admitted) = &mut self.admitted {
            admitted.enter(place)?;
        }
        self.target = Some(Target {
            place,
            participant: chosen.participant.candidate(),
            chosen_by: chosen.by,
        });
        if self.ended {
            self.warn("the conversation has ended: analytics will not keep this write");
        }
        Ok(())
    }

    /// Whether there may be sent to this conversation.
    fn check_live(&self) -> Result<(), Error> {
        if self.ended && !self.request.options.allow_ended {
            return Err(Error::ConversationEnded(self.request.conversation));
        }
        Ok(())
    }

    fn place(&self) -> Result<Place, Error> {
        let place = self.target.as_ref().map(|target| target.place);
        place.ok_or_else(|| Error::Internal("no participant was chosen".to_owned()))
    }

    fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Time since `since`, or nothing if there is no such time.
fn since(since: Option<Instant>) -> Duration {
    since.map(|since| since.elapsed()).unwrap_or_default()
}
