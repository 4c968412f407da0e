//! Writes that are in flight, and writes that no read has shown yet.
//!
//! A key that was written but not seen since must not be reported as unchanged: a read may show the
//! state before that write. Everything is bounded: writes in flight by the limits on waiting,
//! pending writes by their age.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use uuid::Uuid;

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

/// Identifies one PATCH. Its entries are removed if the PATCH was certainly not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWriteId(u64);

/// A value that was sent and that no read has shown yet.
#[derive(Debug)]
struct PendingWrite {
    pending_id: PendingWriteId,
    value: Option<AttributeValue>,
    before: Option<AttributeValue>,
    sent: Instant,
    accepted: Option<Instant>,
    given_up: Option<Instant>,
}

impl PendingWrite {
    /// Whether the value differs from the one before; otherwise a read proves nothing.
    fn is_telling(&self) -> bool {
        self.before != self.value
    }

    /// Whether it may still appear: while it is in flight, and for `outstanding` after it was
    /// answered or given up.
    fn is_live(&self, outstanding: Duration) -> bool {
        self.accepted.or(self.given_up).is_none_or(|ended| ended.elapsed() < outstanding)
    }
}

/// A value that was sent and that no read has shown yet, as replicas tell each other.
#[derive(Debug)]
pub struct UnprovedValue {
    pub key: AttributeKey,
    pub value: Option<AttributeValue>,
    pub before: Option<AttributeValue>,
    pub accepted: bool,
}

/// The last change sent of a key, kept while writes to its participant are in flight.
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
    /// Changes known to be applied, by key: an earlier write must not undo them.
    latest: BTreeMap<AttributeKey, LastApplied>,
    /// Changes that may have been applied. They do not overtake earlier writes yet.
    maybe: Vec<(AttributeKey, LastApplied)>,
    /// When the last PATCH was answered or given up.
    answered: Option<Instant>,
    /// The last read that confirmed an accepted write.
    settled: Option<WriteSettlement>,
    /// The last note of another replica, and the id of its values here.
    adopted: Option<(Uuid, PendingWriteId)>,
}

/// A read has confirmed an accepted write. A read sent before the answer may not show that write,
/// and the overlay no longer holds it.
#[derive(Clone, Copy, Debug)]
struct WriteSettlement {
    answered: Instant,
    /// When that read was sent, if it shows everything confirmed before it too.
    read: Option<Instant>,
}

#[derive(Debug, Default)]
struct PendingWritesState {
    participants: ById<ParticipantKey, ParticipantState>,
    /// Writes whose participant is not known yet.
    arriving: ById<ConversationId, WeightedSlots>,
    writes: WeightedSlots,
    weights: ClientWeights,
    last_id: u64,
    swept: Option<Instant>,
    /// Whether a task removes expired entries while no write comes.
    sweeping: bool,
}

/// The pending writes of all participants. Cheap to clone.
#[derive(Clone)]
pub struct PendingWrites {
    state: Arc<Mutex<PendingWritesState>>,
    recorder: Arc<MetricsRecorder>,
    outstanding: Duration,
    waiting: usize,
    waiting_per_participant: usize,
}

impl PendingWrites {
    pub fn new(settings: &AppSettings, recorder: Arc<MetricsRecorder>) -> Self {
        Self {
            state: Arc::default(),
            recorder,
            outstanding: settings.outstanding,
            waiting: settings.waiting,
            waiting_per_participant: settings.waiting_per_participant,
        }
    }

