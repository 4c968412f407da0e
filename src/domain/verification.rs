//! When a write counts as proved: the keys that were sent, and the reads that followed.
//!
//! Upstream answers 202 before a change is visible, so a read may show the state before. Such a
//! read proves nothing. A value that is neither the one before nor ours may have been written
//! before ours and show late. So it counts as a later one only once it has stood for the settle
//! time. The last read decides.
//!
//! Times are durations since any one origin.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attributes::{AttributeKey, AttributeMap, AttributeValue};
use super::patch::{KeyChange, Patch};
use super::report::KeyOutcome;

/// How a key looked in the reads so far.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyState {
    /// As before the write, or never read since.
    Before,
    /// As wanted, in the last read.
    Wanted,
    /// As wanted once, and as something else now.
    Replaced,
    /// As neither: this value, since this time.
    Third(Option<AttributeValue>, Duration),
}

/// Values of ours that may stand upstream without having been seen, by key.
pub type UnconfirmedValues = BTreeMap<AttributeKey, Vec<Option<AttributeValue>>>;

/// How long a third value has to stand before it counts as another writer's later one.
#[derive(Clone, Copy, Debug)]
pub struct SettleTime {
    /// By the lags that were measured.
    pub measured: Duration,
    /// The longest lag to expect: where the value before is known from memory alone, the third
    /// value may be the one before.
    pub longest: Duration,
}

#[derive(Clone, Debug)]
struct TrackedKey {
    change: KeyChange,
    before: Option<AttributeValue>,
    /// `before` is from an earlier read than the write itself, and no read has confirmed it.
    is_remembered: bool,
    /// Ours as well, sent earlier and still on their way to being seen: no other writer's work.
    unseen: Vec<Option<AttributeValue>>,
    key_state: KeyState,
}

impl TrackedKey {
    /// Whether seeing the wanted value says that our write was applied. A key that looked as
    /// wanted before, and was sent only because an earlier write of ours may still surface, tells
    /// nothing by looking so again.
    fn is_telling(&self) -> bool {
        !self.is_earlier(self.change.wanted())
    }

    /// Whether this may be what stood there before the change.
    fn is_earlier(&self, shown: Option<&AttributeValue>) -> bool {
        self.before.as_ref() == shown || self.unseen.iter().any(|value| value.as_ref() == shown)
    }

