//! The audit of writes, as a port: which client wrote what where, and the outcome. Never a value.
//!
//! Each write request has an [`AuditEntry`]. The HTTP layer opens it, and the use case takes it
//! over while it works. Whichever of the two ends last records it: a write whose client hung up is
//! recorded with its true outcome, and each request exactly once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::BoxFuture;
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, KeyOutcome, ParticipantId, Patch,
};
use crate::error::{Effect, ErrorCode};

/// Keys recorded of one request; more than fit into a participant's attributes.
const MAX_KEYS: usize = 2000;

/// Receives audit records.
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

    /// Counts a write request that was refused before it was read: unauthenticated, or over a
    /// client's own rate. There may be any number of them, so they are only counted.
    fn refused(&self, code: ErrorCode);

    /// Accepts a record at once, not when the future is first polled. The future ends when the
    /// record was written; it is ready at once where writes need not wait for that.
    fn record(&self, record: AuditRecord) -> BoxFuture<'static, Result<(), AuditWriteError>>;
}

/// A record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit record could not be written")]
pub struct AuditWriteError;

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A write that is about to be sent. Only where records block.
    Intent,
    /// A write request that has ended.
    Outcome,
}

/// One line of the audit.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Its kind.
    pub stage: RecordKind,
    /// The sender of the request.
    pub origin: RequestOrigin,
    /// The conversation, where the path names one.
    pub conversation: Option<ConversationId>,
    /// The participant selector of the request, if the request could be read.
    pub selector: Option<String>,
    /// The chosen participant: id and purpose.
    pub participant: Option<(ParticipantId, String)>,
    /// The keys of the request, if it could be read.
    pub keys: Vec<KeyRecord>,
    /// The number of keys that are not recorded.
    pub keys_left_out: usize,
    /// Whether the request was a dry run.
    pub dry_run: bool,
    /// How the request ended; `None` for an intent.
    pub ending: Option<ResponseSummary>,
}

/// One key in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: AttributeKey,
    /// The value before the write.
    pub old: ValueFingerprint,
    /// The requested value.
    pub new: ValueFingerprint,
    /// The result; `None` in an intent.
    pub end: Option<KeyResult>,
}

/// A value in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValueFingerprint {
    /// The value is not known.
    #[default]
    Unknown,
    /// Nothing: absent or empty.
    Absent,
    /// A value, by its fingerprint.
    Of(String),
}

/// The result of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyResult {
    /// The outcome in the answer, even if the client had hung up.
    Outcome(KeyOutcome),
    /// Upstream accepted it, and then the request failed.
    Accepted,
    /// It may have been sent, and may have been applied.
    Unknown,
    /// It was not sent.
    NotSent,
}

impl KeyResult {
    /// The spelling in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outcome(outcome) => outcome.as_str(),
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::NotSent => "notSent",
        }
    }
}

/// The sender of a request, as the HTTP layer knows it.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// Name of the client, if it was authenticated.
    pub client: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Id of the request.
    pub request_id: String,
    /// HTTP method.
    pub method: String,
}

/// How a write request ended.
#[derive(Clone, Debug)]
pub struct ResponseSummary {
    /// Status of the answer; 499 if the client hung up before there was one.
    pub status: u16,
    /// Code of the problem.
    pub code: Option<ErrorCode>,
    /// The effect upstream.
    pub effect: Effect,
    /// Genesys' correlation id of the last call.
    pub correlation_id: Option<String>,
    /// Calls to the platform API.
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

/// What the use case found out about a write.
#[derive(Debug)]
pub struct WriteFindings {
    /// The effect upstream.
    pub effect: Effect,
    /// The code of its failure.
    pub code: Option<ErrorCode>,
    /// The chosen participant: id and purpose.
    pub target: Option<(ParticipantId, String)>,
    /// The map before anything was sent, if it is known.
    pub state_before: Option<Arc<StateBefore>>,
    /// The result of each key, in the order of the patch.
    pub ends: Vec<KeyResult>,
}

/// What is known so far of one write request.
pub struct AuditEntry {
    pub(super) audit: Arc<dyn AuditPort>,
    origin: RequestOrigin,
    state: Mutex<AuditEntryState>,
}

#[derive(Default)]
pub(super) struct AuditEntryState {
    pub(super) conversation: Option<ConversationId>,
    selector: Option<String>,
    pub(super) dry_run: bool,
    pub(super) keys: Vec<KeyRecord>,
    keys_left_out: usize,
    pub(super) participant: Option<(ParticipantId, String)>,
    /// A use case works on it.
    pub(super) taken: bool,
    /// The effect and the error code that the use case ended with.
    pub(super) found: Option<(Effect, Option<ErrorCode>)>,
    /// The status recorded for a client that hung up.
    pub(super) hung_up: Option<u16>,
}

impl fmt::Debug for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditEntry").field("caller", &self.origin).finish_non_exhaustive()
    }
}

