//! Pieces of a body of which little is kept: most of it is skipped without an allocation.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

/// A value of which only matters that it is there, and not `null`.
#[derive(Debug)]
pub struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// The last of a participant's communications of one media: its state is the participant's.
#[derive(Debug)]
pub struct LastLeg(Option<String>);

impl LastLeg {
    /// Its state; `None` of no communication at all, or of one without a state.
    pub fn into_state(self) -> Option<String> {
        self.0
    }
}

#[derive(Deserialize)]
struct Leg {
    state: Option<String>,
}

impl<'de> Deserialize<'de> for LastLeg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Legs;
        impl<'de> Visitor<'de> for Legs {
            type Value = LastLeg;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of communications")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut legs: A) -> Result<Self::Value, A::Error> {
                let mut last = None;
                while let Some(Leg { state }) = legs.next_element()? {
                    last = state;
                }
                Ok(LastLeg(last))
            }
        }
        deserializer.deserialize_seq(Legs)
    }
}
