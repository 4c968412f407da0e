//! Merges the changes of several clients, in order of arrival. Pure.
//!
//! For each key the latest change wins. A write that would make the map too large is left out, and
//! the others go on without it.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{AttributeKey, AttributeLimits, AttributeMap, KeyChange, Patch, SizeExcess};

/// The merged changes of several clients.
#[derive(Debug)]
pub struct PatchMerger {
    limits: AttributeLimits,
    merged: AttributeMap,
    patch: Patch,
    parts: Vec<MergeContribution>,
}

/// What one client contributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeContribution {
    /// Its arrival number.
    pub arrival: u64,
    /// Its changes that are part of the merged patch.
    pub carried: Patch,
    /// Keys that a later client has changed to something else.
    pub overtaken: BTreeSet<AttributeKey>,
}

impl PatchMerger {
    /// No changes yet, on top of `base`.
    pub fn new(base: AttributeMap, limits: AttributeLimits) -> Self {
        Self { limits, merged: base, patch: Patch::default(), parts: Vec::new() }
    }

    /// The map with all changes so far.
    pub fn map(&self) -> &AttributeMap {
        &self.merged
    }

    /// Adds the changes of the next client in order of arrival. `is_overtaken` says which keys a
    /// later client has already sent. On a map from the cache the size must stay well below the
    /// limit.
    ///
    /// # Errors
    /// If the map would grow beyond the limit; then nothing was added.
    pub fn add(
        &mut self,
        arrival: u64,
        is_remembered: bool,
        patch: &Patch,
        is_overtaken: impl Fn(&AttributeKey, &KeyChange) -> bool,
    ) -> Result<(), SizeExcess> {
        let lost = |key: &AttributeKey| patch.get(key).is_some_and(|to| is_overtaken(key, to));
        let overtaken: BTreeSet<_> = patch.keys().filter(|key| lost(key)).cloned().collect();
        let carried = patch.only(|key| !overtaken.contains(key));
        let merged = carried.applied_to(&self.merged);
        let limits = if is_remembered { self.limits.remembered() } else { self.limits };
        limits.check(&self.merged, &merged)?;
        self.merged = merged;
        self.patch = std::mem::take(&mut self.patch).then(carried.clone());
        self.parts.push(MergeContribution { arrival, carried, overtaken });
        Ok(())
    }

    /// The merged patch, and each client's contribution. A change is carried if the patch holds the
    /// value that the client wants, even if another client wants it too.
    pub fn finish(mut self) -> (Patch, Vec<MergeContribution>) {
        for part in &mut self.parts {
            let holds = |key: &AttributeKey| self.patch.get(key) == part.carried.get(key);
            let carried = part.carried.only(holds);
            let lost = part.carried.keys().filter(|key| carried.get(key).is_none());
            part.overtaken.extend(lost.cloned());
            part.carried = carried;
        }
        (self.patch, self.parts)
    }

