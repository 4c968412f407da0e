//! The turn of a participant: a list of waiting writes, merged at the moment of sending.
//!
//! One task works on the turn of a participant while anybody waits for it. It takes whoever waits
//! at that moment along, in order of arrival, and sends one PATCH for all; who comes later waits
//! for the next. Nobody waits in order to be batched. What became of it is told to each member,
//! which proves its own keys from there on while the next batch goes.
//!
//! A member may leave at any time. What has not left then never will: nothing is sent any more once
//! the deadline of the most impatient member has passed, and the others go again without it.

mod batch;
mod merge;
mod reserve;
mod singles;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::worker::BatchWorker;
use super::coalesced_reads::ReservedCalls;
use super::pending_writes::{ParticipantKey, PendingWriteId};
use super::{AppInner, ById};
use crate::domain::{AttributeKey, AttributeMap, ParticipantId, Patch, UnconfirmedValues};
use crate::error::Error;
use crate::ports::{BudgetAccount, RequestContext, StateBefore, UpstreamFailure};

/// What must be true of a map for a write to be made (`If-Match`, `If-None-Match`).
pub trait WritePrecondition: fmt::Debug + Send + Sync {
    /// Whether it is true of the map that the participant holds now.
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool;

    /// The `ETag` of that map, for a client whose condition is not true.
    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String;
}

/// What a write brings along into the turn.
#[derive(Debug)]
pub struct WriteSubmission {
    /// Its number in the order of arrival.
    pub arrival: u64,
    /// When it arrived.
    pub arrived: Instant,
    /// What it wants to be sent.
    pub patch: Patch,
    /// The map as it has seen it last, and when that read was sent.
    pub shown: AttributeMap,
    pub shown_at: Instant,
    /// What must be true of the map.
    pub condition: Option<Arc<dyn WritePrecondition>>,
    /// `PATCH`es of its own whose fate is unknown.
    pub marks: Vec<PendingWriteId>,
    /// Whether it will read back.
    pub verify: bool,
    /// Deadline and spending.
    pub context: RequestContext,
    /// Calls that were booked for it.
    pub reserved_calls: ReservedCalls,
}

/// What a member of a batch is told.
#[derive(Debug)]
pub enum SubmissionResult {
    /// Nothing of it was sent.
    Refused(Error),
    /// The same, but an earlier PATCH of its own may be the reason.
    Unsettled(Error),
    /// The task of the turn has died; something of it may have been sent.
    Lost,
    /// It was its batch's turn.
    Sent(Box<BatchReceipt>),
}

/// How it went with a batch, for one member.
#[derive(Debug)]
pub struct BatchReceipt {
    /// Changes of this member that were sent.
    pub carried: Patch,
    /// Keys of this member that a later client's change was sent in place of.
    pub overtaken: BTreeSet<AttributeKey>,
    /// All that was sent.
    pub patch: Arc<Patch>,
    /// What reads showed before, and when that read was sent.
    pub shown: Arc<AttributeMap>,
    pub shown_at: Instant,
    /// What stood there, as far as it is known.
    pub state_before: Arc<StateBefore>,
    /// Values that were ours already and may show before these do.
    pub unseen: Arc<UnconfirmedValues>,
    /// When upstream accepted it, or why it did not, or is not known to have.
    pub result: Result<Instant, UpstreamFailure>,
    /// Names the PATCH in the memory of open writes.
    pub pending_id: Option<PendingWriteId>,
    /// Booked for its first read-back.
    pub reserved_calls: ReservedCalls,
    /// What members have told of lost keys already.
    pub losses: Arc<LostKeyReport>,
    /// A number from 0 up to 1, the same for all members: what they do next, they do together.
    pub unit: f64,
}

/// What was counted and logged of keys that are gone after a batch: each once, by one member.
#[derive(Debug, Default)]
pub struct LostKeyReport(Mutex<(BTreeSet<AttributeKey>, bool)>);

impl LostKeyReport {
    /// How many of these keys were not counted before.
    pub fn count(&self, keys: &[AttributeKey]) -> usize {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter(|key| known.0.insert((*key).clone())).count()
    }

    /// Whether this is the first member to find the map replaced.
    pub fn is_first_evidence(&self) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut known.1, true)
    }
}

/// Who waits for whose turn.
#[derive(Default)]
pub struct WriteQueues {
    queues: Mutex<ById<ParticipantKey, ParticipantQueue>>,
    arrivals: AtomicU64,
}

#[derive(Default)]
struct ParticipantQueue {
    /// By number of arrival.
    queued_writes: BTreeMap<u64, QueuedWrite>,
    running: bool,
    /// Whether the last to go went alone.
    alone_went: bool,
    /// When the next batch can leave at the earliest, where the budget of calls decides that.
    expected: Option<Instant>,
    /// On whose account they have been booked.
    accounts: Vec<BudgetAccount>,
    changed: Arc<Notify>,
}

/// A member that waits, or is on its way.
#[derive(Debug)]
struct QueuedWrite {
    submission: WriteSubmission,
    participant_key: Arc<Mutex<SubmissionState>>,
    tell: oneshot::Sender<SubmissionResult>,
    /// It has been put off until then.
    not_before: Option<Instant>,
    put_off: u32,
    /// Its batch was rejected, perhaps for another member's sake: it goes with nobody any more.
    alone: bool,
    entered: Instant,
}

