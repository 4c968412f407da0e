//! What is remembered of participants between requests: writes under way, and writes whose fate
//! or visibility is still open.
//!
//! A key that we have written and not seen since must not be reported as unchanged: a read may
//! show the state before that write. Everything here is bounded: writes by the limits on waiting,
//! open writes by their age.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

mod write_admission;

pub use self::write_admission::WriteAdmission;
use super::settings::AppSettings;
use super::snapshot::{ById, ParticipantKey};
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, Conversation, ConversationId, KeyChange, Patch,
    UnconfirmedValues,
};
use crate::policy::{ClientWeights, WeightedSlots};
use crate::ports::{MetricsRecorder, StateBefore};

/// Marks the keys of one PATCH; they are taken back by it if the PATCH was certainly not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWriteId(u64);

/// A value of ours that was sent and not seen yet.
#[derive(Debug)]
struct PendingWrite {
    pending_id: PendingWriteId,
    value: Option<AttributeValue>,
    /// What stood there before.
    before: Option<AttributeValue>,
    sent: Instant,
    accepted: Option<Instant>,
    /// When it was given up, if its fate is unknown.
    given_up: Option<Instant>,
}

impl PendingWrite {
    /// Whether the value differs from the one that stood there: else seeing it proves nothing.
    fn is_telling(&self) -> bool {
        self.before != self.value
    }

    /// Whether it may still surface: for `outstanding` after it was answered or given up, and for
    /// as long as it is on its way.
    fn is_live(&self, outstanding: Duration) -> bool {
        self.accepted.or(self.given_up).is_none_or(|ended| ended.elapsed() < outstanding)
    }
}

/// The last change of a key that was sent, while writes to its participant are under way.
#[derive(Debug)]
struct LastApplied {
    pending_id: PendingWriteId,
    arrival: u64,
    change: KeyChange,
}

#[derive(Debug, Default)]
struct ParticipantState {
    writes: WeightedSlots,
    open: BTreeMap<AttributeKey, Vec<PendingWrite>>,
    /// Known to have been applied, by key: what is sent later must not undo it.
    latest: BTreeMap<AttributeKey, LastApplied>,
    /// Not known to have been: nothing has been overtaken by these yet.
    maybe: Vec<(AttributeKey, LastApplied)>,
    /// When a PATCH was answered last, or given up.
    answered: Option<Instant>,
    /// The last read that settled an accepted write.
    settled: Option<WriteSettlement>,
}

/// A read settled an accepted write: a read that was sent before the answer may not show that
/// write, and the overlay does not hold it any more.
#[derive(Clone, Copy, Debug)]
struct WriteSettlement {
    answered: Instant,
    /// When it was sent, if it shows all that was settled before it, too.
    read: Option<Instant>,
}

#[derive(Debug, Default)]
struct PendingWritesState {
    places: ById<ParticipantKey, ParticipantState>,
    /// Writes that have not found their participant yet.
    arriving: ById<ConversationId, WeightedSlots>,
    writes: WeightedSlots,
    /// Among whom places are divided.
    parts: ClientWeights,
    marks: u64,
    swept: Option<Instant>,
    /// A task forgets what expires while nobody writes.
    sweeping: bool,
}

/// The memory. Cheap to clone.
#[derive(Clone)]
pub struct PendingWrites {
    state: Arc<Mutex<PendingWritesState>>,
    recorder: Arc<dyn MetricsRecorder>,
    outstanding: Duration,
    waiting: usize,
    waiting_per_participant: usize,
}

impl PendingWrites {
    /// An empty memory with the bounds of `settings`.
    pub fn new(settings: &AppSettings, recorder: Arc<dyn MetricsRecorder>) -> Self {
        Self {
            state: Arc::default(),
            recorder,
            outstanding: settings.outstanding,
            waiting: settings.waiting,
            waiting_per_participant: settings.waiting_per_participant,
        }
    }

    /// Takes note of a PATCH that is about to leave, while the map reads `before`. `arrivals` are
    /// the numbers of the requests whose changes it carries, by key.
    pub fn sending(
        &self,
        participant_key: ParticipantKey,
        patch: &Patch,
        before: &AttributeMap,
        arrivals: &BTreeMap<AttributeKey, u64>,
    ) -> PendingWriteId {
        let mut state = self.state();
        state.marks += 1;
        let pending_id = PendingWriteId(state.marks);
        let entry = state.places.entry(participant_key).or_default();
        for (key, change) in patch.iter() {
            if let Some(&arrival) = arrivals.get(key) {
                let latest = LastApplied { pending_id, arrival, change: change.clone() };
                entry.maybe.push((key.clone(), latest));
            }
            entry.open.entry(key.clone()).or_default().push(PendingWrite {
                pending_id,
                value: change.wanted().cloned(),
                before: before.get(key.as_str()).cloned(),
                sent: Instant::now(),
                accepted: None,
                given_up: None,
            });
        }
        pending_id
    }

