//! `ETag`s of attribute maps: a keyed hash, so that replicas agree and clients cannot guess values.
//!
//! The key is derived from the client secret, which all replicas of one gateway share. The hash input
//! has length prefixes, so that two different maps never have the same input.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::domain::{AttributeMap, ParticipantId};

/// Label of the derived key. Any other use of the same secret needs another label.
const LABEL: &[u8] = b"attribute-gateway etag v1";

/// Length of a tag in bytes; long enough to rule out accidental collisions.
const TAG_BYTES: usize = 16;

/// Initial capacity for the hash input in bytes; it fits a typical map. Allocations from 1 KiB on are many
/// times slower.
const TYPICAL_MAP_BYTES: usize = 960;

/// The part of a participant's map that a tag covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum EtagScope {
    #[default]
    Whole,
    Narrowed(Vec<String>),
    Key(String),
}

/// The key of all `ETag`s. `Debug` does not show it.
#[derive(Clone)]
pub struct EtagKey(hmac::Key);

impl fmt::Debug for EtagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EtagKey")
    }
}

impl EtagKey {
    /// Derives the key from the client secret.
    pub fn derive(secret: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let derived = hmac::sign(&secret, LABEL);
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// Returns the tag of the part of the map that a client sees. An absent key has a tag as well.
    pub(super) fn tag(
        &self,
        participant: ParticipantId,
        map: &AttributeMap,
        scope: &EtagScope,
    ) -> String {
        let mut hashed = LengthPrefixed(Vec::with_capacity(TYPICAL_MAP_BYTES));
        hashed.part(&participant.to_string());
        hashed.part(match scope {
            EtagScope::Whole => "whole",
            EtagScope::Narrowed(_) => "narrowed",
            EtagScope::Key(_) => "single",
        });
        let mut keys: Vec<_> = scope.keys().collect();
        keys.sort_unstable();
        keys.dedup();
        hashed.count(keys.len());
        for key in keys {
            hashed.part(key);
        }
        let is_covered = |key: &str| scope.only_key().is_none_or(|only| only == key);
        for (key, value) in map.iter().filter(|(key, _)| is_covered(key.as_str())) {
            hashed.part(key.as_str());
            hashed.part(value.expose());
        }
        let tag = hmac::sign(&self.0, &hashed.0);
        format!("\"{}\"", URL_SAFE_NO_PAD.encode(&tag.as_ref()[..TAG_BYTES]))
    }
}

impl EtagScope {
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = match self {
            Self::Whole => &[],
            Self::Narrowed(keys) => keys.as_slice(),
            Self::Key(key) => std::slice::from_ref(key),
        };
        keys.iter().map(String::as_str)
    }

    pub(super) fn only_key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Whole | Self::Narrowed(_) => None,
        }
    }

    /// The keys in the scope, each with the request part that names it: `key` or `keys`.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let place = if matches!(self, Self::Key(_)) { "key" } else { "keys" };
        self.keys().map(move |key| (place, key))
    }

    pub(super) fn narrowed(&self, map: AttributeMap) -> AttributeMap {
        match self {
            Self::Whole => map,
            Self::Narrowed(keys) => map.narrowed(keys),
            Self::Key(key) => map.narrowed(std::slice::from_ref(key)),
        }
    }
}

const SEAL_LABEL: &str = "attribute-gateway cursor v1";

impl EtagKey {
    /// Seals `content` and `parts`. The seal proves that this gateway or a replica combined them.
    pub(super) fn seal(&self, content: &[u8], parts: &[String]) -> hmac::Tag {
        hmac::sign(&self.seal_key(), &seal_input(content, parts))
    }

    /// Whether `seal` is the seal of `content` and `parts`. The comparison takes constant time.
    pub(super) fn has_sealed(&self, content: &[u8], parts: &[String], seal: &[u8]) -> bool {
        hmac::verify(&self.seal_key(), &seal_input(content, parts), seal).is_ok()
    }

    fn seal_key(&self) -> hmac::Key {
        let own = hmac::sign(&self.0, SEAL_LABEL.as_bytes());
        hmac::Key::new(hmac::HMAC_SHA256, own.as_ref())
    }
}

