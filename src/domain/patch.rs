//! A patch: the values that one client wants for some keys.
//!
//! The gateway sends only keys that differ. Sending the whole map would overwrite changes that a
//! flow, a script or an agent made since the read.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::attributes::{AttributeKey, AttributeMap, AttributeValue};

/// The change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Set this value, which is not empty.
    Set(AttributeValue),
    /// Make the key absent or empty.
    Clear,
}

impl KeyChange {
    /// The change to `value`. `""` clears the key, because absent and empty are the same.
    pub fn to(value: AttributeValue) -> Self {
        if value.expose().is_empty() { Self::Clear } else { Self::Set(value) }
    }

    /// The wanted value, comparable with [`AttributeMap::get`].
    pub fn wanted(&self) -> Option<&AttributeValue> {
        match self {
            Self::Set(value) => Some(value),
            Self::Clear => None,
        }
    }

    /// The value to send. Upstream documents no deletion, so a clear sends `""`.
    pub fn sent(&self) -> AttributeValue {
        self.wanted().cloned().unwrap_or_else(|| AttributeValue::new(""))
    }

    /// Whether `map` shows this change.
    pub fn shown_in(&self, key: &AttributeKey, map: &AttributeMap) -> bool {
        map.get(key.as_str()) == self.wanted()
    }
}

/// Changes of several keys of one participant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch(BTreeMap<AttributeKey, KeyChange>);

/// The changes, ordered by key.
impl Deref for Patch {
    type Target = BTreeMap<AttributeKey, KeyChange>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Patch {
    /// The change of a key.
    pub fn get(&self, key: &AttributeKey) -> Option<&KeyChange> {
        self.0.get(key)
    }

    /// Adds a change, which replaces an earlier change of the key.
    pub fn insert(&mut self, key: AttributeKey, change: KeyChange) {
        self.0.insert(key, change);
    }

    /// One patch with the effect of this one followed by `later`.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.0.extend(later.0);
        self
    }

    /// The changes of the keys for which `keep` returns true.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&AttributeKey) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, _)| keep(key));
        Self(kept.map(|(key, change)| (key.clone(), change.clone())).collect())
    }

    /// The changes that `map` does not show yet.
    #[must_use]
    pub fn missing_in(&self, map: &AttributeMap) -> Self {
        self.only(|key| self.0.get(key).is_some_and(|change| !change.shown_in(key, map)))
    }

    /// Whether `map` shows every change.
    pub fn is_shown_in(&self, map: &AttributeMap) -> bool {
        self.0.iter().all(|(key, change)| change.shown_in(key, map))
    }

    /// `map` with this patch applied.
    #[must_use]
    pub fn applied_to(&self, map: &AttributeMap) -> AttributeMap {
        let mut merged = map.clone();
        self.0.iter().for_each(|(key, change)| merged.insert(key.clone(), change.sent()));
        merged
    }

    /// The map to send for this patch.
    pub fn as_sent(&self) -> AttributeMap {
        self.0.iter().map(|(key, change)| (key.clone(), change.sent())).collect()
    }
}

impl FromIterator<(AttributeKey, KeyChange)> for Patch {
    fn from_iter<I: IntoIterator<Item = (AttributeKey, KeyChange)>>(changes: I) -> Self {
        Self(changes.into_iter().collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::attributes::tests::map;

    pub(crate) fn patch(changes: &[(&str, &str)]) -> Patch {
        let change = |(key, value): &(&str, &str)| {
            (AttributeKey::existing(key), KeyChange::to(AttributeValue::new(value)))
        };
        changes.iter().map(change).collect()
    }

    #[test]
    fn only_what_differs_is_missing() {
        let held = map(&[("same", "1"), ("other", "2"), ("tombstone", "")]);
        let missing = patch(&[("same", "1"), ("other", "3"), ("new", "4"), ("tombstone", "")])
            .missing_in(&held);
        assert_eq!(missing, patch(&[("other", "3"), ("new", "4")]));
    }

    #[test]
    fn clearing_what_is_absent_changes_nothing() {
        assert!(patch(&[("never", "")]).missing_in(&map(&[("a", "1")])).is_empty());
    }

    fn patches() -> impl Strategy<Value = Patch> {
        proptest::collection::btree_map("[a-e]", "[x-z]{0,1}", 0..5).prop_map(|changes| {
            changes
                .iter()
                .map(|(key, value)| {
                    (AttributeKey::existing(key), KeyChange::to(AttributeValue::new(value)))
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn applying_twice_is_applying_once(first in patches(), change in patches()) {
            let held = first.applied_to(&AttributeMap::default());
            let once = change.applied_to(&held);
            prop_assert_eq!(&change.applied_to(&once), &once);
            prop_assert!(change.missing_in(&once).is_empty());
        }

        #[test]
        fn two_patches_as_one_do_what_both_do_in_order(
            held in patches(), one in patches(), two in patches()
        ) {
            let held = held.applied_to(&AttributeMap::default());
            let apart = two.applied_to(&one.applied_to(&held));
            prop_assert_eq!(one.then(two).applied_to(&held), apart);
        }

        #[test]
        fn keys_that_are_not_named_stay(held in patches(), change in patches()) {
            let held = held.applied_to(&AttributeMap::default());
            let after = change.applied_to(&held);
            for (key, value) in held.iter_held().filter(|(key, _)| change.get(key).is_none()) {
                prop_assert_eq!(after.iter_held().find(|(k, _)| *k == key), Some((key, value)));
            }
        }

        #[test]
        fn sending_only_what_is_missing_leads_to_the_same_map(
            held in patches(), change in patches()
        ) {
            let held = held.applied_to(&AttributeMap::default());
            let all: Vec<_> = change.applied_to(&held).iter()
                .map(|(k, v)| (k.clone(), v.clone())).collect();
            let missing: Vec<_> = change.missing_in(&held).applied_to(&held).iter()
                .map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(all, missing);
        }
    }
}
