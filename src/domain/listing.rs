//! Lists of live conversations: their filters and rows.

mod pages;
mod phone;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use utoipa::ToSchema;

use super::ids::{ConversationId, ParticipantId, ResourceId};
use super::timestamp::Timestamp;

pub use self::pages::{CursorPosition, ListingPage, PageWalker};
pub use self::phone::PhoneNumber;

/// Rows of one upstream page, as in the vendor's examples. The vendor publishes no maximum.
pub const PAGE_SIZE: usize = 100;

/// Direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallDirection {
    /// The customer called.
    Inbound,
    /// The contact center called the customer.
    Outbound,
}

impl CallDirection {
    /// The spelling of upstream.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

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

/// A live conversation, without attributes: the analytics query does not return them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListedConversation {
    /// Id of the conversation.
    #[serde(rename = "conversationId")]
    #[schema(value_type = String, format = "uuid")]
    pub id: ConversationId,
    // In milliseconds since 1970. Lists are ordered by it, newest first.
    #[serde(skip)]
    pub at: i64,
    /// When the conversation began, in the format of Genesys Cloud.
    #[serde(rename = "startTime")]
    #[schema(value_type = Option<String>)]
    pub start: Option<Timestamp>,
    /// `inbound` or `outbound`.
    #[schema(value_type = Option<String>)]
    pub direction: Option<SmolStr>,
    /// Everyone who has ever joined.
    pub participants: Vec<ListedParticipant>,
}

/// A participant of a listed conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ListedParticipant {
    /// Id of the participant.
    #[serde(rename = "participantId")]
    #[schema(value_type = String, format = "uuid")]
    pub id: ParticipantId,
    /// Purpose of the participant, such as `customer`.
    #[schema(value_type = String)]
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
