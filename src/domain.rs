//! What attributes mean: keys, values, patches, participants, and when a write counts as proved.
//!
//! Pure: no async, no sockets, no clock. Time comes in as an argument, so every rule of the
//! contract can be tested as a table.

mod attributes;
mod ids;
mod limits;
mod participant;
mod patch;
mod report;
mod verification;

pub use attributes::{AttributeKey, AttributeMap, AttributeValue, InvalidKey};
pub use ids::{ConversationId, InvalidId, ParticipantId};
pub use limits::{Limits, SizeExcess, Violation};
pub use participant::{
    Candidate, Chosen, ChosenBy, Conversation, Intent, InvalidSelector, Participant,
    ParticipantSelector, UnresolvedParticipant,
};
pub use patch::{Change, Patch};
pub use report::{Outcome, Verification, VerificationStatus, WriteReport};
pub use verification::{Evidence, Unseen, Watch};
