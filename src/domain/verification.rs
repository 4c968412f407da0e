//! When a write counts as proved: the keys that were sent, and the reads that followed.
//!
//! Upstream answers 202 before a change is visible, so a read may show the state before. Such a
//! read proves nothing. A value that is neither the one before nor ours is another writer's, but
//! only once it has stood for a while: an earlier write of a third party may still be on its way
//! to being replaced by ours. The last read decides.
//!
//! Times are durations since any one origin.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attributes::{AttributeKey, AttributeMap, AttributeValue};
use super::patch::{Change, Patch};
use super::report::Outcome;

/// How a key looked in the reads so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// As before the write, or never read since.
    Before,
    /// As wanted, in the last read.
    Wanted,
    /// As wanted once, and as something else now.
    Replaced,
    /// As neither, since this time.
    Third(Duration),
}

/// Values of ours that may stand upstream without having been seen, by key.
pub type Unseen = BTreeMap<AttributeKey, Vec<Option<AttributeValue>>>;

#[derive(Clone, Debug)]
struct Watched {
    change: Change,
    before: Option<AttributeValue>,
    /// Ours as well, sent earlier and still on their way to being seen: no other writer's work.
    unseen: Vec<Option<AttributeValue>>,
    sight: Sight,
}

impl Watched {
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
}

/// The keys of one cycle, watched until each is proved.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    keys: BTreeMap<AttributeKey, Watched>,
    last_read: Option<Duration>,
}

/// What a read says about whether upstream merges a PATCH or replaces the map with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It shows our write and a key that we did not send.
    Merges,
    /// It shows exactly our PATCH, although at least two other keys stood before.
    Replaces,
    /// It tells neither.
    None,
}

impl Watch {
    /// Watches the keys of `sent`, which showed `before` when they were read last.
    pub fn new(sent: &Patch, before: &AttributeMap) -> Self {
        let mut watch = Self::default();
        watch.add(sent, before, &Unseen::new());
        watch
    }

