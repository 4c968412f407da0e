//! The audit of writes, as a port: which client wrote what where, and the outcome. Never a value.
//!
//! Each write request has an [`AuditEntry`]. The HTTP layer opens it, and the use case takes it
//! over while it works. Whichever of the two ends last records it: a write whose client hung up is
//! recorded with its true outcome, and each request exactly once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use smol_str::SmolStr;

use super::BoxFuture;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, KeyChange, KeyOutcome,
    ParticipantId, Patch,
};
use crate::error::{Effect, ErrorCode};

pub trait AuditPort: Send + Sync {
    /// Whether a write may be sent only once it has been recorded.
    fn blocks(&self) -> bool;

    /// The fingerprint of a value: equal for equal values of one key of one conversation, and
    /// useless without the key that it was made with.
    fn fingerprint(
        &self,
        conversation: ConversationId,
        key: &AttributeKey,
        value: &AttributeValue,
    ) -> String;

    /// Accepts a record at once, not when the future is first polled.
    fn record(&self, record: &AuditRecord) -> RecordedFuture;
}

/// Ends when a record was written, or could not be.
pub type RecordedFuture = BoxFuture<'static, Result<(), AuditWriteError>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit record could not be written")]
pub struct AuditWriteError;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// A write that is about to be sent. Only where records block.
    Intent,
    #[default]
    Outcome,
}

/// One line of the audit, with the names of its fields there.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditRecord {
    #[serde(rename = "record")]
    pub kind: RecordKind,
    #[serde(rename = "request.id")]
    pub request_id: String,
    #[serde(rename = "client.name", skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(rename = "http.method")]
    pub method: String,
    /// The conversation, where the path names one.
    #[serde(rename = "conversation.id", skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    #[serde(rename = "participant.selector", skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    #[serde(rename = "participant.id", skip_serializing_if = "Option::is_none")]
    pub participant: Option<ParticipantId>,
    #[serde(rename = "participant.purpose", skip_serializing_if = "Option::is_none")]
    pub purpose: Option<SmolStr>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The keys of the request, if it could be read.
    pub keys: Vec<KeyRecord>,
    /// How the request ended; `None` for an intent.
    #[serde(flatten)]
    pub ending: Option<ResponseSummary>,
}

#[derive(Clone, Debug, Serialize)]
pub struct KeyRecord {
    key: AttributeKey,
    /// The value before the write, if a read of this write showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<ValueFingerprint>,
    new: ValueFingerprint,
    /// `None` in an intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<KeyResult>,
}

/// The fingerprint of a value; `None` for an absent or empty one.
#[derive(Clone, Debug, Serialize)]
struct ValueFingerprint(Option<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyResult {
    /// Upstream accepted it, and then the request failed.
    Accepted,
    /// It may have been sent, and may have been applied.
    Unknown,
    NotSent,
    /// The outcome in the answer, even if the client had hung up.
    #[serde(untagged)]
    Outcome(KeyOutcome),
}

#[derive(Clone, Debug, Serialize)]
pub struct ResponseSummary {
    pub effect: Effect,
    /// Status of the answer; 499 if the client hung up before there was one.
    #[serde(rename = "http.status")]
    pub status: u16,
    #[serde(rename = "problem.code", skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    #[serde(rename = "correlation.id", skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(rename = "upstream.calls")]
    pub upstream_calls: u32,
}

/// What the participant holds upstream at some moment, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct StateBefore {
    /// The map as last read, with what upstream has accepted since.
    pub map: AttributeMap,
    /// Keys whose value is uncertain: the last change sent may or may not have been applied.
    pub doubtful: BTreeSet<AttributeKey>,
}

#[derive(Debug)]
pub struct WriteFindings {
    pub effect: Effect,
    pub code: Option<ErrorCode>,
    /// The chosen participant: id and purpose.
    pub target: Option<(ParticipantId, SmolStr)>,
    /// The map before anything was sent, if a read of this write showed it.
    pub map_before: Option<AttributeMap>,
    /// The result of each key, in the order of the patch.
    pub results: Vec<KeyResult>,
}

/// The audit record of one write request while it is being completed.
pub struct AuditEntry {
    audit: Arc<dyn AuditPort>,
    state: Mutex<EntryState>,
}

struct EntryState {
    record: AuditRecord,
    progress: WriteProgress,
}

#[derive(Clone, Copy, PartialEq)]
enum WriteProgress {
    /// No use case works on the write yet.
    NotStarted,
    InProgress,
    /// As `InProgress`, and the client hung up; with the status to record.
    HungUp(u16),
    Ended(Effect, Option<ErrorCode>),
    /// Another request will carry the write out, and record it.
    HandedOver,
}

impl fmt::Debug for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditEntry").finish_non_exhaustive()
    }
}

