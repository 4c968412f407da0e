//! What is read, what a read showed, and how participants are identified: shared by the parts of `app`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::time::Instant;

use crate::domain::{Conversation, ConversationId, ParticipantId};
use crate::ports::RequestContext;

/// A map keyed by the id of a conversation or participant.
pub type ById<K, V> = HashMap<K, V, foldhash::quality::RandomState>;

/// A participant of a conversation.
pub type ParticipantKey = (ConversationId, ParticipantId);

/// What is read: a conversation, or one participant where the route can do no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadTarget {
    pub conversation: ConversationId,
    /// The participant, on a route that reads participants singly.
    pub participant: Option<ParticipantId>,
}

/// What one read showed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When the read was sent, or a little earlier.
    pub sent: Instant,
    pub conversation: Arc<Conversation>,
    /// What it used: every request that shares the read counts its calls.
    pub spent: RequestContext,
}

pub fn log_id(id: ConversationId) -> tracing::field::DisplayValue<ConversationId> {
    tracing::field::display(id)
}
