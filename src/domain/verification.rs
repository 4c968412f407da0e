//! Write verification: compares the keys that were sent with the reads that followed.
//!
//! Upstream answers 202 before a change is visible, so a read may still show the earlier value. Such
//! a read proves nothing. A third value, neither the earlier one nor ours, may have been written
//! before ours and become visible late. It counts as a later write only after it has been visible
//! for the settle time. The last read decides.
//!
//! All times are durations since one origin, which the caller chooses.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attributes::{AttributeKey, AttributeMap, AttributeValue};
use super::patch::{KeyChange, Patch};
use super::report::KeyOutcome;

#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyState {
    /// It shows the earlier value, or has not been read since.
    Before,
    /// The last read showed the wanted value.
    Wanted,
    /// A read showed the wanted value, and the last one another.
    Replaced,
    /// It has shown this third value since this time.
    Third(Option<AttributeValue>, Duration),
}

/// Values of ours that upstream may hold although no read has shown them, by key.
pub type UnconfirmedValues = BTreeMap<AttributeKey, Vec<Option<AttributeValue>>>;

/// How long a third value must be visible before it counts as a later write of another writer.
#[derive(Clone, Copy, Debug)]
pub struct SettleTime {
    /// The time derived from the measured visibility lags.
    pub measured: Duration,
    /// The longest expected lag. It applies if the earlier value comes from the cache, because the
    /// third value may then be the true earlier value.
    pub longest: Duration,
}

#[derive(Clone, Debug)]
struct TrackedKey {
    change: KeyChange,
    before: Option<AttributeValue>,
    /// `before` comes from the cache, and no read of this write has confirmed it.
    is_remembered: bool,
    /// A third value may be older than our change of unknown fate, or newer. No read can tell.
    is_undecidable: bool,
    /// Our own earlier values, which may still become visible. They are not another writer's.
    unseen: Vec<Option<AttributeValue>>,
    /// A PATCH carried it. A key that was left out had the wanted value already.
    is_sent: bool,
    key_state: KeyState,
}

impl TrackedKey {
    /// Whether reading the wanted value proves that our write was applied. It proves nothing if the key
    /// already showed that value, or if an earlier write of ours may produce it.
    fn is_conclusive(&self) -> bool {
        !self.is_earlier(self.change.wanted())
    }

    /// Whether this may be the value before the change.
    fn is_earlier(&self, shown: Option<&AttributeValue>) -> bool {
        self.before.as_ref() == shown || self.unseen.iter().any(|value| value.as_ref() == shown)
    }

    fn observe(&mut self, shown: Option<&AttributeValue>, at: Duration) {
        let seen = matches!(self.key_state, KeyState::Wanted | KeyState::Replaced);
        self.key_state = if shown == self.change.wanted() {
            KeyState::Wanted
        } else if seen && (self.is_conclusive() || !self.is_sent) {
            KeyState::Replaced
        } else if self.is_earlier(shown) {
            self.is_remembered &= self.before.as_ref() != shown;
            KeyState::Before
        } else {
            match &self.key_state {
                KeyState::Third(value, since) if value.as_ref() == shown => {
                    KeyState::Third(value.clone(), *since)
                }
                _ => KeyState::Third(shown.cloned(), at),
            }
        };
    }
}

/// Tracks the keys of one write until each is verified.
#[derive(Clone, Debug, Default)]
pub struct WriteVerifier {
    keys: BTreeMap<AttributeKey, TrackedKey>,
    last_read: Option<Duration>,
}

impl WriteVerifier {
    /// Tracks keys that are not sent, because `before` shows their wanted values.
    pub fn unsent(kept: &Patch, before: &AttributeMap) -> Self {
        let mut verifier = Self::default();
        verifier.add(kept, before, &UnconfirmedValues::new(), false);
        verifier.keys.values_mut().for_each(|tracked| tracked.is_sent = false);
        verifier
    }

