//! Which live conversations there are: what a list is narrowed by, and its rows.

mod pages;
mod phone;

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use smol_str::SmolStr;

use super::ids::{ConversationId, InvalidId, ParticipantId, hyphenated};
use super::timestamp::Timestamp;

pub use self::pages::{CursorPosition, ListingPage, PageWalker};
pub use self::phone::{InvalidNumber, PhoneNumber};

/// Rows of upstream's pages: what the vendor's own examples ask for. The most that it would give is
/// not published.
pub const PAGE_SIZE: usize = 100;

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallDirection {
    /// The customer called.
    Inbound,
    /// The customer was called.
    Outbound,
}

impl CallDirection {
    /// Both, in the spelling of upstream.
    pub const WORDS: [&str; 2] = ["inbound", "outbound"];

    /// The spelling of upstream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => Self::WORDS[0],
            Self::Outbound => Self::WORDS[1],
        }
    }

    /// The direction with this spelling.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Inbound, Self::Outbound].into_iter().find(|direction| direction.as_str() == word)
    }
}

/// Id of a queue or a user, which nothing is done with but to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ResourceId(Uuid);

impl FromStr for ResourceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        hyphenated(text).map(Self)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which conversations are wanted, of those that are live and voice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConversationFilter {
    /// Those that began like this.
    pub direction: Option<CallDirection>,
    /// Those that are in this queue, or with an agent of it, now.
    pub queue: Option<ResourceId>,
    /// Those that this user takes part in now.
    pub user: Option<ResourceId>,
    /// Those from this number.
    pub ani: Option<PhoneNumber>,
    /// Those to this number.
    pub dnis: Option<PhoneNumber>,
}

/// A live conversation, as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedConversation {
    /// Its id.
    pub id: ConversationId,
    /// When it began, in milliseconds since 1970: what lists are ordered by, the newest first.
    pub at: i64,
    /// The same as upstream spells it.
    pub start: Option<Timestamp>,
    /// Who called whom, as upstream spells it.
    pub direction: Option<SmolStr>,
    /// Everybody who ever joined.
    pub participants: Vec<ListedParticipant>,
}

/// A participant, as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedParticipant {
    /// Its id.
    pub id: ParticipantId,
    /// Its purpose; empty if upstream named none.
    pub purpose: SmolStr,
}

/// One page of upstream's.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Its rows, those without an id left out.
    pub rows: Vec<ListedConversation>,
    /// How many rows it had.
    pub received: usize,
    /// How many rows there are on all pages, as far as upstream tells.
    pub total: Option<u64>,
}