impl AuditEntry {
    /// The entry of a request that has just arrived.
    pub fn new(
        audit: Arc<dyn AuditPort>,
        origin: RequestOrigin,
        conversation: Option<ConversationId>,
    ) -> Self {
        let state = AuditEntryState { conversation, ..AuditEntryState::default() };
        Self { audit, origin, state: Mutex::new(state) }
    }

    /// Adds what the request asks for, once it was read.
    pub fn ask(
        &self,
        conversation: ConversationId,
        selector: &dyn fmt::Display,
        patch: &Patch,
        dry_run: bool,
    ) {
        let mut state = self.state();
        state.conversation = Some(conversation);
        let new = |key: &AttributeKey, value: Option<&AttributeValue>| {
            value.map_or(ValueFingerprint::Absent, |value| {
                self.fingerprint(conversation, key, value)
            })
        };
        let record = |(key, change): (&AttributeKey, &crate::domain::KeyChange)| KeyRecord {
            key: key.clone(),
            old: ValueFingerprint::Unknown,
            new: new(key, change.wanted()),
            end: None,
        };
        state.keys = patch.iter().take(MAX_KEYS).map(record).collect();
        state.keys_left_out = patch.keys().count().saturating_sub(MAX_KEYS);
        state.selector = Some(selector.to_string());
        state.dry_run = dry_run;
    }

    /// Records the answer that is about to be sent. The future ends when the record was written, if
    /// the settings require that.
    pub fn answered(&self, mut ending: ResponseSummary) -> BoxFuture<'static, ()> {
        let state = self.state();
        if let Some((effect, _)) = state.found {
            // The use case knows the effect first-hand.
            ending.effect = effect;
        }
        let record = self.outcome(&state, ending);
        drop(state);
        let recorded = self.audit.record(record);
        if !self.audit.blocks() {
            return Box::pin(async {});
        }
        // The audit writer reports a lost record; the answer stays true.
        Box::pin(async {
            let _ = recorded.await;
        })
    }

    /// Records that the client hung up before it was answered. A use case that still works writes
    /// the record when it ends.
    pub fn client_disconnected(&self, mut ending: ResponseSummary) {
        let mut state = self.state();
        match state.found {
            Some((effect, code)) => (ending.effect, ending.code) = (effect, code),
            None if state.taken => {
                state.hung_up = Some(ending.status);
                return;
            }
            // Nothing had started.
            None => ending.effect = Effect::NotApplied,
        }
        let record = self.outcome(&state, ending);
        drop(state);
        drop(self.audit.record(record));
    }

    fn fingerprint(
        &self,
        on: ConversationId,
        key: &AttributeKey,
        value: &AttributeValue,
    ) -> ValueFingerprint {
        if value.expose().is_empty() {
            return ValueFingerprint::Absent;
        }
        ValueFingerprint::Of(self.audit.fingerprint(on, key, value))
    }

    pub(super) fn old(
        &self,
        on: ConversationId,
        key: &AttributeKey,
        state_before: &StateBefore,
    ) -> ValueFingerprint {
        if state_before.doubtful.contains(key) {
            return ValueFingerprint::Unknown;
        }
        state_before
            .map
            .get(key.as_str())
            .map_or(ValueFingerprint::Absent, |value| self.fingerprint(on, key, value))
    }

    pub(super) fn outcome(&self, state: &AuditEntryState, ending: ResponseSummary) -> AuditRecord {
        let mut record = self.record(state, RecordKind::Outcome);
        // A key that no use case has handled was not sent.
        let untold = if state.taken { KeyResult::Unknown } else { KeyResult::NotSent };
        for key in &mut record.keys {
            key.end.get_or_insert(untold);
        }
        record.ending = Some(ending);
        record
    }

    pub(super) fn record(&self, state: &AuditEntryState, kind: RecordKind) -> AuditRecord {
        AuditRecord {
            stage: kind,
            origin: self.origin.clone(),
            conversation: state.conversation,
            selector: state.selector.clone(),
            participant: state.participant.clone(),
            keys: state.keys.clone(),
            keys_left_out: state.keys_left_out,
            dry_run: state.dry_run,
            ending: None,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, AuditEntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