    /// Records a PATCH that is about to be sent, while the map reads `before`. `arrivals` has, by
    /// key, the arrival number of the write whose change is sent.
    pub fn sending(
        &self,
        participant_key: ParticipantKey,
        patch: &Patch,
        before: &AttributeMap,
        arrivals: &BTreeMap<AttributeKey, u64>,
    ) -> PendingWriteId {
        let mut state = self.state();
        state.last_id += 1;
        let pending_id = PendingWriteId(state.last_id);
        let entry = state.participants.entry(participant_key).or_default();
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

    /// Adds values that another replica has sent, unless its note is known. They count as sent and
    /// answered now, since only later reads can prove them.
    pub fn adopt(&self, participant_key: ParticipantKey, note: Uuid, values: Vec<UnprovedValue>) {
        let now = Instant::now();
        let mut state = self.state();
        state.last_id += 1;
        let pending_id = PendingWriteId(state.last_id);
        let entry = state.participants.entry(participant_key).or_default();
        if entry.adopted.is_some_and(|(known, _)| known == note) {
            return;
        }
        if let Some((_, older)) = entry.adopted.replace((note, pending_id)) {
            entry.retain_open(|open| open.pending_id != older);
        }
        entry.answered = Some(now);
        for UnprovedValue { key, value, before, accepted } in values {
            entry.open.entry(key).or_default().push(PendingWrite {
                pending_id,
                value,
                before,
                sent: now,
                accepted: accepted.then_some(now),
                given_up: (!accepted).then_some(now),
            });
        }
    }

    /// The values that were sent and that no read has shown yet.
    pub fn unproved(&self, participant_key: ParticipantKey) -> Vec<UnprovedValue> {
        let by_key = |entry: &mut ParticipantState| {
            let opens = entry
                .open
                .iter()
                .flat_map(|(key, opens)| opens.iter().map(move |open| (key, open)));
            let live = opens.filter(|(_, open)| open.is_live(self.outstanding));
            live.map(|(key, open)| UnprovedValue {
                key: key.clone(),
                value: open.value.clone(),
                before: open.before.clone(),
                accepted: open.accepted.is_some(),
            })
            .collect()
        };
        self.with(participant_key, by_key).unwrap_or_default()
    }

    /// Whether a write that arrived after `arrival` has sent another change of this key. Sending
    /// the earlier one now would undo it.
    pub fn is_overtaken(
        &self,
        participant_key: ParticipantKey,
        key: &AttributeKey,
        arrival: u64,
        to: &KeyChange,
    ) -> bool {
        let is_later = |latest: &LastApplied| latest.arrival > arrival && latest.change != *to;
        self.any(participant_key, |entry| entry.latest.get(key).is_some_and(is_later))
    }

    /// Values of ours that may stand upstream unseen, by key. A read that shows one of them shows
    /// no other writer's value.
    pub fn unseen_values(&self, participant_key: ParticipantKey) -> UnconfirmedValues {
        let values =
            |opens: &Vec<PendingWrite>| opens.iter().map(|open| open.value.clone()).collect();
        let by_key = |entry: &mut ParticipantState| {
            entry.open.iter().map(|(key, opens)| (key.clone(), values(opens))).collect()
        };
        self.with(participant_key, by_key).unwrap_or_default()
    }

    /// Whether another PATCH than `own` has an unknown result that a read sent at `read` does not
    /// settle. A read sent `settle` after the PATCH settles it, whatever it shows.
    pub fn is_unsettled(
        &self,
        participant_key: ParticipantKey,
        own: &[PendingWriteId],
        read: Instant,
        settle: Duration,
    ) -> bool {
        let is_open = |open: &PendingWrite| {
            let since = open.given_up.unwrap_or(open.sent);
            open.accepted.is_none() && !own.contains(&open.pending_id) && read < since + settle
        };
        self.any(participant_key, |entry| entry.open.values().flatten().any(is_open))
    }

    /// When the last PATCH to this participant was answered or given up.
    pub fn answered_last(&self, participant_key: ParticipantKey) -> Option<Instant> {
        self.with(participant_key, |entry| entry.answered)?
    }

    /// Whether a map read at `shown_at` may lack an accepted write that the overlay no longer
    /// holds.
    pub fn is_outdated(&self, participant_key: ParticipantKey, shown_at: Instant) -> bool {
        let lacks =
            |last: WriteSettlement| shown_at <= last.answered && Some(shown_at) != last.read;
        self.any(participant_key, |entry| entry.settled.is_some_and(lacks))
    }

    /// Whether a write of ours has, or may have, cleared this key recently. Then the key is not
    /// lost.
    pub fn is_cleared(&self, participant_key: ParticipantKey, key: &AttributeKey) -> bool {
        let clears = |latest: &LastApplied| latest.change == KeyChange::Clear;
        self.any(participant_key, |entry| {
            let mut opens = entry.open.get(key).into_iter().flatten();
            entry.latest.get(key).is_some_and(clears) || opens.any(|open| open.value.is_none())
        })
    }

    /// Records that the PATCH in flight was answered or given up.
    pub fn answered(&self, participant_key: ParticipantKey) {
        let now = Instant::now();
        self.with(participant_key, |entry| {
            entry.answered = Some(now);
            let opens = entry.open.values_mut().flatten();
            for open in opens.filter(|open| open.accepted.is_none()) {
                open.given_up.get_or_insert(now);
            }
        });
    }

    pub fn accepted(&self, participant_key: ParticipantKey, pending_id: PendingWriteId) {
        self.with(participant_key, |entry| {
            let opens = entry.open.values_mut().flatten();
            for open in opens.filter(|open| open.pending_id == pending_id) {
                open.accepted = Some(Instant::now());
            }
            entry.take_as_applied(pending_id);
        });
    }

    pub fn refused(&self, participant_key: ParticipantKey, pending_id: PendingWriteId) {
        self.with(participant_key, |entry| {
            entry.retain_open(|open| open.pending_id != pending_id);
            entry.maybe.retain(|(_, latest)| latest.pending_id != pending_id);
        });
    }

    /// Applies a read that was sent at `read` to every participant that it shows. Values of ours
    /// that it shows are confirmed, with everything accepted before they were sent. A read sent
    /// before a PATCH says nothing about it. A read sent `settle` after the acceptance ends the
    /// matter even if it shows neither our value nor the one before, or if the two are equal:
    /// another writer was there.
    pub fn apply_snapshot(&self, conversation: &Conversation, read: Instant, settle: Duration) {
        for participant in &conversation.participants {
            self.with((conversation.id, participant.id), |entry| {
                entry.seen(&participant.attributes, read, settle);
            });
        }
    }

    /// Whether no value of ours waits for a read to confirm it.
    pub fn is_idle(&self) -> bool {
        self.state().participants.is_empty()
    }

    /// Whether a write of ours to this key is still unconfirmed.
    pub fn is_open(&self, participant_key: ParticipantKey, key: &AttributeKey) -> bool {
        self.any(participant_key, |entry| {
            let mut opens = entry.open.get(key).into_iter().flatten();
            opens.any(|open| open.is_live(self.outstanding))
        })
    }

    /// What the participant holds now, if a read has shown `shown` and nothing newer is known: with
    /// the values that upstream has accepted and no read has shown yet.
    pub fn expected_state(
        &self,
        participant_key: ParticipantKey,
        shown: &AttributeMap,
    ) -> StateBefore {
        let (mut accepted, mut doubtful) = (Vec::new(), BTreeSet::new());
        self.with(participant_key, |entry| {
            for (key, opens) in &entry.open {
                let live = || opens.iter().rev().filter(|open| open.is_live(self.outstanding));
                if let Some(open) = live().find(|open| open.accepted.is_some()) {
                    let value = open.value.clone().unwrap_or_else(|| AttributeValue::new(""));
                    accepted.push((key.clone(), KeyChange::to(value)));
                }
                if live().next().is_some_and(|open| open.accepted.is_none()) {
                    doubtful.insert(key.clone());
                }
            }
        });
        let map = accepted.into_iter().collect::<Patch>().applied_to(shown);
        StateBefore { map, doubtful }
    }

    fn any(
        &self,
        participant_key: ParticipantKey,
        is_so: impl FnOnce(&mut ParticipantState) -> bool,
    ) -> bool {
        self.with(participant_key, is_so).unwrap_or_default()
    }

    fn with<T>(
        &self,
        participant_key: ParticipantKey,
        work: impl FnOnce(&mut ParticipantState) -> T,
    ) -> Option<T> {
        self.state().participants.get_mut(&participant_key).map(work)
    }

    fn state(&self) -> MutexGuard<'_, PendingWritesState> {
        self.state.lock()
    }
}

impl ParticipantState {
    fn retain_open(&mut self, keep: impl Fn(&PendingWrite) -> bool) {
        self.open.retain(|_, opens| {
            opens.retain(&keep);
            !opens.is_empty()
        });
    }

    fn seen(&mut self, attributes: &AttributeMap, read: Instant, settle: Duration) {
        let mut proofs = Vec::new();
        let mut is_settled = false;
        self.open.retain(|key, opens| {
            let before = opens.len();
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
            // Also for a PATCH without a 2xx: an older map lacks what this read has proved.
            is_settled |= opens.len() < before;
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
        let applied = self.maybe.extract_if(.., |(_, one)| one.pending_id == pending_id);
        self.latest.extend(applied);
    }
}

#[cfg(test)]
mod tests;
