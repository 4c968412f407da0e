//! Reads the attributes of a participant.
//!
//! The model allows only strings, but the official tutorial writes `true`. So scalars are read as
//! their text, and `null` as an empty value. A value from another writer must never make a
//! conversation unreadable.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::domain::{AttributeKey, AttributeMap, AttributeValue};

/// A map of attributes in JSON.
#[derive(Debug)]
pub struct WireAttributes(AttributeMap);

impl WireAttributes {
    /// The map of the domain.
    pub fn into_map(self) -> AttributeMap {
        self.0
    }
}

impl<'de> Deserialize<'de> for WireAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryMap;
        impl<'de> Visitor<'de> for EntryMap {
            type Value = AttributeMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut attributes = AttributeMap::default();
                while let Some(WireKey(key)) = map.next_key()? {
                    let WireValue(value) = map.next_value()?;
                    attributes.insert(key, value);
                }
                Ok(attributes)
            }
        }
        deserializer.deserialize_map(EntryMap).map(Self)
    }
}

struct WireKey(AttributeKey);

impl<'de> Deserialize<'de> for WireKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = AttributeKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(AttributeKey::existing(text))
            }
        }
        deserializer.deserialize_str(KeyVisitor).map(Self)
    }
}

struct WireValue(AttributeValue);

impl<'de> Deserialize<'de> for WireValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = AttributeValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(AttributeValue::new(text))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(AttributeValue::new(""))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(AttributeValue::new(if value { "true" } else { "false" }))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(AttributeValue::new(&value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(AttributeValue::new(&value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(AttributeValue::new(&value.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        serde_json::Value::deserialize(MapAccessDeserializer::new(map)).map(as_text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        serde_json::Value::deserialize(SeqAccessDeserializer::new(seq)).map(as_text)
    }
}

/// Arrays and objects become their compact JSON, which loses nothing.
#[expect(clippy::needless_pass_by_value, reason = "fits `Result::map`")]
fn as_text(value: serde_json::Value) -> AttributeValue {
    AttributeValue::new(&value.to_string())
}
