//! The domain: attributes, patches, participants, the rights of clients, and write verification.
//!
//! The module is pure: no async, no sockets, no clock. Time is an argument, so tables of cases can
//! test each rule of the API.

mod attributes;
mod client;
mod half_surrogates;
mod ids;
mod limits;
mod listing;
mod participant;
mod patch;
mod report;
mod rights;
mod spelling;
mod timestamp;
mod verification;

pub use attributes::{AttributeKey, AttributeMap, AttributeValue};
pub use client::{Client, ClientName, KeyDigest};
pub use ids::{ConversationId, ParticipantId, ResourceId};
pub use limits::AttributeLimits;
pub use listing::{CallDirection, ListPage, PhoneNumber};
pub use participant::{Conversation, Participant, ParticipantSelector, SelectorIntent};
pub use patch::{KeyChange, Patch};
pub use report::{KeyOutcome, WriteReport};
pub use rights::{AccessMode, ClientRights, KeyPattern};
pub use timestamp::{TimeRange, Timestamp};
pub use verification::{SettleTime, UnconfirmedValues, WriteVerifier};

pub(crate) use client::InvalidDigest;
pub(crate) use half_surrogates::MarkedJson;
pub(crate) use limits::{SizeExcess, Violation, json_pointer};
pub(crate) use listing::{
    ConversationFilter, CursorPosition, ListedConversation, ListedParticipant, ListingPage,
    PAGE_SIZE, PageWalker,
};
pub(crate) use participant::{
    ParticipantSummary, PersonName, ResolvedParticipant, SelectionRule, UnresolvedParticipant,
};
pub(crate) use report::{VerificationStatus, VerificationSummary};
pub(crate) use spelling::closest_word;