    /// Tracks keys of a PATCH that are not tracked yet. With `is_remembered`, `before` is from the cache.
    pub fn add(
        &mut self,
        sent: &Patch,
        before: &AttributeMap,
        unseen: &UnconfirmedValues,
        is_remembered: bool,
    ) {
        for (key, change) in sent.iter() {
            self.keys.entry(key.clone()).or_insert_with(|| TrackedKey {
                change: change.clone(),
                before: before.get(key.as_str()).cloned(),
                is_remembered,
                is_undecidable: false,
                unseen: unseen.get(key).cloned().unwrap_or_default(),
                is_sent: true,
                key_state: KeyState::Before,
            });
        }
    }

    /// Records the result of a read.
    pub fn observe(&mut self, read: &AttributeMap, at: Duration) {
        self.last_read = Some(at);
        for (key, tracked) in &mut self.keys {
            tracked.observe(read.get(key.as_str()), at);
        }
    }

    /// Replaces remembered earlier values by third values that reads have shown. Returns their keys.
    pub fn correct_memory(&mut self) -> Vec<AttributeKey> {
        let mut corrected = Vec::new();
        for (key, tracked) in self.keys.iter_mut().filter(|(_, tracked)| tracked.is_remembered) {
            if let KeyState::Third(value, _) = &tracked.key_state {
                tracked.before.clone_from(value);
                tracked.key_state = KeyState::Before;
                corrected.push(key.clone());
            }
            tracked.is_remembered = false;
        }
        corrected
    }

    /// Takes third values that may be older or newer than the change as undecidable.
    pub fn doubt_memory(&mut self) {
        for tracked in self.keys.values_mut().filter(|tracked| tracked.is_remembered) {
            tracked.is_undecidable |= matches!(tracked.key_state, KeyState::Third(..));
        }
    }

    /// Whether every key shows its wanted value, or another writer has replaced it.
    pub fn is_settled(&self, settle: SettleTime) -> bool {
        self.keys.keys().all(|key| self.outcome(key, settle) != Some(KeyOutcome::Unverified))
    }

    /// Whether the last read showed the wanted value of every key.
    pub fn all_wanted(&self) -> bool {
        self.keys.values().all(|tracked| tracked.key_state == KeyState::Wanted)
    }

    /// Whether a read showed the wanted value of this key, and so proves that its PATCH was applied.
    pub fn is_proved(&self, key: &AttributeKey) -> bool {
        self.keys.get(key).is_some_and(|tracked| {
            let seen = matches!(tracked.key_state, KeyState::Wanted | KeyState::Replaced);
            seen && tracked.is_conclusive() && !tracked.is_remembered
        })
    }

    /// Whether the last read showed the wanted value of any key that did not have it before.
    pub fn shows_any(&self) -> bool {
        let shown =
            |tracked: &TrackedKey| tracked.key_state == KeyState::Wanted && tracked.is_conclusive();
        self.keys.values().any(shown)
    }

    /// The changes that may be sent again after a PATCH with an unknown result: those whose keys still
    /// show the earlier value. A key with a third value is never sent again, because that would undo
    /// another writer's change.
    pub fn still_before(&self) -> Patch {
        self.changes(|tracked| match tracked.key_state {
            KeyState::Before => true,
            KeyState::Wanted => !tracked.is_conclusive(),
            KeyState::Replaced | KeyState::Third(..) => false,
        })
    }

    /// The changes whose keys show a third value.
    pub fn third(&self) -> Patch {
        self.changes(|tracked| matches!(tracked.key_state, KeyState::Third(..)))
    }

    fn changes(&self, which: impl Fn(&TrackedKey) -> bool) -> Patch {
        let changes = self.keys.iter().filter(|(_, tracked)| which(tracked));
        changes.map(|(key, tracked)| (key.clone(), tracked.change.clone())).collect()
    }

    /// Stops tracking these keys.
    pub fn remove(&mut self, keys: &Patch) {
        self.keys.retain(|key, _| keys.get(key).is_none());
    }

