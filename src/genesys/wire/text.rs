//! Texts of a body.
//!
//! Nearly all bodies are read with [`PlainText`], which is fast and strict. But what another writer
//! wrote must never make a conversation unreadable. So a body that is refused is read once more with
//! raw JSON, which accepts any type: the model allows only strings as attributes, but the official
//! tutorial writes `true`. A text may also hold unpaired surrogates, which parsers refuse. One
//! truncated emoji is shown as U+FFFD, and its attribute is marked as damaged.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::{AttributeKey, AttributeMap, AttributeValue, MarkedJson};

/// A text, or other JSON where a text should be.
pub trait WireText {
    /// The text, and whether it is damaged; `None` for other JSON.
    fn text(&self) -> Option<(Cow<'_, str>, bool)>;

    /// The JSON of a text that is not plain.
    fn json(&self) -> &str;
}

/// A string, borrowed from the body unless it contains escapes. Without this wrapper, serde copies
/// the string of an `Option<Cow<str>>`.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct PlainText<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl WireText for PlainText<'_> {
    fn text(&self) -> Option<(Cow<'_, str>, bool)> {
        Some((Cow::Borrowed(&self.0), false))
    }

    fn json(&self) -> &str {
        &self.0
    }
}

impl WireText for &RawValue {
    fn text(&self) -> Option<(Cow<'_, str>, bool)> {
        let json = self.json();
        if !json.starts_with('"') {
            return None;
        }
        let marked = MarkedJson::new(json);
        let text: String =
            serde_json::from_str(marked.as_ref().map_or(json, MarkedJson::text)).ok()?;
        Some(match marked {
            Some(marked) => (marked.shown(&text).into(), true),
            None => (text.into(), false),
        })
    }

    fn json(&self) -> &str {
        self.get()
    }
}

/// The text of a field; `None` if the field is absent or holds other JSON.
pub fn text<T: WireText>(field: Option<&T>) -> Option<Cow<'_, str>> {
    field?.text().map(|(text, _)| text)
}

/// A map of attributes.
pub struct WireAttributes<T>(pub AttributeMap, PhantomData<T>);

impl<'de, T: WireText + Deserialize<'de>> Deserialize<'de> for WireAttributes<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryMap<T>(PhantomData<T>);
        impl<'de, T: WireText + Deserialize<'de>> Visitor<'de> for EntryMap<T> {
            type Value = AttributeMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut attributes = AttributeMap::default();
                while let Some((key, value)) = map.next_entry::<T, T>()? {
                    let (key, value) = entry(&key, &value);
                    attributes.insert(key, value);
                }
                Ok(attributes)
            }
        }
        deserializer.deserialize_map(EntryMap(PhantomData::<T>)).map(|map| Self(map, PhantomData))
    }
}

fn entry<T: WireText>(key: &T, value: &T) -> (AttributeKey, AttributeValue) {
    let (key, is_key_damaged) = key.text().unwrap_or_default();
    let value = match value.text() {
        Some((text, is_damaged)) if is_damaged || is_key_damaged => {
            AttributeValue::damaged(&text, value.json())
        }
        Some((text, _)) => AttributeValue::new(&text),
        // Arrays and objects become their compact JSON, which loses nothing.
        None => match serde_json::from_str(value.json()) {
            Ok(Value::Null) => AttributeValue::new(""),
            Ok(other) => AttributeValue::new(&other.to_string()),
            Err(_) => AttributeValue::new(value.json()),
        },
    };
    (AttributeKey::existing(&key), value)
}