impl AuditEntry {
    /// The entry of a request that has just arrived. `record` holds its origin.
    pub fn new(audit: Arc<dyn AuditPort>, record: AuditRecord) -> Self {
        let progress = WriteProgress::NotStarted;
        Self { audit, state: Mutex::new(EntryState { record, progress }) }
    }

    /// Adds what the request asks for, once it was read.
    pub fn ask(
        &self,
        conversation: ConversationId,
        selector: &dyn fmt::Display,
        patch: &Patch,
        dry_run: bool,
    ) {
        let key_record = |(key, change): (&AttributeKey, &KeyChange)| KeyRecord {
            key: key.clone(),
            old: None,
            new: self.fingerprint(conversation, key, change.wanted()),
            outcome: None,
        };
        let keys = patch.iter().map(key_record).collect();
        let record = &mut self.state.lock().record;
        record.conversation = Some(conversation);
        record.selector = Some(selector.to_string());
        (record.dry_run, record.keys) = (dry_run, keys);
    }

    /// Leaves the record to the request that will carry the write out.
    pub fn hand_over(&self) {
        self.state.lock().progress = WriteProgress::HandedOver;
    }

    /// Records the answer that is about to be sent. Returns what to wait for before it is sent, if
    /// the settings require that. The audit reports a lost record; the answer stays true.
    pub fn answered(&self, mut ending: ResponseSummary) -> Option<RecordedFuture> {
        let mut state = self.state.lock();
        match state.progress {
            WriteProgress::HandedOver => return None,
            // The use case knows the effect first-hand.
            WriteProgress::Ended(effect, _) => ending.effect = effect,
            _ => {}
        }
        let recorded = self.record_outcome(&mut state, ending);
        self.audit.blocks().then_some(recorded)
    }

    /// Records that the client hung up, or leaves that to a use case that still works.
    pub fn client_disconnected(&self, mut ending: ResponseSummary) {
        let mut state = self.state.lock();
        match state.progress {
            WriteProgress::HandedOver => return,
            WriteProgress::NotStarted => ending.effect = Effect::NotApplied,
            WriteProgress::Ended(effect, code) => {
                (ending.effect, ending.code) = (effect, code.map(ErrorCode::as_str));
            }
            WriteProgress::InProgress | WriteProgress::HungUp(_) => {
                state.progress = WriteProgress::HungUp(ending.status);
                return;
            }
        }
        drop(self.record_outcome(&mut state, ending));
    }

    pub(super) fn start(&self) {
        self.state.lock().progress = WriteProgress::InProgress;
    }

    pub(super) fn is_in_progress(&self) -> bool {
        let progress = self.state.lock().progress;
        matches!(progress, WriteProgress::InProgress | WriteProgress::HungUp(_))
    }

    /// Records the intent, if the settings require that before a write is sent.
    pub(super) fn record_intent(&self) -> Option<RecordedFuture> {
        let state = self.state.lock();
        if state.record.dry_run || !self.audit.blocks() {
            return None;
        }
        let intent = AuditRecord { kind: RecordKind::Intent, ..state.record.clone() };
        Some(self.audit.record(&intent))
    }

    /// Adds the findings of the use case, and records them if the client hung up.
    pub(super) fn complete(
        &self,
        findings: WriteFindings,
        ending: impl FnOnce(u16) -> ResponseSummary,
    ) {
        let mut state = self.state.lock();
        let record = &mut state.record;
        if let (Some(before), Some(conversation)) = (&findings.map_before, record.conversation) {
            for KeyRecord { key, old, .. } in &mut record.keys {
                *old = Some(self.fingerprint(conversation, key, before.get(key.as_str())));
            }
        }
        for (key, result) in record.keys.iter_mut().zip(findings.results) {
            key.outcome = Some(result);
        }
        (record.participant, record.purpose) = findings.target.unzip();
        let ended = WriteProgress::Ended(findings.effect, findings.code);
        let before = std::mem::replace(&mut state.progress, ended);
        if let WriteProgress::HungUp(status) = before {
            drop(self.record_outcome(&mut state, ending(status)));
        }
    }

    fn record_outcome(&self, state: &mut EntryState, ending: ResponseSummary) -> RecordedFuture {
        // A key that no use case has handled was not sent.
        let is_started = state.progress != WriteProgress::NotStarted;
        let unknown = if is_started { KeyResult::Unknown } else { KeyResult::NotSent };
        for key in &mut state.record.keys {
            key.outcome.get_or_insert(unknown);
        }
        state.record.ending = Some(ending);
        self.audit.record(&state.record)
    }

    fn fingerprint(
        &self,
        on: ConversationId,
        key: &AttributeKey,
        value: Option<&AttributeValue>,
    ) -> ValueFingerprint {
        let value = value.filter(|value| !value.expose().is_empty());
        ValueFingerprint(value.map(|value| self.audit.fingerprint(on, key, value)))
    }
}