fn seal_input(content: &[u8], parts: &[String]) -> Vec<u8> {
    let mut hashed = LengthPrefixed(Vec::with_capacity(TYPICAL_MAP_BYTES));
    hashed.count(content.len());
    hashed.0.extend_from_slice(content);
    for part in parts {
        hashed.part(part);
    }
    hashed.0
}

/// Collects the hash input first, since each call of the hash costs more than a few extra bytes.
struct LengthPrefixed(Vec<u8>);

impl LengthPrefixed {
    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_be_bytes());
    }

    fn part(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{AttributeKey, AttributeValue};

    const ONE: &str = "8e0f1a2b-0000-4000-8000-000000000001";

    fn tag(
        key: &EtagKey,
        participant: &str,
        entries: &[(&str, &str)],
        keys: Option<&[&str]>,
    ) -> String {
        let scope = keys.map(|keys| keys.iter().map(|&key| key.into()).collect());
        covering(key, participant, entries, &scope.map_or(EtagScope::Whole, EtagScope::Narrowed))
    }

    fn covering(
        key: &EtagKey,
        participant: &str,
        entries: &[(&str, &str)],
        scope: &EtagScope,
    ) -> String {
        let map = entries
            .iter()
            .map(|(key, value)| (AttributeKey::existing(key), AttributeValue::new(value)))
            .collect();
        key.tag(participant.parse().expect("id"), &map, scope)
    }

    #[test]
    fn every_difference_changes_the_tag() {
        let key = EtagKey::derive("secret");
        let tags = [
            tag(&key, ONE, &[], None),
            tag(&key, ONE, &[("a", "b")], None),
            tag(&key, ONE, &[("ab", "c")], None),
            tag(&key, ONE, &[("a", "bc")], None),
            tag(&key, ONE, &[("a", "b"), ("c", "d")], None),
            tag(&key, ONE, &[("a", "bcd")], None),
            tag(&key, ONE, &[("a", "b")], Some(&[])),
            tag(&key, ONE, &[("a", "b")], Some(&["a"])),
            tag(&key, ONE, &[("a", "b")], Some(&["a", "b"])),
            tag(&key, ONE, &[("a", "b")], Some(&["ab"])),
            tag(&key, "8e0f1a2b-0000-4000-8000-000000000002", &[("a", "b")], None),
            tag(&EtagKey::derive("other"), ONE, &[("a", "b")], None),
        ];
        assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), tags.len());
    }

    #[test]
    fn maps_that_look_the_same_to_clients_share_a_tag() {
        let key = EtagKey::derive("secret");
        let plain = tag(&key, ONE, &[("a", "b")], None);
        assert_eq!(plain, tag(&key, ONE, &[("a", "b"), ("cleared", "")], None));
        assert_eq!(plain.len(), 24);
        assert!(plain.starts_with('"') && plain.ends_with('"'));
        assert_eq!(
            tag(&key, ONE, &[("a", "b")], Some(&["a", "c", "a"])),
            tag(&key, ONE, &[("a", "b")], Some(&["c", "a"])),
        );
    }

    #[test]
    fn the_tag_of_one_key_covers_that_key_alone() {
        let key = EtagKey::derive("secret");
        let tag = |participant, entries: &[(&str, &str)], only: &str| {
            covering(&key, participant, entries, &EtagScope::Key(only.to_owned()))
        };
        let plain = tag(ONE, &[("a", "1")], "a");
        assert_eq!(plain, tag(ONE, &[("a", "1"), ("b", "2"), ("A", "3")], "a"));
        let absent = tag(ONE, &[], "a");
        assert_eq!(absent, tag(ONE, &[("a", ""), ("b", "2")], "a"));
        let narrowed = EtagScope::Narrowed(vec!["a".to_owned()]);
        let tags = [
            plain,
            absent,
            tag(ONE, &[("a", "2")], "a"),
            tag(ONE, &[("b", "1")], "b"),
            tag("8e0f1a2b-0000-4000-8000-000000000002", &[("a", "1")], "a"),
            covering(&key, ONE, &[("a", "1")], &narrowed),
            covering(&key, ONE, &[("a", "1")], &EtagScope::Whole),
        ];
        assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), tags.len());
    }
}
