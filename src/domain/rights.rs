//! What a client may do: read or write, which keys it sees, which participants it may name.
//!
//! A key that a client may not see is to it as if it were absent, wherever it looks. So there is one
//! question for reading and writing alike, and its answer depends on the name of the key alone,
//! never on whether there is such a key.

mod pattern;

use std::borrow::Cow;
use std::fmt;

pub use pattern::{InvalidPattern, KeyPattern};

use super::attributes::AttributeMap;
use super::participant::{Conversation, Participant, ParticipantSelector};

/// Whether a client may change anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// Reads alone.
    Read,
    /// Reads and writes.
    #[default]
    Write,
}

/// What a client may do.
#[derive(Clone, Debug, Default)]
pub struct ClientRights {
    /// Whether it may write.
    pub access: AccessMode,
    /// The keys that it may read and write; `None` for all.
    pub allow: Option<Vec<KeyPattern>>,
    /// Keys that it may not read or write, although they are allowed.
    pub deny: Vec<KeyPattern>,
    /// Keys that are not shown to it.
    pub hide: Vec<KeyPattern>,
    /// The participants that it may name; `None` for all.
    pub participants: Option<Vec<ParticipantSelector>>,
}

/// The rule by which a key is kept from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsRefusal<'a> {
    /// None of the patterns in `allow` fits.
    NotAllowed,
    /// One in `deny` fits.
    Denied(&'a KeyPattern),
    /// One in `hide` fits.
    Hidden(&'a KeyPattern),
}

impl fmt::Display for RightsRefusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("no pattern in `allow` of this caller fits the key"),
            Self::Denied(pattern) => write!(f, "`deny` of this caller has `{pattern}`"),
            Self::Hidden(pattern) => write!(f, "`hide` of this caller has `{pattern}`"),
        }
    }
}

impl ClientRights {
    /// Whether the client may change anything.
    pub fn may_write(&self) -> bool {
        self.access == AccessMode::Write
    }

    /// Whether no key is kept from the client. Costs next to nothing.
    pub fn sees_all(&self) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(KeyPattern::matches_all))
            && self.deny.is_empty()
            && self.hide.is_empty()
    }

    /// Whether the client may know of this key, and so read and write it.
    pub fn sees(&self, key: &str) -> bool {
        self.refuses(key).is_none()
    }

    /// Why the client may not know of this key; `None` if it may.
    pub fn refuses(&self, key: &str) -> Option<RightsRefusal<'_>> {
        let fitting = |patterns: &'_ [KeyPattern]| patterns.iter().position(|one| one.matches(key));
        if let Some(at) = fitting(&self.deny) {
            return Some(RightsRefusal::Denied(&self.deny[at]));
        }
        if let Some(at) = fitting(&self.hide) {
            return Some(RightsRefusal::Hidden(&self.hide[at]));
        }
        let allowed = self.allow.as_ref().is_none_or(|allow| fitting(allow).is_some());
        (!allowed).then_some(RightsRefusal::NotAllowed)
    }

    /// The map as the client sees it; the same map, not copied, if nothing is kept from it.
    pub fn seen<'a>(&self, map: &'a AttributeMap) -> Cow<'a, AttributeMap> {
        if self.sees_all() || map.iter_held().all(|(key, _)| self.sees(key.as_str())) {
            return Cow::Borrowed(map);
        }
        let kept = map.iter_held().filter(|(key, _)| self.sees(key.as_str()));
        Cow::Owned(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Whether the client may name a participant by this selector. A UUID is judged on the
    /// participant that it turns out to be, by [`ClientRights::reaches`].
    pub fn may_name(&self, selector: &ParticipantSelector) -> bool {
        let Some(permitted) = &self.participants else { return true };
        selector.id().is_some() || permitted.iter().any(|one| one.includes(selector))
    }

    /// Whether one of the permitted selectors means this participant. `whole` tells whether
    /// `conversation` shows everybody in it: where it does not, nobody can be told to be the first.
    pub fn reaches(&self, one: &Participant, conversation: &Conversation, whole: bool) -> bool {
        let Some(permitted) = &self.participants else { return true };
        permitted.iter().any(|selector| selector.means(one, conversation, whole))
    }
}

#[cfg(test)]
mod tests;