    fn observe(&mut self, shown: Option<&AttributeValue>, at: Duration) {
        let seen = matches!(self.key_state, KeyState::Wanted | KeyState::Replaced);
        self.key_state = if shown == self.change.wanted() {
            KeyState::Wanted
        } else if seen {
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

/// The keys of one cycle, watched until each is proved.
#[derive(Clone, Debug, Default)]
pub struct WriteVerifier {
    keys: BTreeMap<AttributeKey, TrackedKey>,
    last_read: Option<Duration>,
}

impl WriteVerifier {
    /// Watches the keys of `sent`, which showed `before` when they were read last.
    pub fn new(sent: &Patch, before: &AttributeMap) -> Self {
        let mut watch = Self::default();
        watch.add(sent, before, &UnconfirmedValues::new(), false);
        watch
    }

    /// Watches more keys. A key that is watched already keeps what is known of it. `is_remembered`
    /// says that `before` is from an earlier read.
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
                unseen: unseen.get(key).cloned().unwrap_or_default(),
                key_state: KeyState::Before,
            });
        }
    }

    /// Takes note of what a read showed.
    pub fn observe(&mut self, read: &AttributeMap, at: Duration) {
        self.last_read = Some(at);
        for (key, watched) in &mut self.keys {
            watched.observe(read.get(key.as_str()), at);
        }
    }

    /// Takes third values for those before, where those were known from memory alone.
    pub fn correct_memory(&mut self) {
        for watched in self.keys.values_mut().filter(|watched| watched.is_remembered) {
            if let KeyState::Third(value, _) = &watched.key_state {
                watched.before.clone_from(value);
                watched.key_state = KeyState::Before;
            }
            watched.is_remembered = false;
        }
    }

    /// Whether more reads could change nothing that matters: every key shows its value, or was
    /// replaced for good.
    pub fn is_settled(&self, settle: SettleTime) -> bool {
        self.keys.keys().all(|key| self.outcome(key, settle) != Some(KeyOutcome::Unverified))
    }

    /// Whether the last read showed every key as wanted.
    pub fn all_wanted(&self) -> bool {
        self.keys.values().all(|watched| watched.key_state == KeyState::Wanted)
    }

    /// Whether this key was ever seen as wanted, and that proves that a PATCH with it was applied.
    pub fn is_proved(&self, key: &AttributeKey) -> bool {
        self.keys.get(key).is_some_and(|watched| {
            let seen = matches!(watched.key_state, KeyState::Wanted | KeyState::Replaced);
            seen && watched.is_telling() && !watched.is_remembered
        })
    }

    /// Whether the last read showed the wanted value of any key that did not hold it before.
    pub fn shows_any(&self) -> bool {
        let shown =
            |watched: &TrackedKey| watched.key_state == KeyState::Wanted && watched.is_telling();
        self.keys.values().any(shown)
    }

    /// The changes that may be sent again after a PATCH of unknown fate: those whose key still
    /// looks as before. One that shows a third value is never sent again, since that would undo
    /// another writer's change.
    pub fn still_before(&self) -> Patch {
        self.changes(|watched| match watched.key_state {
            KeyState::Before => true,
            KeyState::Wanted => !watched.is_telling(),
            KeyState::Replaced | KeyState::Third(..) => false,
        })
    }

    /// The changes whose key shows a third value.
    pub fn third(&self) -> Patch {
        self.changes(|watched| matches!(watched.key_state, KeyState::Third(..)))
    }

    fn changes(&self, which: impl Fn(&TrackedKey) -> bool) -> Patch {
        let changes = self.keys.iter().filter(|(_, watched)| which(watched));
        changes.map(|(key, watched)| (key.clone(), watched.change.clone())).collect()
    }

    /// No longer watches these keys.
    pub fn remove(&mut self, keys: &Patch) {
        self.keys.retain(|key, _| keys.get(key).is_none());
    }

    /// What became of a key, `None` if it is not watched.
    pub fn outcome(&self, key: &AttributeKey, settle: SettleTime) -> Option<KeyOutcome> {
        let watched = self.keys.get(key)?;
        let settle = if watched.is_remembered { settle.longest } else { settle.measured };
        Some(match &watched.key_state {
            KeyState::Before => KeyOutcome::Unverified,
            KeyState::Wanted => match watched.change {
                KeyChange::Set(_) => KeyOutcome::Verified,
                KeyChange::Clear => KeyOutcome::Cleared,
            },
            KeyState::Replaced => KeyOutcome::Superseded,
            KeyState::Third(_, since) => {
                let stood =
                    self.last_read.is_some_and(|last| last.saturating_sub(*since) >= settle);
                if stood { KeyOutcome::Superseded } else { KeyOutcome::Unverified }
            }
        })
    }

    /// Whether `read` holds exactly `sent`, although at least two other keys stood in `before`:
    /// seen twice after one write, that is evidence of an upstream that replaces the map.
    pub fn looks_replaced(sent: &Patch, before: &AttributeMap, read: &AttributeMap) -> bool {
        let unsent = |key: &&AttributeKey| sent.get(key).is_none();
        // A clear may be shown as absence, which is also what a replaced map shows of it.
        let shows_a_value = sent.iter().any(|(_, change)| change.wanted().is_some());
        shows_a_value
            && sent.is_shown_in(read)
            && before.iter().map(|(key, _)| key).filter(unsent).nth(1).is_some()
            // Entries that were emptied still stand: somebody cleared them, nothing replaced them.
            && read.iter_held().map(|(key, _)| key).find(unsent).is_none()
    }

    /// Keys that stood in `before`, were not sent, and are gone from `read`.
    pub fn lost(sent: &Patch, before: &AttributeMap, read: &AttributeMap) -> Vec<AttributeKey> {
        // As it nearly always is.
        if before.iter().map(|(key, _)| key).eq(read.iter().map(|(key, _)| key)) {
            return Vec::new();
        }
        let gone =
            |key: &&AttributeKey| sent.get(key).is_none() && read.get(key.as_str()).is_none();
        before.iter().map(|(key, _)| key).filter(gone).cloned().collect()
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
        let mut watch = WriteVerifier::new(&patch(sent), &map(before));
        for (at, read) in reads {
            watch.observe(&map(read), Duration::from_millis(*at));
        }
        watch
    }

    fn outcome(watch: &WriteVerifier) -> KeyOutcome {
        watch.outcome(&AttributeKey::existing("k"), SETTLE).expect("watched")
    }

    #[test]
    fn a_read_that_shows_the_state_before_proves_nothing() {
        let watch = after(
            &[("k", "old")],
            &[("k", "new")],
            &[(0, &[("k", "old")]), (9000, &[("k", "old")])],
        );
        assert_eq!(outcome(&watch), KeyOutcome::Unverified);
        assert!(!watch.is_settled(SETTLE));
    }

    #[test]
    fn the_wanted_value_read_back_is_the_proof() {
        let watch = after(&[], &[("k", "new")], &[(0, &[]), (50, &[("k", "new")])]);
        assert_eq!(outcome(&watch), KeyOutcome::Verified);
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
    fn a_third_value_must_stand_before_it_counts() {
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
        let watch =
            after(old, &[("k", "new")], &[(0, third), (600, old), (700, third), (1500, third)]);
        assert_eq!(outcome(&watch), KeyOutcome::Unverified);
    }

    #[test]
    fn only_keys_that_look_as_before_may_be_sent_again() {
        let watch = after(
            &[("old", "1"), ("theirs", "1"), ("done", "1")],
            &[("old", "2"), ("theirs", "2"), ("done", "2")],
            &[(0, &[("old", "1"), ("theirs", "3"), ("done", "2")])],
        );
        assert_eq!(watch.still_before(), patch(&[("old", "2")]));
        assert!(watch.is_proved(&AttributeKey::existing("done")));
    }

    #[test]
    fn an_unchanged_wanted_value_proves_nothing() {
        let same: &[(&str, &str)] = &[("k", "1")];
        let watch = after(same, same, &[(0, same)]);
        assert!(!watch.is_proved(&AttributeKey::existing("k")) && !watch.shows_any());
        assert_eq!(watch.still_before(), patch(same));
    }

    #[test]
    fn another_third_value_has_to_stand_by_itself() {
        let one: &[(&str, &str)] = &[("k", "x")];
        let two: &[(&str, &str)] = &[("k", "y")];
        let watch = after(&[], &[("k", "new")], &[(0, one), (900, two), (1800, two)]);
        assert_eq!(outcome(&watch), KeyOutcome::Unverified);
    }

    #[test]
    fn a_third_value_after_a_remembered_one_may_be_the_one_before() {
        let third: &[(&str, &str)] = &[("k", "theirs")];
        let mut watch = WriteVerifier::default();
        watch.add(&patch(&[("k", "new")]), &map(&[("k", "old")]), &UnconfirmedValues::new(), true);
        for at in [0, 1_000, 9_999] {
            watch.observe(&map(third), Duration::from_millis(at));
            assert_eq!(outcome(&watch), KeyOutcome::Unverified);
        }
        let mut stood = watch.clone();
        stood.observe(&map(third), Duration::from_secs(10));
        assert_eq!(outcome(&stood), KeyOutcome::Superseded);
        // Where it may be sent again, that value is the one before; another one then is not.
        watch.correct_memory();
        assert_eq!(watch.still_before(), patch(&[("k", "new")]));
        watch.observe(&map(&[("k", "third")]), Duration::ZERO);
        watch.correct_memory();
        assert!(watch.still_before().is_empty());
    }

    #[test]
    fn replacing_is_evident_from_two_vanished_foreign_keys() {
        let (sent, before) = (patch(&[("k", "1")]), map(&[("a", "1"), ("b", "2")]));
        let replaced = |before: &AttributeMap, read: &[(&str, &str)]| {
            WriteVerifier::looks_replaced(&sent, before, &map(read))
        };
        assert!(replaced(&before, &[("k", "1")]));
        assert!(!replaced(&before, &[("k", "1"), ("a", "1")]));
        assert!(!replaced(&before, &[("a", "1"), ("b", "2")]), "not visible yet");
        assert!(!replaced(&before, &[]));
        assert!(!replaced(&map(&[("a", "1")]), &[("k", "1")]), "one may be chance");
        // Cleared by another writer, or beside what another writer has added.
        assert!(!replaced(&before, &[("k", "1"), ("a", ""), ("b", "")]));
        assert!(!replaced(&before, &[("k", "1"), ("z", "9")]));
    }

    #[test]
    fn lost_keys_are_those_that_nobody_sent() {
        let lost =
            WriteVerifier::lost(&patch(&[("k", "")]), &map(&[("a", "1"), ("k", "1")]), &map(&[]));
        assert_eq!(lost, [AttributeKey::existing("a")]);
    }
}
