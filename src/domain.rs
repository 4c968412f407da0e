//! What attributes mean: keys, values, patches, participants, who may touch them, and when a write
//! counts as proved.
//!
//! Pure: no async, no sockets, no clock. Time comes in as an argument, so every rule of the
//! contract can be tested as a table.

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
pub use limits::{AttributeLimits, SizeExcess, Violation};
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