    /// Whether a request that came after number `arrival` has sent another change of this key: to
    /// send the earlier one now would undo the later.
    pub fn is_overtaken(
        &self,
        participant_key: ParticipantKey,
        key: &AttributeKey,
        arrival: u64,
        to: &KeyChange,
    ) -> bool {
        let state = self.state();
        let latest = state.places.get(&participant_key).and_then(|entry| entry.latest.get(key));
        latest.is_some_and(|latest| latest.arrival > arrival && latest.change != *to)
    }

    /// Values of ours that may stand upstream without having been seen, by key: where a read shows
    /// one of them, no other writer was at work.
    pub fn unseen_values(&self, participant_key: ParticipantKey) -> UnconfirmedValues {
        let state = self.state();
        let Some(entry) = state.places.get(&participant_key) else {
            return UnconfirmedValues::new();
        };
        let values =
            |opens: &Vec<PendingWrite>| opens.iter().map(|open| open.value.clone()).collect();
        entry.open.iter().map(|(key, opens)| (key.clone(), values(opens))).collect()
    }

    /// Whether the fate of a PATCH other than `own` is unknown, and a read that was sent at `read`
    /// does not settle it: one that is `settle` younger than the PATCH does, whatever it shows.
    pub fn is_unsettled(
        &self,
        participant_key: ParticipantKey,
        own: &[PendingWriteId],
        read: Instant,
        settle: Duration,
    ) -> bool {
        let state = self.state();
        let Some(entry) = state.places.get(&participant_key) else { return false };
        let open = |open: &PendingWrite| {
            let since = open.given_up.unwrap_or(open.sent);
            open.accepted.is_none() && !own.contains(&open.pending_id) && read < since + settle
        };
        entry.open.values().flatten().any(open)
    }

    /// When a PATCH to this participant was answered last, or given up.
    pub fn answered_last(&self, participant_key: ParticipantKey) -> Option<Instant> {
        self.state().places.get(&participant_key)?.answered
    }

    /// Whether a map that was read at `shown_at` may lack an accepted write that the overlay does
    /// not hold any more.
    pub fn is_outdated(&self, participant_key: ParticipantKey, shown_at: Instant) -> bool {
        let state = self.state();
        let settled = state.places.get(&participant_key).and_then(|entry| entry.settled);
        settled.is_some_and(|last| shown_at <= last.answered && Some(shown_at) != last.read)
    }

    /// Whether a write of ours has cleared this key lately, or may have: then it is not lost.
    pub fn is_cleared(&self, participant_key: ParticipantKey, key: &AttributeKey) -> bool {
        let state = self.state();
        let Some(entry) = state.places.get(&participant_key) else { return false };
        let by = |latest: &LastApplied| latest.change == KeyChange::Clear;
        entry.latest.get(key).is_some_and(by)
            || entry.maybe.iter().any(|(one, latest)| one == key && by(latest))
            || entry
                .open
                .get(key)
                .is_some_and(|opens| opens.iter().any(|open| open.value.is_none()))
    }

    /// A PATCH was answered, or given up: from now on its fate is known, or unknown.
    pub fn answered(&self, participant_key: ParticipantKey) {
        if let Some(entry) = self.state().places.get_mut(&participant_key) {
            let now = Instant::now();
            entry.answered = Some(now);
            let opens = entry.open.values_mut().flatten();
            for open in opens.filter(|open| open.accepted.is_none() && open.given_up.is_none()) {
                open.given_up = Some(now);
            }
        }
    }

    /// The PATCH was accepted.
    pub fn accepted(&self, participant_key: ParticipantKey, pending_id: PendingWriteId) {
        self.each_open(participant_key, |open| {
            if open.pending_id == pending_id {
                open.accepted = Some(Instant::now());
            }
            true
        });
        if let Some(entry) = self.state().places.get_mut(&participant_key) {
            entry.take_as_applied(pending_id);
        }
    }

    /// The PATCH was certainly not applied.
    pub fn refused(&self, participant_key: ParticipantKey, pending_id: PendingWriteId) {
        self.each_open(participant_key, |open| open.pending_id != pending_id);
        if let Some(entry) = self.state().places.get_mut(&participant_key) {
            entry.maybe.retain(|(_, latest)| latest.pending_id != pending_id);
        }
    }

    /// Takes note of a read that was sent at `read`, for everybody whom it showed: what it shows of
    /// ours is proved, and so is everything that was accepted before that one was sent. A read that
    /// left before a PATCH says nothing of it. One that left `settle` after its acceptance, and shows
    /// neither our value nor the one before, or both where they are the same, ends the matter: another
    /// writer was there.
    pub fn apply_snapshot(&self, conversation: &Conversation, read: Instant, settle: Duration) {
        let mut state = self.state();
        for participant in &conversation.participants {
            if let Some(entry) = state.places.get_mut(&(conversation.id, participant.id)) {
                entry.seen(&participant.attributes, read, settle);
            }
        }
    }

