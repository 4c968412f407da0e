//! The rights of a client: access, keys and participants.
//!
//! A key that a client may not see appears absent to it everywhere. Reads and writes therefore share
//! one check. The check depends only on the name of the key, not on whether the key exists.

mod pattern;

use std::borrow::Cow;

pub use pattern::KeyPattern;

use super::attributes::{AttributeKey, AttributeMap};
use super::participant::{Conversation, Participant, ParticipantSelector};

/// Whether a client may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessMode {
    /// It may only read.
    Read,
    /// It may read and write.
    #[default]
    Write,
}

/// The rights of a client.
#[derive(Clone, Debug, Default)]
pub struct ClientRights {
    /// Whether it may write.
    pub access: AccessMode,
    /// Keys that it may read and write; `None` for all.
    pub allow: Option<Vec<KeyPattern>>,
    /// Keys that it may not read or write, even if `allow` matches.
    pub deny: Vec<KeyPattern>,
    /// Keys that are hidden from it.
    pub hide: Vec<KeyPattern>,
    /// Participants that it may use; `None` for all.
    pub participants: Option<Vec<ParticipantSelector>>,
    /// Whether it may use the live view and traces of calls. This grants no access to attributes.
    pub operate: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RightsRefusal<'a> {
    #[error("no pattern in `allow` of this client matches the key")]
    NotAllowed,
    #[error("`deny` of this client contains `{0}`")]
    Denied(&'a KeyPattern),
    #[error("`hide` of this client contains `{0}`")]
    Hidden(&'a KeyPattern),
}

impl ClientRights {
    /// Whether the client may write.
    pub fn may_write(&self) -> bool {
        self.access == AccessMode::Write
    }

    /// Whether the client may see every key. Cheap, because it looks at no key.
    pub fn sees_all(&self) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(KeyPattern::matches_all))
            && self.deny.is_empty()
            && self.hide.is_empty()
    }

    /// Whether the client may see this key, and so read and write it.
    pub fn sees(&self, key: &str) -> bool {
        self.refuses(key).is_none()
    }

    /// Why the client may not see this key; `None` if it may.
    pub fn refuses(&self, key: &str) -> Option<RightsRefusal<'_>> {
        if let Some(pattern) = matching(&self.deny, key) {
            return Some(RightsRefusal::Denied(pattern));
        }
        if let Some(pattern) = matching(&self.hide, key) {
            return Some(RightsRefusal::Hidden(pattern));
        }
        let allowed = self.allow.as_ref().is_none_or(|allow| matching(allow, key).is_some());
        (!allowed).then_some(RightsRefusal::NotAllowed)
    }

    /// The map as the client sees it. Copies the map only if a key is hidden.
    pub fn seen<'a>(&self, map: &'a AttributeMap) -> Cow<'a, AttributeMap> {
        let is_seen = |key: &AttributeKey| self.sees(key.as_str());
        if self.sees_all() || map.iter_held().all(|(key, _)| is_seen(key)) {
            return Cow::Borrowed(map);
        }
        let kept = map.iter_held().filter(|(key, _)| is_seen(key));
        Cow::Owned(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Whether the client may use this selector. A UUID always passes, because
    /// [`ClientRights::reaches`] checks its participant.
    pub fn may_name(&self, selector: &ParticipantSelector) -> bool {
        let Some(permitted) = &self.participants else { return true };
        selector.id().is_some() || permitted.iter().any(|one| one.includes(selector))
    }

    /// Whether a permitted selector selects this participant. `whole` says that `conversation` contains
    /// all participants; otherwise the first one is unknown.
    pub fn reaches(&self, one: &Participant, conversation: &Conversation, whole: bool) -> bool {
        let Some(permitted) = &self.participants else { return true };
        permitted.iter().any(|selector| selector.means(one, conversation, whole))
    }
}

fn matching<'a>(patterns: &'a [KeyPattern], key: &str) -> Option<&'a KeyPattern> {
    patterns.iter().find(|pattern| pattern.matches(key))
}

#[cfg(test)]
mod tests;
