//! The conversations, what was written to them, and what a read sees at a given moment. Pure: the
//! time of every step is an argument, and HTTP is unknown here.
//!
//! A write changes the true map at once, in the order of arrival. A read sees, key by key, the
//! newest write whose `visible_at` has come, so writes of different lag show states in between.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    attributes::{AttributeChanges, AttributeMap},
    load::{LoadError, LoadedConversation},
    shapes::{self, DocumentShape},
};

/// The writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSource {
    /// A PATCH of the API, which in our tests is the gateway.
    Gateway,
    /// Somebody else: a flow, another integration.
    Other,
}

/// One applied write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Position in the order of application, from 0.
    pub seq: u64,
    /// When it was applied.
    pub at: Instant,
    /// The conversation.
    pub conversation: String,
    /// The participant.
    pub participant: String,
    /// The writer.
    pub writer: WriteSource,
    /// What it did to each key; replacing removes the keys it does not name.
    pub changes: AttributeChanges,
    /// The true map before.
    pub before: AttributeMap,
    /// The true map after.
    pub after: AttributeMap,
    /// From when reads show it.
    pub visible_at: Instant,
    /// The `x-request-id` header of the PATCH, if it had one.
    pub request_id: Option<String>,
    /// The `user-agent` header of the PATCH, if it had one. It tells replicas of a client apart.
    pub user_agent: Option<String>,
}

/// A write to be applied.
#[derive(Clone, Debug)]
pub(super) struct PendingWrite {
    pub(super) conversation: String,
    pub(super) participant: String,
    pub(super) writer: WriteSource,
    pub(super) changes: AttributeChanges,
    /// Also remove the keys that `changes` does not name.
    pub(super) replace: bool,
    pub(super) at: Instant,
    pub(super) visible_at: Instant,
    pub(super) request_id: Option<String>,
    pub(super) user_agent: Option<String>,
}

/// Why a write was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteRefusal {
    NoConversation,
    NoParticipant,
    TooLarge,
    Ended,
}

pub(super) struct StoredConversation {
    pub(super) description: String,
    pub(super) ended: bool,
    pub(super) generic: Value,
    calls: Value,
    participants: Vec<StoredParticipant>,
}

struct StoredParticipant {
    id: String,
    truth: AttributeMap,
    /// What every read sees, before `unsettled`.
    base: AttributeMap,
    /// Writes from the first that some read may not see yet, in order of application.
    unsettled: Vec<(Instant, AttributeChanges)>,
}

impl StoredParticipant {
    fn visible(&self, now: Instant) -> AttributeMap {
        let mut map = self.base.clone();
        for (_, changes) in self.unsettled.iter().filter(|(from, _)| *from <= now) {
            apply(&mut map, changes);
        }
        map
    }

    /// Folds in the leading writes that all reads see, so that the list stays short.
    fn settle(&mut self, now: Instant) {
        let seen = self.unsettled.iter().take_while(|(from, _)| *from <= now).count();
        for (_, changes) in self.unsettled.drain(..seen) {
            apply(&mut self.base, &changes);
        }
    }
}

fn apply(map: &mut AttributeMap, changes: &AttributeChanges) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}

/// All conversations and the ledger of writes.
#[derive(Default)]
pub(super) struct PlatformState {
    conversations: BTreeMap<String, StoredConversation>,
    ledger: VecDeque<LedgerEntry>,
    applied: u64,
}

impl PlatformState {
    pub(super) fn add(
        &mut self,
        loaded: LoadedConversation,
        description: String,
    ) -> Result<String, LoadError> {
        let LoadedConversation { id, generic, calls, ended, participants } = loaded;
        if self.conversations.contains_key(&id) {
            return Err(LoadError::Duplicate(id));
        }
        let participants = participants
            .into_iter()
            .map(|(id, map)| StoredParticipant {
                id,
                truth: map.clone(),
                base: map,
                unsettled: Vec::new(),
            })
            .collect();
        let conversation = StoredConversation { description, ended, generic, calls, participants };
        self.conversations.insert(id.clone(), conversation);
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.conversations.remove(id);
    }

    pub(super) fn get(&self, id: &str) -> Option<&StoredConversation> {
        self.conversations.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &StoredConversation)> {
        self.conversations.iter()
    }

    pub(super) fn ledger(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.ledger.iter()
    }

    /// The stored map, which reads may not show yet.
    pub(super) fn truth(&self, conversation: &str, participant: &str) -> Option<&AttributeMap> {
        let found = self.get(conversation)?.participants.iter().find(|p| p.id == participant)?;
        Some(&found.truth)
    }

    /// The participant to use where only the conversation is named.
    pub(super) fn first_participant(&self, conversation: &str) -> Option<String> {
        self.get(conversation)?.participants.first().map(|participant| participant.id.clone())
    }

    /// Ends a conversation at the wall time `when`; false if there is none.
    pub(super) fn end(&mut self, id: &str, when: &str) -> bool {
        let Some(found) = self.conversations.get_mut(id) else {
            return false;
        };
        shapes::end(&mut found.generic, DocumentShape::Generic, when);
        shapes::end(&mut found.calls, DocumentShape::Calls, when);
        found.ended = true;
        true
    }

