//! Attribute keys, values and maps.
//!
//! Keys are taken as they are: case-sensitive, never trimmed or folded, since production keys
//! carry leading and double spaces. Absent and empty are one state for clients, because upstream
//! documents no deletion and clearing writes `""`; the map still remembers empty entries, since
//! they take up room upstream. `Debug` never shows a value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use smol_str::SmolStr;

/// Why a text cannot be the key of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The empty string.
    #[error("the key is empty")]
    Empty,
    /// A control character, which no console or log shows as what it is.
    #[error("the key has a control character")]
    Control,
}

/// Key of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    /// A key that stands upstream already, whoever made it: nothing is refused.
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

/// Value of an attribute: personal data, so `Debug` shows its length alone and there is no
/// `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct AttributeValue {
    text: SmolStr,
    /// The JSON literal of upstream, if it is no Unicode text. It makes the value differ from every
    /// value that a client can send, so that a write of the shown text replaces it.
    damaged: Option<Arc<str>>,
}

impl AttributeValue {
    /// Any text is a value.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), damaged: None }
    }

    /// A value of upstream that holds half of a surrogate pair: `text` shows it with U+FFFD, `json` is
    /// the string literal that keeps it as it is.
    pub fn damaged(text: &str, json: &str) -> Self {
        Self { text: text.into(), damaged: Some(json.into()) }
    }

    /// The value itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The JSON literal that keeps a damaged value as it is upstream.
    pub fn damaged_json(&self) -> Option<&str> {
        self.damaged.as_deref()
    }
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.text.len())
    }
}

/// The attributes of one participant, as upstream holds them. Clones share the entries until one of
/// them changes: a read is looked at by many, and changed by none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributeMap(Arc<BTreeMap<AttributeKey, AttributeValue>>);

impl AttributeMap {
    /// The value of a key; `None` if it is absent or empty.
    pub fn get(&self, key: &str) -> Option<&AttributeValue> {
        self.0.get(key).filter(|value| !value.expose().is_empty())
    }

    /// Puts a value in place; `""` is kept, as upstream keeps it.
    pub fn insert(&mut self, key: AttributeKey, value: AttributeValue) {
        Arc::make_mut(&mut self.0).insert(key, value);
    }

    /// The attributes that clients see, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&AttributeKey, &AttributeValue)> {
        self.0.iter().filter(|(_, value)| !value.expose().is_empty())
    }

    /// Every entry that upstream holds, empty ones included: what a full PATCH repeats.
    pub fn iter_held(&self) -> impl Iterator<Item = (&AttributeKey, &AttributeValue)> {
        self.0.iter()
    }

    /// Keys of values that upstream holds as no Unicode text; they are shown with U+FFFD.
    pub fn damaged_keys(&self) -> impl Iterator<Item = &AttributeKey> {
        self.0.iter().filter(|(_, value)| value.damaged.is_some()).map(|(key, _)| key)
    }

    /// How many attributes clients see.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether clients see nothing.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Bytes of the whole map as compact UTF-8 JSON, emptied keys included: upstream keeps them, so the
    /// size limit counts them.
    pub fn json_bytes(&self) -> usize {
        let mut bytes = 2; // the braces
        for (index, (key, value)) in self.0.iter().enumerate() {
            bytes += usize::from(index > 0) + entry_bytes(key, value);
        }
        bytes
    }

    /// Only these keys, as clients see them: a look for each, since both may be many.
    #[must_use]
    pub fn narrowed(&self, keys: &[String]) -> Self {
        let entry = |key: &String| {
            let (key, value) = self.0.get_key_value(key.as_str())?;
            (!value.expose().is_empty()).then(|| (key.clone(), value.clone()))
        };
        keys.iter().filter_map(entry).collect()
    }
}

impl FromIterator<(AttributeKey, AttributeValue)> for AttributeMap {
    fn from_iter<I: IntoIterator<Item = (AttributeKey, AttributeValue)>>(entries: I) -> Self {
        Self(Arc::new(entries.into_iter().collect()))
    }
}

/// Shows what clients see: empty entries are left out.
impl Serialize for AttributeMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.iter() {
            map.serialize_entry(key.as_str(), value.expose())?;
        }
        map.end()
    }
}

/// Bytes of `"key":"value"` in compact JSON.
pub(super) fn entry_bytes(key: &AttributeKey, value: &AttributeValue) -> usize {
    string_bytes(key.as_str()) + 1 + string_bytes(value.expose())
}

/// Bytes of a JSON string with its quotes, escaped as `serde_json` escapes it.
fn string_bytes(text: &str) -> usize {
    let is_escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Looked at as a whole first, which takes a fraction of the time and nearly always ends here.
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
    fn an_empty_value_is_absent_for_callers_but_held() {
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
