//! Parts of a body that skip most of their JSON without an allocation.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use smol_str::SmolStr;

use crate::domain::Timestamp;

/// A value that only shows whether a field is present and not `null`.
#[derive(Debug)]
pub struct PresenceFlag;

impl<'de> Deserialize<'de> for PresenceFlag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// A time, or `None` if it is unreadable. Even an unreadable `endTime` ends a conversation.
#[derive(Debug)]
pub struct WireTime(pub Option<Timestamp>);

impl<'de> Deserialize<'de> for WireTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl<'de> Visitor<'de> for TimeVisitor {
            type Value = WireTime;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_str<E>(self, text: &str) -> Result<WireTime, E> {
                Ok(WireTime(Timestamp::parse(text)))
            }

            fn visit_bool<E>(self, _: bool) -> Result<WireTime, E> {
                Ok(WireTime(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<WireTime, E> {
                Ok(WireTime(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<WireTime, E> {
                Ok(WireTime(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<WireTime, E> {
                Ok(WireTime(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<WireTime, A::Error> {
                IgnoredAny.visit_map(map).map(|_| WireTime(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<WireTime, A::Error> {
                IgnoredAny.visit_seq(seq).map(|_| WireTime(None))
            }
        }
        deserializer.deserialize_any(TimeVisitor)
    }
}

/// A string, borrowed from the body unless it contains escapes. Without this wrapper, serde copies
/// the string of an `Option<Cow<str>>`. `Debug` shows only the length, because the string may be a
/// name.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct WireText<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl fmt::Debug for WireText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl WireText<'_> {
    /// An owned copy.
    pub fn into_owned(self) -> SmolStr {
        self.0.into()
    }
}

/// The last of a participant's communications of one media type. Its state is the participant's
/// state.
#[derive(Debug)]
pub struct LastLeg<'a>(Option<WireText<'a>>);

impl<'a> LastLeg<'a> {
    /// Its state; `None` without a communication, or without a state.
    pub fn into_state(self) -> Option<WireText<'a>> {
        self.0
    }
}

#[derive(Deserialize)]
struct MediaLeg<'a> {
    #[serde(borrow)]
    state: Option<WireText<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for LastLeg<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LegList;
        impl<'de> Visitor<'de> for LegList {
            type Value = LastLeg<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of communications")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut legs: A) -> Result<Self::Value, A::Error> {
                let mut last = None;
                while let Some(MediaLeg { state }) = legs.next_element()? {
                    last = state;
                }
                Ok(LastLeg(last))
            }
        }
        deserializer.deserialize_seq(LegList)
    }
}