    /// The outcome of a key; `None` if it is not tracked.
    pub fn outcome(&self, key: &AttributeKey, settle: SettleTime) -> Option<KeyOutcome> {
        let tracked = self.keys.get(key)?;
        let settle = if tracked.is_remembered { settle.longest } else { settle.measured };
        Some(match &tracked.key_state {
            KeyState::Before => KeyOutcome::Unverified,
            KeyState::Wanted => match tracked.change {
                KeyChange::Set(_) => KeyOutcome::Verified,
                KeyChange::Clear => KeyOutcome::Cleared,
            },
            KeyState::Replaced => KeyOutcome::Superseded,
            KeyState::Third(..) if tracked.is_undecidable => KeyOutcome::Unverified,
            KeyState::Third(_, since) => {
                let has_settled =
                    self.last_read.is_some_and(|last| last.saturating_sub(*since) >= settle);
                if has_settled { KeyOutcome::Superseded } else { KeyOutcome::Unverified }
            }
        })
    }

    /// Whether `read` contains exactly `sent`, although `before` had at least two other keys. If two
    /// reads after one write show this, upstream replaces the map.
    pub fn looks_replaced(sent: &Patch, before: &AttributeMap, read: &AttributeMap) -> bool {
        let unsent = |key: &&AttributeKey| sent.get(key).is_none();
        // A cleared key may be absent, and is also absent from a replaced map.
        let shows_a_value = sent.iter().any(|(_, change)| change.wanted().is_some());
        shows_a_value
            && sent.is_shown_in(read)
            && before.iter().map(|(key, _)| key).filter(unsent).nth(1).is_some()
            // Empty entries show that another writer cleared keys, and that the map was not replaced.
            && read.iter_held().map(|(key, _)| key).find(unsent).is_none()
    }