    /// Whether there is nothing of ours that a read could prove.
    pub fn is_idle(&self) -> bool {
        self.state().places.is_empty()
    }

    /// Whether a write of ours to this key is still unproved.
    pub fn is_open(&self, participant_key: ParticipantKey, key: &AttributeKey) -> bool {
        let state = self.state();
        let opens = state.places.get(&participant_key).and_then(|entry| entry.open.get(key));
        opens.is_some_and(|opens| opens.iter().any(|open| open.is_live(self.outstanding)))
    }

    /// Our values that upstream has accepted and no read has shown yet: what a map has to be
    /// completed with before it is sent as a whole.
    pub fn accepted_unseen(&self, participant_key: ParticipantKey) -> Patch {
        let state = self.state();
        let Some(entry) = state.places.get(&participant_key) else { return Patch::default() };
        let latest = entry.open.iter().filter_map(|(key, opens)| {
            let accepted =
                |open: &&PendingWrite| open.accepted.is_some() && open.is_live(self.outstanding);
            let open = opens.iter().rev().find(accepted)?;
            let value = open.value.clone().unwrap_or_else(|| AttributeValue::new(""));
            Some((key.clone(), KeyChange::to(value)))
        });
        latest.collect()
    }

    /// What stands there, where a read has shown `shown` and nothing newer is known.
    pub fn expected_state(
        &self,
        participant_key: ParticipantKey,
        shown: &AttributeMap,
    ) -> StateBefore {
        let map = self.accepted_unseen(participant_key).applied_to(shown);
        let state = self.state();
        let in_doubt = |opens: &[PendingWrite]| {
            let last = opens.iter().rev().find(|open| open.is_live(self.outstanding));
            last.is_some_and(|open| open.accepted.is_none())
        };
        let doubtful = state.places.get(&participant_key).map(|entry| {
            let keys = entry.open.iter().filter(|(_, opens)| in_doubt(opens));
            keys.map(|(key, _)| key.clone()).collect()
        });
        StateBefore { map, doubtful: doubtful.unwrap_or_default() }
    }

    fn each_open(
        &self,
        participant_key: ParticipantKey,
        mut keep: impl FnMut(&mut PendingWrite) -> bool,
    ) {
        let mut state = self.state();
        let Some(entry) = state.places.get_mut(&participant_key) else {
            return;
        };
        entry.open.retain(|_, opens| {
            opens.retain_mut(&mut keep);
            !opens.is_empty()
        });
    }

    fn state(&self) -> MutexGuard<'_, PendingWritesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ParticipantState {
    fn seen(&mut self, attributes: &AttributeMap, read: Instant, settle: Duration) {
        let mut proofs = Vec::new();
        let accepted =
            |opens: &[PendingWrite]| opens.iter().filter(|open| open.accepted.is_some()).count();
        let mut is_settled = false;
        self.open.retain(|key, opens| {
            let before = accepted(opens);
            let shown = attributes.get(key.as_str());
            let shows_it = |open: &PendingWrite| {
                open.is_telling() && open.sent <= read && open.value.as_ref() == shown
            };
            if let Some(index) = opens.iter().rposition(shows_it) {
                let (proved, sent) = (opens[index].pending_id, opens[index].sent);
                proofs.push(proved);
                let replaced = |open: &PendingWrite| open.accepted.is_some_and(|at| at <= sent);
                opens.retain(|open| open.pending_id != proved && !replaced(open));
            }
            let ours: Vec<_> = opens.iter().map(|open| open.value.clone()).collect();
            opens.retain(|open| {
                let settled = open.accepted.is_some_and(|at| at + settle <= read);
                let as_before = open.is_telling() && open.before.as_ref() == shown;
                let later = open.is_telling() && ours.iter().any(|value| value.as_ref() == shown);
                !settled || as_before || later
            });
            is_settled |= accepted(opens) < before;
            !opens.is_empty()
        });
        if is_settled {
            let shows_all = self.settled.is_none_or(|last| last.answered < read);
            let read = shows_all.then_some(read);
            self.settled = Some(WriteSettlement { answered: Instant::now(), read });
        }
        for pending_id in proofs {
            self.take_as_applied(pending_id);
        }
    }

    fn take_as_applied(&mut self, pending_id: PendingWriteId) {
        let (applied, maybe) = std::mem::take(&mut self.maybe)
            .into_iter()
            .partition(|(_, one)| one.pending_id == pending_id);
        self.maybe = maybe;
        let applied: Vec<(AttributeKey, LastApplied)> = applied;
        self.latest.extend(applied);
    }
}

#[cfg(test)]
mod tests;
