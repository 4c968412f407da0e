//! Ids of conversations and participants: UUIDs in their hyphenated form.
//!
//! Every id in an upstream path is of these types, so no client can manipulate a path.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of the form 8-4-4-4-12")]
pub struct InvalidId;

/// Id of a `Kind` of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceUuid<Kind>(Uuid, PhantomData<Kind>);

/// Id of a conversation.
pub type ConversationId = ResourceUuid<ConversationKind>;

/// Id of a participant within a conversation. It stays the same when the participant's purpose
/// changes from `external` to `customer`.
pub type ParticipantId = ResourceUuid<ParticipantKind>;

/// Id of a queue or a user. The gateway only compares it.
pub type ResourceId = ResourceUuid<OtherKind>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConversationKind {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParticipantKind {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OtherKind {}

impl<Kind> ResourceUuid<Kind> {
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes), PhantomData)
    }
}

impl<Kind> FromStr for ResourceUuid<Kind> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // `Uuid` also accepts braces, URNs and bare digits, which upstream does not.
        let id = Uuid::try_parse(text).ok().filter(|_| text.len() == Hyphenated::LENGTH);
        id.map(|id| Self(id, PhantomData)).ok_or(InvalidId)
    }
}

impl<Kind> fmt::Display for ResourceUuid<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<Kind> Serialize for ResourceUuid<Kind> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_form_is_read_and_written_in_lower_case() {
        let id: ConversationId = "8E0F1A2B-0000-4000-8000-00000000ABCD".parse().expect("valid");
        assert_eq!(id.to_string(), "8e0f1a2b-0000-4000-8000-00000000abcd");
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "8e0f",
            "8e0f1a2b00004000800000000000abcd",
            "{8e0f1a2b-0000-4000-8000-00000000abcd}",
            "urn:uuid:8e0f1a2b-0000-4000-8000-00000000abcd",
            "8e0f1a2b-0000-4000-8000-00000000abc/",
            "8e0f1a2b-0000-4000-8000-00000000abcé",
            "../../../../../../../../oauth/token?",
        ] {
            assert_eq!(text.parse::<ConversationId>(), Err(InvalidId), "{text}");
            assert_eq!(text.parse::<ParticipantId>(), Err(InvalidId), "{text}");
        }
    }
}