    /// The last client of each key in the merged patch.
    pub fn arrivals(parts: &[MergeContribution]) -> BTreeMap<AttributeKey, u64> {
        let each = |part: &MergeContribution| {
            let arrival = part.arrival;
            part.carried.keys().map(|key| (key.clone(), arrival)).collect::<Vec<_>>()
        };
        parts.iter().flat_map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::AttributeValue;

    fn patch(changes: &[(String, String)]) -> Patch {
        let change = |(key, value): &(String, String)| {
            (AttributeKey::existing(key), KeyChange::to(AttributeValue::new(value)))
        };
        changes.iter().map(change).collect()
    }

    fn merged(
        client_registry: &[&[(&str, &str)]],
        limit: usize,
    ) -> (Patch, Vec<MergeContribution>, Vec<u64>) {
        let limits = AttributeLimits { total_bytes: limit };
        let mut merge = PatchMerger::new(AttributeMap::default(), limits);
        let mut refused = Vec::new();
        for (arrival, changes) in (0_u64..).zip(client_registry) {
            let changes: Vec<_> =
                changes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            if merge.add(arrival, false, &patch(&changes), |_, _| false).is_err() {
                refused.push(arrival);
            }
        }
        let (patch, parts) = merge.finish();
        (patch, parts, refused)
    }

    fn keys<'a>(keys: impl IntoIterator<Item = &'a AttributeKey>) -> Vec<&'a str> {
        keys.into_iter().map(AttributeKey::as_str).collect()
    }

    #[test]
    fn the_later_caller_wins_a_key_and_the_earlier_keeps_its_others() {
        let (patch, parts, _) = merged(&[&[("a", "1"), ("b", "1")], &[("b", "2")]], 1000);
        assert_eq!(keys(patch.keys()), ["a", "b"]);
        assert_eq!(
            (keys(parts[0].carried.keys()), keys(&parts[0].overtaken)),
            (vec!["a"], vec!["b"])
        );
        assert_eq!((keys(parts[1].carried.keys()), keys(&parts[1].overtaken)), (vec!["b"], vec![]));
    }

    #[test]
    fn a_write_of_the_sent_value_joins_the_batch() {
        let (_, parts, _) = merged(&[&[("a", "1")], &[("a", "2")], &[("a", "1")]], 1000);
        let lost: Vec<_> = parts.iter().map(|part| part.overtaken.len()).collect();
        assert_eq!(lost, [0, 1, 0]);
        assert_eq!(
            PatchMerger::arrivals(&parts),
            BTreeMap::from([(AttributeKey::existing("a"), 2)])
        );
    }

    #[test]
    fn the_change_over_the_limit_is_removed_and_later_ones_stay() {
        let (patch, _, refused) =
            merged(&[&[("a", "1234")], &[("b", "12345678901234567890")], &[("c", "1")]], 24);
        assert_eq!((keys(patch.keys()), refused), (vec!["a", "c"], vec![1]));
    }

    #[test]
    fn what_a_later_caller_has_sent_already_is_not_sent_again() {
        let mut merge =
            PatchMerger::new(AttributeMap::default(), AttributeLimits { total_bytes: 1000 });
        let wanted = patch(&[("a".into(), "1".into()), ("b".into(), "1".into())]);
        merge.add(0, false, &wanted, |key, _| key.as_str() == "a").expect("fits");
        let (whole, parts) = merge.finish();
        assert_eq!((keys(whole.keys()), keys(&parts[0].overtaken)), (vec!["b"], vec!["a"]));
    }

    proptest! {
        #[test]
        fn a_merge_is_the_same_as_one_change_after_another(
            client_registry in proptest::collection::vec(
                proptest::collection::vec(("[a-d]", "[x-z]?"), 1..4), 1..8)
        ) {
            let mut merge = PatchMerger::new(AttributeMap::default(), AttributeLimits { total_bytes: 10_000 });
            let mut one_by_one = AttributeMap::default();
            for (arrival, client) in (0_u64..).zip(&client_registry) {
                let patch = patch(client);
                merge.add(arrival, false, &patch, |_, _| false).expect("fits");
                one_by_one = patch.applied_to(&one_by_one);
            }
            prop_assert_eq!(merge.map(), &one_by_one);
            let (whole, parts) = merge.finish();
            prop_assert_eq!(&whole.applied_to(&AttributeMap::default()), &one_by_one);
            for (part, client) in parts.iter().zip(&client_registry) {
                // Every key of every client is reported once, and carried exactly if the map holds
                // it.
                let patch = patch(client);
                prop_assert_eq!(part.carried.len() + part.overtaken.len(), patch.len());
                prop_assert!(part.carried.missing_in(&one_by_one).is_empty());
                let lost = patch.only(|key| part.overtaken.contains(key));
                prop_assert_eq!(lost.missing_in(&one_by_one).len(), lost.len());
            }
        }
    }
}
