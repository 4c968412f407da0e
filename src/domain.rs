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
pub use limits::{Limits, SizeExcess, Violation};
pub use listing::{
    Bookmark, ConversationFilter, Direction, InvalidNumber, ListPage, Listed, ListedParticipant,
    Listing, PAGE_SIZE, Pages, PhoneNumber, ResourceId,
};
pub use participant::{
    Candidate, Chosen, ChosenBy, Conversation, Intent, InvalidSelector, Participant,
    ParticipantSelector, PersonName, UnresolvedParticipant,
};
pub use patch::{Change, Patch};
pub use report::{Outcome, Verification, VerificationStatus, WriteReport};
pub use rights::{Access, InvalidPattern, KeyPattern, Refusal, Rights};
pub use spelling::closest_word;
pub use timestamp::{Span, Timestamp};
pub use verification::{SettleTime, Unseen, Watch};
