//! Lists of live conversations: their filters and rows.

mod pages;
mod phone;

use smol_str::SmolStr;

use super::ids::{ConversationId, ParticipantId, ResourceId};
use super::timestamp::Timestamp;

pub use self::pages::{CursorPosition, ListingPage, PageWalker};
pub use self::phone::PhoneNumber;

/// Rows of one upstream page, as in the vendor's examples. The vendor publishes no maximum.
pub const PAGE_SIZE: usize = 100;

/// Direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallDirection {
    /// The customer called.
    Inbound,
    /// The contact center called the customer.
    Outbound,
}

impl CallDirection {
    /// Both spellings of upstream.
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

/// Which of the live voice conversations a list contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConversationFilter {
    pub direction: Option<CallDirection>,
    /// Only calls that are now in this queue, or with an agent of it.
    pub queue: Option<ResourceId>,
    /// Only calls in which this user now takes part.
    pub user: Option<ResourceId>,
    pub ani: Option<PhoneNumber>,
    pub dnis: Option<PhoneNumber>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedConversation {
    pub id: ConversationId,
    /// Its start in milliseconds since 1970. Lists are ordered by it, newest first.
    pub at: i64,
    pub start: Option<Timestamp>,
    /// In upstream's spelling.
    pub direction: Option<SmolStr>,
    /// All participants, including those that have left.
    pub participants: Vec<ListedParticipant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedParticipant {
    pub id: ParticipantId,
    /// Empty if upstream named none.
    pub purpose: SmolStr,
}

/// One page of upstream's list.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// Its rows, without those that lack an id.
    pub rows: Vec<ListedConversation>,
    /// Number of rows that upstream sent.
    pub received: usize,
    /// Number of rows on all pages, if upstream says so.
    pub total: Option<u64>,
}
