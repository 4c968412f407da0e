//! The result of a write: the outcome of each key, and the attributes of the last read.

use std::collections::BTreeMap;

use super::attributes::{AttributeKey, AttributeMap};
use super::ids::ConversationId;
use super::participant::{ParticipantSummary, SelectionRule};

/// Outcome of one key, ordered from best to worst. The worst outcome decides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyOutcome {
    /// A read after the arrival of the request showed the wanted value, so nothing was sent.
    Unchanged,
    /// A dry run would have sent it.
    WouldSend,
    /// The gateway sent it, and the last read-back shows the wanted value.
    Verified,
    /// The gateway cleared it, and the last read-back shows it absent or empty.
    Cleared,
    /// Upstream accepted it, but no read-back showed it in time.
    Unverified,
    /// Another writer's value has replaced it.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum VerificationStatus {
    Verified,
    Unverified,
    Superseded,
    NotNeeded,
    /// The client asked for no verification (`verify=none`).
    Skipped,
}

/// How the gateway verified a write.
#[derive(Clone, Copy, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationSummary {
    /// `verified`, `unverified`, `superseded`, `notNeeded` or `skipped`.
    #[schema(value_type = String)]
    pub status: VerificationStatus,
    /// Number of read-backs.
    pub reads: u32,
    /// Milliseconds from the accepted PATCH to the response.
    pub elapsed_ms: u64,
}

/// The answer to a write.
#[derive(Clone, Debug)]
pub struct WriteReport {
    /// Its conversation.
    pub conversation: ConversationId,
    /// The participant of the write.
    pub participant: ParticipantSummary,
    /// The rule that selected it.
    pub chosen_by: SelectionRule,
    /// The whole map from the last read.
    pub attributes: AttributeMap,
    /// Whether `attributes` was read after upstream accepted the last PATCH. Only then does its ETag
    /// describe the result of this write.
    pub fresh: bool,
    /// The outcome of each key in the request.
    pub outcomes: BTreeMap<AttributeKey, KeyOutcome>,
    /// How it was verified.
    pub verification: VerificationSummary,
    /// Warnings for a person to read, without values.
    pub warnings: Vec<String>,
    /// It was a dry run, so nothing was sent.
    pub dry_run: bool,
    /// The map that a dry run would result in.
    pub resulting: Option<AttributeMap>,
}

impl WriteReport {
    /// The map whose size the answer states: the last read, or the result of a dry run.
    pub fn sized(&self) -> &AttributeMap {
        self.resulting.as_ref().unwrap_or(&self.attributes)
    }

    /// The worst outcome; `unchanged` if there are no keys.
    pub fn worst(&self) -> KeyOutcome {
        self.outcomes.values().copied().max().unwrap_or(KeyOutcome::Unchanged)
    }

    /// The keys whose values another writer replaced.
    pub fn superseded(&self) -> impl Iterator<Item = &AttributeKey> {
        let replaced =
            |(_, outcome): &(&AttributeKey, &KeyOutcome)| **outcome == KeyOutcome::Superseded;
        self.outcomes.iter().filter(replaced).map(|(key, _)| key)
    }
}