    /// Keys of `before` that were not sent and are missing from `read`.
    pub fn lost(sent: &Patch, before: &AttributeMap, read: &AttributeMap) -> Vec<AttributeKey> {
        // The usual case.
        if before.iter().map(|(key, _)| key).eq(read.iter().map(|(key, _)| key)) {
            return Vec::new();
        }
        let is_missing =
            |key: &&AttributeKey| sent.get(key).is_none() && read.get(key.as_str()).is_none();
        before.iter().map(|(key, _)| key).filter(is_missing).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attributes::tests::map;
    use crate::domain::patch::tests::patch;

    const SETTLE: SettleTime =
        SettleTime { measured: Duration::from_secs(1), longest: Duration::from_secs(10) };

    fn after(
        before: &[(&str, &str)],
        sent: &[(&str, &str)],
        reads: &[(u64, &[(&str, &str)])],
    ) -> WriteVerifier {
        let mut verifier = WriteVerifier::default();
        verifier.add(&patch(sent), &map(before), &UnconfirmedValues::new(), false);
        for (at, read) in reads {
            verifier.observe(&map(read), Duration::from_millis(*at));
        }
        verifier
    }

    fn outcome(verifier: &WriteVerifier) -> KeyOutcome {
        verifier.outcome(&AttributeKey::existing("k"), SETTLE).expect("tracked")
    }

    #[test]
    fn a_read_that_shows_the_state_before_proves_nothing() {
        let verifier = after(
            &[("k", "old")],
            &[("k", "new")],
            &[(0, &[("k", "old")]), (9000, &[("k", "old")])],
        );
        assert_eq!(outcome(&verifier), KeyOutcome::Unverified);
        assert!(!verifier.is_settled(SETTLE));
    }

    #[test]
    fn the_wanted_value_read_back_is_the_proof() {
        let verifier = after(&[], &[("k", "new")], &[(0, &[]), (50, &[("k", "new")])]);
        assert_eq!(outcome(&verifier), KeyOutcome::Verified);
        let cleared = after(&[("k", "old")], &[("k", "")], &[(50, &[("k", "")])]);
        assert_eq!(outcome(&cleared), KeyOutcome::Cleared);
    }

    #[test]
    fn seen_and_then_replaced_is_superseded_at_once() {
        let reads: &[(u64, &[(&str, &str)])] = &[(0, &[("k", "new")]), (10, &[("k", "theirs")])];
        assert_eq!(outcome(&after(&[], &[("k", "new")], reads)), KeyOutcome::Superseded);
        let back: &[(u64, &[(&str, &str)])] = &[(0, &[("k", "new")]), (10, &[("k", "old")])];
        assert_eq!(outcome(&after(&[("k", "old")], &[("k", "new")], back)), KeyOutcome::Superseded);
    }

    #[test]
    fn the_value_before_is_not_ours_although_it_is_wanted() {
        // An earlier value of ours was in flight, so the wanted one was sent although it stood there.
        let verifier = || {
            let mut verifier = WriteVerifier::default();
            let late = [(AttributeKey::existing("k"), vec![Some(AttributeValue::new("late"))])];
            let unseen = UnconfirmedValues::from(late);
            verifier.add(&patch(&[("k", "1")]), &map(&[("k", "1")]), &unseen, false);
            verifier.observe(&map(&[("k", "1")]), Duration::ZERO);
            verifier
        };
        let mut own = verifier();
        own.observe(&map(&[("k", "late")]), Duration::from_millis(50));
        assert_eq!(outcome(&own), KeyOutcome::Unverified);
        let mut foreign = verifier();
        foreign.observe(&map(&[("k", "theirs")]), Duration::from_millis(50));
        assert_eq!(outcome(&foreign), KeyOutcome::Unverified, "perhaps older than the PATCH");
        foreign.observe(&map(&[("k", "theirs")]), Duration::from_millis(1050));
        assert_eq!(outcome(&foreign), KeyOutcome::Superseded);
    }

    #[test]
    fn an_unsent_key_that_was_in_place_and_is_replaced_is_superseded() {
        let mut verifier = WriteVerifier::unsent(&patch(&[("k", "1")]), &map(&[("k", "1")]));
        verifier.observe(&map(&[("k", "1")]), Duration::ZERO);
        verifier.observe(&map(&[("k", "theirs")]), Duration::from_millis(50));
        assert_eq!(outcome(&verifier), KeyOutcome::Superseded);
    }

    #[test]
    fn a_third_value_must_be_visible_before_it_counts() {
        let third: &[(&str, &str)] = &[("k", "theirs")];
        let early = after(&[], &[("k", "new")], &[(0, third), (999, third)]);
        assert_eq!(outcome(&early), KeyOutcome::Unverified);
        let stood = after(&[], &[("k", "new")], &[(0, third), (1000, third)]);
        assert_eq!(outcome(&stood), KeyOutcome::Superseded);
        let ours_at_last = after(&[], &[("k", "new")], &[(0, third), (2000, &[("k", "new")])]);
        assert_eq!(outcome(&ours_at_last), KeyOutcome::Verified);
    }

    #[test]
    fn a_third_value_that_gives_way_to_the_old_one_starts_again() {
        let third: &[(&str, &str)] = &[("k", "theirs")];
        let old: &[(&str, &str)] = &[("k", "old")];
        let verifier =
            after(old, &[("k", "new")], &[(0, third), (600, old), (700, third), (1500, third)]);
        assert_eq!(outcome(&verifier), KeyOutcome::Unverified);
    }

    #[test]
    fn only_keys_that_look_as_before_may_be_sent_again() {
        let verifier = after(
            &[("old", "1"), ("theirs", "1"), ("done", "1")],
            &[("old", "2"), ("theirs", "2"), ("done", "2")],
            &[(0, &[("old", "1"), ("theirs", "3"), ("done", "2")])],
        );
        assert_eq!(verifier.still_before(), patch(&[("old", "2")]));
        assert!(verifier.is_proved(&AttributeKey::existing("done")));
    }

    #[test]
    fn an_unchanged_wanted_value_proves_nothing() {
        let same: &[(&str, &str)] = &[("k", "1")];
        let verifier = after(same, same, &[(0, same)]);
        assert!(!verifier.is_proved(&AttributeKey::existing("k")) && !verifier.shows_any());
        assert_eq!(verifier.still_before(), patch(same));
    }

    #[test]
    fn another_third_value_has_to_stand_by_itself() {
        let one: &[(&str, &str)] = &[("k", "x")];
        let two: &[(&str, &str)] = &[("k", "y")];
        let verifier = after(&[], &[("k", "new")], &[(0, one), (900, two), (1800, two)]);
        assert_eq!(outcome(&verifier), KeyOutcome::Unverified);
    }

    #[test]
    fn a_third_value_after_a_remembered_one_may_be_the_one_before() {
        let third: &[(&str, &str)] = &[("k", "theirs")];
        let mut verifier = WriteVerifier::default();
        verifier.add(
            &patch(&[("k", "new")]),
            &map(&[("k", "old")]),
            &UnconfirmedValues::new(),
            true,
        );
        for at in [0, 1_000, 9_999] {
            verifier.observe(&map(third), Duration::from_millis(at));
            assert_eq!(outcome(&verifier), KeyOutcome::Unverified);
        }
        let mut stood = verifier.clone();
        stood.observe(&map(third), Duration::from_secs(10));
        assert_eq!(outcome(&stood), KeyOutcome::Superseded);
        // After the correction, that value is the earlier one, and any other is a third value.
        assert_eq!(verifier.correct_memory(), [AttributeKey::existing("k")]);
        assert_eq!(verifier.still_before(), patch(&[("k", "new")]));
        verifier.observe(&map(&[("k", "third")]), Duration::ZERO);
        assert!(verifier.correct_memory().is_empty());
        assert!(verifier.still_before().is_empty());
    }

    #[test]
    fn a_remembered_value_that_a_read_confirms_is_remembered_no_longer() {
        let mut verifier = WriteVerifier::default();
        let late = [(AttributeKey::existing("k"), vec![Some(AttributeValue::new("late"))])];
        let unseen = UnconfirmedValues::from(late);
        verifier.add(&patch(&[("k", "new")]), &map(&[("k", "old")]), &unseen, true);
        let stands = |mut verifier: WriteVerifier, shown: &str| {
            verifier.observe(&map(&[("k", shown)]), Duration::ZERO);
            for at in [1, 1_001] {
                verifier.observe(&map(&[("k", "theirs")]), Duration::from_millis(at));
            }
            outcome(&verifier)
        };
        assert_eq!(stands(verifier.clone(), "late"), KeyOutcome::Unverified);
        assert_eq!(stands(verifier, "old"), KeyOutcome::Superseded);
    }

    #[test]
    fn a_new_wanted_value_shows_that_a_read_has_seen_the_write() {
        let read: &[(&str, &str)] = &[("k", "new"), ("other", "1")];
        let sent = [("k", "new"), ("other", "2")];
        assert!(after(&[("other", "1")], &sent, &[(0, read)]).shows_any());
        assert!(!after(&[("other", "1")], &sent, &[(0, &[("other", "1")])]).shows_any());
    }

    #[test]
    fn two_vanished_unsent_keys_show_a_replaced_map() {
        let (sent, before) = (patch(&[("k", "1")]), map(&[("a", "1"), ("b", "2")]));
        let replaced = |before: &AttributeMap, read: &[(&str, &str)]| {
            WriteVerifier::looks_replaced(&sent, before, &map(read))
        };
        assert!(replaced(&before, &[("k", "1")]));
        assert!(!replaced(&before, &[("k", "1"), ("a", "1")]));
        assert!(!replaced(&before, &[("a", "1"), ("b", "2")]), "not visible yet");
        assert!(!replaced(&before, &[]));
        assert!(!replaced(&map(&[("a", "1")]), &[("k", "1")]), "one may be chance");
        // Another writer cleared the keys, or added one.
        assert!(!replaced(&before, &[("k", "1"), ("a", ""), ("b", "")]));
        assert!(!replaced(&before, &[("k", "1"), ("z", "9")]));
    }

    #[test]
    fn lost_keys_are_those_that_were_not_sent() {
        let lost =
            WriteVerifier::lost(&patch(&[("k", "")]), &map(&[("a", "1"), ("k", "1")]), &map(&[]));
        assert_eq!(lost, [AttributeKey::existing("a")]);
    }
}
