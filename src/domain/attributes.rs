//! Attribute keys, values and maps.
//!
//! Keys are case-sensitive and never trimmed, because production keys contain leading and double
//! spaces. For clients, an absent and an empty attribute are the same: upstream documents no
//! deletion, so clearing a key writes `""`. The map keeps empty entries, because they count towards
//! the size limit of upstream. `Debug` never shows a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, Serializer};
use smol_str::SmolStr;

/// Why a write cannot use a text as a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    #[error("the key is empty")]
    Empty,
    /// Consoles and logs do not show control characters.
    #[error("the key has a control character")]
    Control,
}

/// Key of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct AttributeKey(SmolStr);

impl AttributeKey {
    /// A key that a client wants to write.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidKey::Control);
        }
        Ok(Self(text.into()))
    }

    /// A key that exists upstream. Every text is accepted.
    pub fn existing(text: &str) -> Self {
        Self(text.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for AttributeKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AttributeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Value of an attribute. It is personal data, so `Debug` shows only its length.
#[derive(Clone, PartialEq, Eq)]
pub struct AttributeValue {
    text: SmolStr,
    /// Upstream's JSON literal, if the value is not Unicode text. With it, the value differs from
    /// every value that a client can send, so a write of the displayed text replaces it.
    damaged: Option<Arc<str>>,
}

impl AttributeValue {
    /// A value with this text. Every text is valid.
    pub fn new(text: &str) -> Self {
        SmolStr::from(text).into()
    }

    /// A value of upstream that contains half of a surrogate pair. `text` shows U+FFFD in its place;
    /// `json` is the original string literal.
    pub fn damaged(text: &str, json: &str) -> Self {
        Self { text: text.into(), damaged: Some(json.into()) }
    }

    /// The value itself, only to be sent to clients and upstream.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The original JSON literal of a damaged value.
    pub fn damaged_json(&self) -> Option<&str> {
        self.damaged.as_deref()
    }
}

impl From<SmolStr> for AttributeValue {
    fn from(text: SmolStr) -> Self {
        Self { text, damaged: None }
    }
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.text.len())
    }
}

/// The attributes of one participant, as upstream holds them. Clones share the entries until one
/// clone changes, because many requests use the result of one read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeMap(Arc<BTreeMap<AttributeKey, AttributeValue>>);

impl AttributeMap {
    /// The value of a key; `None` if it is absent or empty.
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.0.get(key).filter(|value| !value.text.is_empty())
    }

    /// Sets a value. The map keeps `""`, as upstream does.
    pub fn insert(&mut self, key: AttributeKey, value: AttributeValue) {
        Arc::make_mut(&mut self.0).insert(key, value);
    }

    /// The attributes that clients see, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&AttributeKey, &AttributeValue)> {
        self.0.iter().filter(|(_, value)| !value.text.is_empty())
    }

    /// Every entry that upstream holds, empty ones included. A full PATCH sends all of them.
    pub fn iter_held(&self) -> impl Iterator<Item = (&AttributeKey, &AttributeValue)> {
        self.0.iter()
    }

    /// Keys whose values are not Unicode text upstream. Clients see U+FFFD in them.
    pub fn damaged_keys(&self) -> impl Iterator<Item = &AttributeKey> {
        self.0.iter().filter(|(_, value)| value.damaged.is_some()).map(|(key, _)| key)
    }

    /// How many attributes clients see.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether clients see no attributes.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Bytes of the whole map as compact UTF-8 JSON, with emptied keys, because upstream keeps them.
    pub fn json_bytes(&self) -> usize {
        let entries: usize = self.0.iter().map(|(key, value)| entry_bytes(key, value)).sum();
        // Two braces, and a comma between entries.
        2 + entries + self.0.len().saturating_sub(1)
    }

    /// Only these keys, as clients see them. Looks up each key, because map and list may be long.
    #[must_use]
    pub fn narrowed(&self, keys: &[String]) -> Self {
        let entry = |key: &String| {
            let (key, value) = self.0.get_key_value(key.as_str())?;
            (!value.text.is_empty()).then(|| (key.clone(), value.clone()))
        };
        keys.iter().filter_map(entry).collect()
    }
}

impl FromIterator<(AttributeKey, AttributeValue)> for AttributeMap {
    fn from_iter<I: IntoIterator<Item = (AttributeKey, AttributeValue)>>(entries: I) -> Self {
        Self(Arc::new(entries.into_iter().collect()))
    }
}

/// Serialises what clients see, so without empty entries.
impl Serialize for AttributeMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(key, value)| (key.as_str(), value.expose())))
    }
}

/// Bytes of `"key":"value"` in compact JSON.
pub(super) fn entry_bytes(key: &AttributeKey, value: &AttributeValue) -> usize {
    string_bytes(key.as_str()) + 1 + string_bytes(value.expose())
}

/// Bytes of a JSON string with its quotes, escaped as `serde_json` escapes it.
fn string_bytes(text: &str) -> usize {
    let is_escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Most texts need no escape, and one pass over the whole text is much faster.
    if !text.bytes().fold(false, |any, byte| any | is_escaped(byte)) {
        return 2 + text.len();
    }
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..=0x1f => 6,
        _ => 1,
    };
    2 + text.bytes().map(escaped).sum::<usize>()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn map(entries: &[(&str, &str)]) -> AttributeMap {
        let entry =
            |(key, value): &(&str, &str)| (AttributeKey::existing(key), AttributeValue::new(value));
        entries.iter().map(entry).collect()
    }

    #[test]
    fn keys_are_neither_trimmed_nor_folded() {
        let key = AttributeKey::new(" Numero  VIP").expect("valid");
        assert_eq!(key.as_str(), " Numero  VIP");
        assert_eq!(AttributeKey::new(""), Err(InvalidKey::Empty));
        assert_eq!(AttributeKey::new("a\u{7}b"), Err(InvalidKey::Control));
        assert_eq!(AttributeKey::new("a\u{85}b"), Err(InvalidKey::Control));
    }

    #[test]
    fn an_empty_value_is_absent_for_clients_but_held() {
        let map = map(&[("a", "1"), ("gone", "")]);
        assert_eq!(map.get("gone"), None);
        assert_eq!(map.len(), 1);
        assert_eq!(map.json_bytes(), r#"{"a":"1","gone":""}"#.len());
    }

    #[test]
    fn debug_shows_no_value() {
        assert!(!format!("{:?}", map(&[("k", "canary")])).contains("canary"));
    }

    proptest! {
        #[test]
        fn the_size_is_what_serde_json_would_write(
            entries in proptest::collection::btree_map(".{1,20}", ".{1,40}", 0..8)
        ) {
            let map: AttributeMap = entries
                .iter()
                .map(|(key, value)| (AttributeKey::existing(key), AttributeValue::new(value)))
                .collect();
            let written = serde_json::to_string(&entries).expect("strings serialise");
            prop_assert_eq!(map.json_bytes(), written.len());
            prop_assert_eq!(serde_json::to_string(&map).expect("serialises"), written);
        }
    }
}