/// Where a member is, as far as it can still change its mind.
#[derive(Debug)]
enum SubmissionState {
    Queued,
    InFlight(RequestContext),
    Cancelled,
}

/// A member's own end of its seat. Dropping it is leaving.
#[derive(Debug)]
pub struct SubmissionHandle {
    shared: std::sync::Weak<AppInner>,
    participant_key: ParticipantKey,
    arrival: u64,
    state: Arc<Mutex<SubmissionState>>,
    told: oneshot::Receiver<SubmissionResult>,
}

impl WriteQueues {
    /// The next number in the order of arrival.
    pub fn arrival(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// Joins the turn of a participant.
    ///
    /// # Errors
    /// If it is known already that its deadline comes before the next batch can leave.
    pub fn submit(
        shared: &Arc<AppInner>,
        participant_key: ParticipantKey,
        submission: WriteSubmission,
    ) -> Result<SubmissionHandle, Error> {
        let (tell, told) = oneshot::channel();
        let (arrival, deadline) = (submission.arrival, submission.context.deadline());
        let state = Arc::new(Mutex::new(SubmissionState::Queued));
        let entered = Instant::now();
        let mut queues = shared.write_queues.queues();
        let queue = queues.entry(participant_key).or_default();
        let account = submission.context.budget_account();
        let is_late = queue.expected.is_some_and(|expected| expected >= deadline);
        // Whoever pays in place of others, or has calls already, may move it forward.
        if is_late && queue.accounts.contains(&account) && !submission.reserved_calls.is_paid() {
            drop(queues);
            return Err(shared.call_budget.refusal(account, 2));
        }
        let queued_write = QueuedWrite {
            submission,
            participant_key: Arc::clone(&state),
            tell,
            not_before: None,
            put_off: 0,
            alone: false,
            entered,
        };
        queue.queued_writes.insert(arrival, queued_write);
        queue.changed.notify_one();
        if !std::mem::replace(&mut queue.running, true) {
            BatchWorker::start(Arc::clone(shared), participant_key);
        }
        drop(queues);
        shared.recorder.writes_waiting(1);
        Ok(SubmissionHandle {
            shared: Arc::downgrade(shared),
            participant_key,
            arrival,
            state,
            told,
        })
    }

    fn queues(&self) -> MutexGuard<'_, ById<ParticipantKey, ParticipantQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubmissionHandle {
    /// Waits until it was this member's turn.
    pub async fn result(&mut self) -> SubmissionResult {
        (&mut self.told).await.unwrap_or(SubmissionResult::Lost)
    }

    /// Whether a PATCH with changes of this member is out, and may have been applied.
    pub fn is_ambiguous(&self) -> bool {
        self.spent().is_some_and(|context| context.is_ambiguous())
    }

    /// What its batch has spent, if it is on its way.
    pub fn spent(&self) -> Option<RequestContext> {
        match &*self.state() {
            SubmissionState::InFlight(context) => Some(context.clone()),
            SubmissionState::Queued | SubmissionState::Cancelled => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, SubmissionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SubmissionHandle {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        // In this order, as whoever puts a seat back takes the two locks.
        let mut queues = shared.write_queues.queues();
        *self.state() = SubmissionState::Cancelled;
        if let Some(queue) = queues.get_mut(&self.participant_key)
            && queue.queued_writes.remove(&self.arrival).is_some()
        {
            queue.changed.notify_one();
            shared.recorder.writes_waiting(-1);
        }
    }
}

impl QueuedWrite {
    fn state(&self) -> MutexGuard<'_, SubmissionState> {
        self.participant_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        matches!(*self.state(), SubmissionState::Cancelled)
    }

    fn deadline(&self) -> Instant {
        self.submission.context.deadline()
    }

    /// Comes along. Whoever has left does not, and who should have been answered by now is told.
    fn mark_in_flight(self, context: &RequestContext) -> Option<Self> {
        if self.deadline() <= Instant::now() {
            self.complete(SubmissionResult::Refused(Error::DeadlineExceeded(
                "waiting for its turn",
            )));
            return None;
        }
        {
            let mut state = self.state();
            if matches!(*state, SubmissionState::Cancelled) {
                return None;
            }
            *state = SubmissionState::InFlight(context.clone());
        }
        Some(self)
    }

    /// Cannot be part of it. What it has sent before may have been applied all the same, and may be
    /// what stands against it: then it has to look again.
    fn fail(self, error: Error) {
        if self.submission.marks.is_empty() {
            return self.complete(SubmissionResult::Refused(error));
        }
        self.complete(SubmissionResult::Unsettled(error));
    }

    fn complete(self, told: SubmissionResult) {
        if matches!(told, SubmissionResult::Refused(_) | SubmissionResult::Unsettled(_)) {
            // Whatever leaves with its batch now is nothing of it.
            *self.state() = SubmissionState::Cancelled;
        }
        // Whoever has left does not want it any more.
        let _ = self.tell.send(told);
    }
}