    /// One conversation as a read at `now` sees it.
    pub(super) fn view(&self, id: &str, shape: DocumentShape, now: Instant) -> Option<Value> {
        let found = self.get(id)?;
        let mut document = match shape {
            DocumentShape::Generic => found.generic.clone(),
            DocumentShape::Calls => found.calls.clone(),
        };
        let people = document["participants"].as_array_mut().into_iter().flatten();
        for (person, known) in people.zip(&found.participants) {
            person["attributes"] = json!(known.visible(now));
        }
        Some(document)
    }

    /// Applies one write, or refuses it whole. `size_limit` is that of the merged map in bytes;
    /// `keep` bounds the ledger.
    pub(super) fn write(
        &mut self,
        write: PendingWrite,
        size_limit: Option<usize>,
        keep: usize,
    ) -> Result<(), WriteRefusal> {
        let conversation =
            self.conversations.get_mut(&write.conversation).ok_or(WriteRefusal::NoConversation)?;
        let mut people = conversation.participants.iter_mut();
        let found =
            people.find(|p| p.id == write.participant).ok_or(WriteRefusal::NoParticipant)?;
        let mut changes = write.changes;
        if write.replace {
            for key in found.truth.keys() {
                changes.entry(key.clone()).or_insert(None);
            }
        }
        let mut after = found.truth.clone();
        apply(&mut after, &changes);
        if size_limit.is_some_and(|limit| json!(after).to_string().len() > limit) {
            return Err(WriteRefusal::TooLarge);
        }
        let before = std::mem::replace(&mut found.truth, after.clone());
        found.unsettled.push((write.visible_at, changes.clone()));
        found.settle(write.at);
        self.ledger.push_back(LedgerEntry {
            seq: self.applied,
            at: write.at,
            conversation: write.conversation,
            participant: write.participant,
            writer: write.writer,
            changes,
            before,
            after,
            visible_at: write.visible_at,
            request_id: write.request_id,
            user_agent: write.user_agent,
        });
        self.applied += 1;
        while self.ledger.len() > keep {
            self.ledger.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::load;

    fn state() -> PlatformState {
        let mut state = PlatformState::default();
        let document = json!({
            "id": "c", "startTime": "2026-01-07T10:00:00.000Z",
            "participants": [{"id": "p", "attributes": {"a": "0"}}],
        });
        state.add(load(&document).expect("well formed"), String::new()).expect("the first");
        state
    }

    fn write(changes: &[(&str, Option<&str>)], at: Instant, lag: u64) -> PendingWrite {
        let owned =
            |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(ToOwned::to_owned));
        PendingWrite {
            conversation: "c".to_owned(),
            participant: "p".to_owned(),
            writer: WriteSource::Gateway,
            changes: changes.iter().map(owned).collect(),
            replace: false,
            at,
            visible_at: at + Duration::from_secs(lag),
            request_id: None,
            user_agent: None,
        }
    }

    fn seen(state: &PlatformState, now: Instant) -> Value {
        let view = state.view("c", DocumentShape::Generic, now).expect("it exists");
        view["participants"][0]["attributes"].clone()
    }

    #[test]
    fn writes_of_different_lag_show_states_in_between() {
        let (mut state, start) = (state(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        state.write(write(&[("a", Some("1")), ("b", Some("1"))], start, 5), None, 9).expect("fits");
        state.write(write(&[("a", Some("2"))], second(1), 1), None, 9).expect("fits");
        assert_eq!(json!(state.truth("c", "p")), json!({"a": "2", "b": "1"}));
        assert_eq!(seen(&state, second(1)), json!({"a": "0"}));
        assert_eq!(seen(&state, second(2)), json!({"a": "2"}));
        assert_eq!(seen(&state, second(5)), json!({"a": "2", "b": "1"}));
    }

    #[test]
    fn keys_are_taken_to_the_letter() {
        let (mut state, now) = (state(), Instant::now());
        let keys = [("A", Some("1")), (" a", Some("2")), ("a  b", Some("3"))];
        state.write(write(&keys, now, 0), None, 9).expect("fits");
        assert_eq!(seen(&state, now), json!({"a": "0", "A": "1", " a": "2", "a  b": "3"}));
    }

    #[test]
    fn replacing_removes_the_keys_not_named_and_the_ledger_says_so() {
        let (mut state, now) = (state(), Instant::now());
        let replacing = PendingWrite { replace: true, ..write(&[("b", Some("1"))], now, 0) };
        state.write(replacing, None, 9).expect("fits");
        let entry = state.ledger().next().expect("one write");
        assert_eq!(json!(entry.changes), json!({"a": null, "b": "1"}));
        assert_eq!(json!(entry.before), json!({"a": "0"}));
        assert_eq!(json!(entry.after), json!({"b": "1"}));
    }

    #[test]
    fn a_map_over_the_limit_is_refused_whole() {
        let (mut state, now) = (state(), Instant::now());
        // {"a":"0","b":"1"} is 17 bytes.
        let wanted = write(&[("b", Some("1"))], now, 0);
        assert_eq!(state.write(wanted.clone(), Some(16), 9), Err(WriteRefusal::TooLarge));
        assert_eq!(json!(state.truth("c", "p")), json!({"a": "0"}));
        assert_eq!(state.write(wanted, Some(17), 9), Ok(()));
    }

    #[test]
    fn the_ledger_keeps_the_newest() {
        let (mut state, now) = (state(), Instant::now());
        for _ in 0..5 {
            state.write(write(&[("a", None)], now, 0), None, 2).expect("fits");
        }
        let kept: Vec<u64> = state.ledger().map(|entry| entry.seq).collect();
        assert_eq!(kept, [3, 4]);
    }
}