    /// Watches more keys. A key that is watched already keeps what is known of it.
    pub fn add(&mut self, sent: &Patch, before: &AttributeMap, unseen: &Unseen) {
        for (key, change) in sent.iter() {
            self.keys.entry(key.clone()).or_insert_with(|| Watched {
                change: change.clone(),
                before: before.get(key.as_str()).cloned(),
                unseen: unseen.get(key).cloned().unwrap_or_default(),
                sight: Sight::Before,
            });
        }
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes note of what a read showed.
    pub fn observe(&mut self, read: &AttributeMap, at: Duration) {
        self.last_read = Some(at);
        for (key, watched) in &mut self.keys {
            let shown = read.get(key.as_str());
            watched.sight = if shown == watched.change.wanted() {
                Sight::Wanted
            } else {
                match watched.sight {
                    Sight::Wanted | Sight::Replaced => Sight::Replaced,
                    Sight::Before | Sight::Third(_) if watched.is_earlier(shown) => Sight::Before,
                    Sight::Before => Sight::Third(at),
                    Sight::Third(since) => Sight::Third(since),
                }
            };
        }
    }

    /// Whether more reads could change nothing that matters: every key shows its value, or was
    /// replaced for good.
    pub fn is_settled(&self, settle: Duration) -> bool {
        self.keys.keys().all(|key| self.outcome(key, settle) != Some(Outcome::Unverified))
    }

    /// Whether the last read showed every key as wanted.
    pub fn all_wanted(&self) -> bool {
        self.keys.values().all(|watched| watched.sight == Sight::Wanted)
    }

    /// Whether any key was ever seen as wanted: proof that the PATCH was applied.
    pub fn any_seen(&self) -> bool {
        let seen = |watched: &Watched| {
            watched.is_telling() && matches!(watched.sight, Sight::Wanted | Sight::Replaced)
        };
        self.keys.values().any(seen)
    }

    /// The changes that may be sent again after a PATCH of unknown fate: those whose key still
    /// looks as before. One that shows a third value is never sent again, since that would undo
    /// another writer's change.
    pub fn still_before(&self) -> Patch {
        let before = self.keys.iter().filter(|(_, watched)| match watched.sight {
            Sight::Before => true,
            Sight::Wanted => !watched.is_telling(),
            Sight::Replaced | Sight::Third(_) => false,
        });
        before.map(|(key, watched)| (key.clone(), watched.change.clone())).collect()
    }

    /// What became of a key, `None` if it is not watched. `settle` is how long a third value has
    /// to stand.
    pub fn outcome(&self, key: &AttributeKey, settle: Duration) -> Option<Outcome> {
        let watched = self.keys.get(key)?;
        Some(match watched.sight {
            Sight::Before => Outcome::Unverified,
            Sight::Wanted => match watched.change {
                Change::Set(_) => Outcome::Verified,
                Change::Clear => Outcome::Cleared,
            },
            Sight::Replaced => Outcome::Superseded,
            Sight::Third(since) => {
                let stood = self.last_read.is_some_and(|last| last.saturating_sub(since) >= settle);
                if stood { Outcome::Superseded } else { Outcome::Unverified }
            }
        })
    }

    /// What became of every key.
    pub fn outcomes(&self, settle: Duration) -> BTreeMap<AttributeKey, Outcome> {
        let outcome = |key: &AttributeKey| Some((key.clone(), self.outcome(key, settle)?));
        self.keys.keys().filter_map(outcome).collect()
    }

    /// What `read` says about the fate of keys that were not sent. `before` is the map that stood
    /// before `sent` went out.
    pub fn evidence(sent: &Patch, before: &AttributeMap, read: &AttributeMap) -> Evidence {
        if sent.is_empty() || !sent.is_shown_in(read) {
            return Evidence::None;
        }
        let unsent = |key: &&AttributeKey| sent.get(key).is_none();
        let others = || before.iter().map(|(key, _)| key).filter(unsent);
        let survives = |key: &AttributeKey| read.get(key.as_str()).is_some();
        if others().any(survives) && !sent.is_shown_in(before) {
            return Evidence::Merges;
        }
        // Entries that were emptied still stand: somebody cleared them, nothing replaced them.
        let nothing_else = read.iter_held().map(|(key, _)| key).find(unsent).is_none();
        // A clear may be shown as absence, which is also what a replaced map shows of it.
        let shows_a_value = sent.iter().any(|(_, change)| change.wanted().is_some());
        if others().nth(1).is_some() && nothing_else && shows_a_value {
            Evidence::Replaces
        } else {
            Evidence::None
        }
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

    const SETTLE: Duration = Duration::from_secs(1);

    fn after(
        before: &[(&str, &str)],
        sent: &[(&str, &str)],
        reads: &[(u64, &[(&str, &str)])],
    ) -> Watch {
        let mut watch = Watch::new(&patch(sent), &map(before));
        for (at, read) in reads {
            watch.observe(&map(read), Duration::from_millis(*at));
        }
        watch
    }

    fn outcome(watch: &Watch) -> Outcome {
        watch.outcome(&AttributeKey::existing("k"), SETTLE).expect("watched")
    }

    #[test]
    fn a_read_that_shows_the_state_before_proves_nothing() {
        let watch = after(
            &[("k", "old")],
            &[("k", "new")],
            &[(0, &[("k", "old")]), (9000, &[("k", "old")])],
        );
        assert_eq!(outcome(&watch), Outcome::Unverified);
        assert!(!watch.is_settled(SETTLE));
    }

    #[test]
    fn the_wanted_value_read_back_is_the_proof() {
        let watch = after(&[], &[("k", "new")], &[(0, &[]), (50, &[("k", "new")])]);
        assert_eq!(outcome(&watch), Outcome::Verified);
        let cleared = after(&[("k", "old")], &[("k", "")], &[(50, &[("k", "")])]);
        assert_eq!(outcome(&cleared), Outcome::Cleared);
    }

    #[test]
    fn seen_and_then_replaced_is_superseded_at_once() {
        let reads: &[(u64, &[(&str, &str)])] = &[(0, &[("k", "new")]), (10, &[("k", "theirs")])];
        assert_eq!(outcome(&after(&[], &[("k", "new")], reads)), Outcome::Superseded);
        let back: &[(u64, &[(&str, &str)])] = &[(0, &[("k", "new")]), (10, &[("k", "old")])];
        assert_eq!(outcome(&after(&[("k", "old")], &[("k", "new")], back)), Outcome::Superseded);
    }

    #[test]
    fn a_third_value_must_stand_before_it_counts() {
        let third: &[(&str, &str)] = &[("k", "theirs")];
        let early = after(&[], &[("k", "new")], &[(0, third), (999, third)]);
        assert_eq!(outcome(&early), Outcome::Unverified);
        let stood = after(&[], &[("k", "new")], &[(0, third), (1000, third)]);
        assert_eq!(outcome(&stood), Outcome::Superseded);
        let ours_at_last = after(&[], &[("k", "new")], &[(0, third), (2000, &[("k", "new")])]);
        assert_eq!(outcome(&ours_at_last), Outcome::Verified);
    }

    #[test]
    fn a_third_value_that_gives_way_to_the_old_one_starts_again() {
        let third: &[(&str, &str)] = &[("k", "theirs")];
        let old: &[(&str, &str)] = &[("k", "old")];
        let watch =
            after(old, &[("k", "new")], &[(0, third), (600, old), (700, third), (1500, third)]);
        assert_eq!(outcome(&watch), Outcome::Unverified);
    }

    #[test]
    fn only_keys_that_look_as_before_may_be_sent_again() {
        let watch = after(
            &[("old", "1"), ("theirs", "1"), ("done", "1")],
            &[("old", "2"), ("theirs", "2"), ("done", "2")],
            &[(0, &[("old", "1"), ("theirs", "3"), ("done", "2")])],
        );
        assert_eq!(watch.still_before(), patch(&[("old", "2")]));
        assert!(watch.any_seen());
    }

    #[test]
    fn a_key_that_looked_as_wanted_before_proves_nothing_by_looking_so_still() {
        let same: &[(&str, &str)] = &[("k", "1")];
        let watch = after(same, same, &[(0, same)]);
        assert!(!watch.any_seen());
        assert_eq!(watch.still_before(), patch(same));
    }

    #[test]
    fn evidence_of_replacing_needs_two_keys_that_vanished_and_nothing_but_ours() {
        let (sent, before) = (patch(&[("k", "1")]), map(&[("a", "1"), ("b", "2")]));
        let evidence = |before: &AttributeMap, read: &[(&str, &str)]| {
            Watch::evidence(&sent, before, &map(read))
        };
        assert_eq!(evidence(&before, &[("k", "1")]), Evidence::Replaces);
        assert_eq!(evidence(&before, &[("k", "1"), ("a", "1")]), Evidence::Merges);
        assert_eq!(evidence(&before, &[("a", "1"), ("b", "2")]), Evidence::None, "not visible yet");
        assert_eq!(evidence(&before, &[]), Evidence::None);
        assert_eq!(
            evidence(&map(&[("a", "1")]), &[("k", "1")]),
            Evidence::None,
            "one may be chance"
        );
    }

    #[test]
    fn keys_that_were_cleared_or_added_by_others_are_evidence_of_nothing() {
        let (sent, before) = (patch(&[("k", "1")]), map(&[("a", "1"), ("b", "2")]));
        let cleared = map(&[("k", "1"), ("a", ""), ("b", "")]);
        assert_eq!(Watch::evidence(&sent, &before, &cleared), Evidence::None);
        let replaced_and_added = map(&[("k", "1"), ("z", "9")]);
        assert_eq!(Watch::evidence(&sent, &before, &replaced_and_added), Evidence::None);
    }

    #[test]
    fn a_write_that_was_there_before_says_nothing_about_merging() {
        let held = map(&[("k", "1"), ("a", "1")]);
        assert_eq!(Watch::evidence(&patch(&[("k", "1")]), &held, &held), Evidence::None);
    }

    #[test]
    fn lost_keys_are_those_that_nobody_sent() {
        let lost = Watch::lost(&patch(&[("k", "")]), &map(&[("a", "1"), ("k", "1")]), &map(&[]));
        assert_eq!(lost, [AttributeKey::existing("a")]);
    }
}
