//! What a write came to: an outcome for each key, and the state that was read last.

use std::collections::BTreeMap;

use super::attributes::{AttributeKey, AttributeMap};
use super::ids::ConversationId;
use super::participant::{ParticipantSummary, SelectionRule};

/// What became of one key. Ordered from best to worst: the worst decides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyOutcome {
    /// A read sent after the request arrived showed the wanted value; nothing was sent.
    Unchanged,
    /// A dry run would have sent it.
    WouldSend,
    /// Sent, and the last read-back shows the wanted value.
    Verified,
    /// Asked to be removed, sent, and read back absent or empty.
    Cleared,
    /// Accepted upstream, not seen before the answer was due.
    Unverified,
    /// Another writer's value stands in the place of ours.
    Superseded,
}

impl KeyOutcome {
    /// The spelling in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::WouldSend => "wouldSend",
            Self::Verified => "verified",
            Self::Cleared => "cleared",
            Self::Unverified => "unverified",
            Self::Superseded => "superseded",
        }
    }
}

/// Where the proof of a write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationStatus {
    /// Every key shows its value.
    Verified,
    /// Accepted, not seen yet.
    Unverified,
    /// Seen replaced.
    Superseded,
    /// Nothing had to be sent.
    NotNeeded,
    /// The client asked not to wait (`verify=none`).
    Skipped,
}

impl VerificationStatus {
    /// The spelling in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Superseded => "superseded",
            Self::NotNeeded => "notNeeded",
            Self::Skipped => "skipped",
        }
    }
}

/// How a write was proved.
#[derive(Clone, Copy, Debug)]
pub struct VerificationSummary {
    /// Where it stands.
    pub status: VerificationStatus,
    /// Read-backs that were made.
    pub reads: u32,
    /// From the acceptance of the PATCH to the answer, in milliseconds.
    pub elapsed_ms: u64,
}

/// The answer to a write.
#[derive(Clone, Debug)]
pub struct WriteReport {
    /// The conversation.
    pub conversation: ConversationId,
    /// The participant written to.
    pub participant: ParticipantSummary,
    /// The rule that chose it.
    pub chosen_by: SelectionRule,
    /// The whole map as last read.
    pub attributes: AttributeMap,
    /// Whether `attributes` was read after the last PATCH was accepted, so that its ETag describes
    /// a state that this write has come to.
    pub fresh: bool,
    /// What became of each key that was asked for.
    pub outcomes: BTreeMap<AttributeKey, KeyOutcome>,
    /// How it was proved.
    pub verification: VerificationSummary,
    /// Things that went less than well, for a person to read; never values.
    pub warnings: Vec<String>,
    /// It was a dry run: nothing was sent, whatever the outcomes say would be.
    pub dry_run: bool,
    /// The map that would result; of a dry run alone.
    pub resulting: Option<AttributeMap>,
}

impl WriteReport {
    /// The map whose size is told: as last read, or as a dry run would leave it.
    pub fn sized(&self) -> &AttributeMap {
        self.resulting.as_ref().unwrap_or(&self.attributes)
    }

    /// The worst outcome; of nothing at all, `unchanged`.
    pub fn worst(&self) -> KeyOutcome {
        self.outcomes.values().copied().max().unwrap_or(KeyOutcome::Unchanged)
    }

    /// Keys that another writer replaced.
    pub fn superseded(&self) -> impl Iterator<Item = &AttributeKey> {
        let replaced =
            |(_, outcome): &(&AttributeKey, &KeyOutcome)| **outcome == KeyOutcome::Superseded;
        self.outcomes.iter().filter(replaced).map(|(key, _)| key)
    }
}
