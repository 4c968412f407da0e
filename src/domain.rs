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

pub use attributes::{AttributeKey, AttributeMap, AttributeValue, InvalidKey};
pub use client::{Client, ClientName, InvalidDigest, InvalidName, KeyDigest};
pub use half_surrogates::MarkedJson;
pub use ids::{ConversationId, InvalidId, ParticipantId};
pub use limits::{AttributeLimits, SizeExcess, Violation, json_pointer};
pub use listing::{
    CallDirection, ConversationFilter, CursorPosition, InvalidNumber, ListPage, ListedConversation,
    ListedParticipant, ListingPage, PAGE_SIZE, PageWalker, PhoneNumber, ResourceId,
};
pub use participant::{
    Conversation, InvalidSelector, Participant, ParticipantSelector, ParticipantSummary,
    PersonName, ResolvedParticipant, SelectionRule, SelectorIntent, UnresolvedParticipant,
};
pub use patch::{KeyChange, Patch};
pub use report::{KeyOutcome, VerificationStatus, VerificationSummary, WriteReport};
pub use rights::{AccessMode, ClientRights, InvalidPattern, KeyPattern, RightsRefusal};
pub use spelling::closest_word;
pub use timestamp::{TimeRange, Timestamp};
pub use verification::{SettleTime, UnconfirmedValues, WriteVerifier};
