//! The audit of writes, as a port: who wrote what where, and what became of it. Never a value.
//!
//! Each write request has a [`AuditEntry`], which the edge opens and the use case takes over for as
//! long as it works on it. Whoever of the two ends last has it recorded, so that a write whose
//! client hung up is recorded with its true outcome, and each request exactly once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BoxFuture, RequestContext};
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, KeyOutcome, ParticipantId, Patch,
};
use crate::error::{Effect, Error, ErrorCode};

/// Keys of one request that are recorded; more than fit into a participant's attributes.
const MAX_KEYS: usize = 2000;

/// Where records go.
pub trait AuditPort: Send + Sync {
    /// Whether a write may be sent only once it has been recorded.
    fn blocks(&self) -> bool;

    /// What stands for a value in a record: equal for equal values of one key of one conversation,
    /// and of no use without the key that it was made with.
    fn fingerprint(
        &self,
        conversation: ConversationId,
        key: &AttributeKey,
        value: &AttributeValue,
    ) -> String;

    /// Takes note of a write request that was refused with this code before it was looked at: by a
    /// stranger, or over a client's own rate. There may be any number, so they are only counted.
    fn refused(&self, code: ErrorCode);

    /// Takes a record, at once and not when the future is first polled. The future ends when the
    /// record was written, or, where nobody has to wait for that, is ready.
    fn record(&self, record: AuditRecord) -> BoxFuture<'static, Result<(), AuditWriteError>>;
}

/// A record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit record could not be written")]
pub struct AuditWriteError;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A write that is about to be sent. Only where records block.
    Intent,
    /// A write request that is over.
    Outcome,
}

/// One line of the audit.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// What it is of.
    pub stage: RecordKind,
    /// Who asked.
    pub origin: RequestOrigin,
    /// The conversation, where the path names one.
    pub conversation: Option<ConversationId>,
    /// Whose attributes were asked for, where the request could be read.
    pub selector: Option<String>,
    /// Who was chosen: id and purpose.
    pub participant: Option<(ParticipantId, String)>,
    /// The keys that were asked for, where the request could be read.
    pub keys: Vec<KeyRecord>,
    /// Keys beyond what is recorded.
    pub keys_left_out: usize,
    /// Nothing was to be sent.
    pub dry_run: bool,
    /// How it ended; nothing yet for an intent.
    pub ending: Option<ResponseSummary>,
}

/// One key in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: AttributeKey,
    /// What stood there before.
    pub old: ValueFingerprint,
    /// What was asked for.
    pub new: ValueFingerprint,
    /// What became of it; `None` in an intent.
    pub end: Option<KeyResult>,
}

/// A value in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ValueFingerprint {
    /// It is not known what stood there.
    #[default]
    Unknown,
    /// Nothing: absent or empty.
    Absent,
    /// A value, by its fingerprint.
    Of(String),
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyResult {
    /// The outcome that the client was told, or would have been.
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

/// Who sent a request, as the edge knows it.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// Its name, if it was recognised.
    pub client: Option<String>,
    /// Where from.
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
    /// What it did upstream.
    pub effect: Effect,
    /// Genesys' correlation id of the last call.
    pub correlation_id: Option<String>,
    /// Calls to the platform API.
    pub upstream_calls: u32,
}

/// What stands upstream at some moment, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct StateBefore {
    /// As last read, with what upstream has accepted since.
    pub map: AttributeMap,
    /// Keys that it cannot be told of: what was sent last may or may not have been applied.
    pub doubtful: BTreeSet<AttributeKey>,
}

/// What the use case found out about a write.
#[derive(Debug)]
pub struct WriteFindings {
    /// What it did upstream.
    pub effect: Effect,
    /// The code of its failure.
    pub code: Option<ErrorCode>,
    /// Who was chosen.
    pub target: Option<(ParticipantId, String)>,
    /// What stood there before anything was sent, if that is known at all.
    pub state_before: Option<Arc<StateBefore>>,
    /// What became of each key, in the order of the patch.
    pub ends: Vec<KeyResult>,
}

/// What is known so far of one write request.
pub struct AuditEntry {
    audit: Arc<dyn AuditPort>,
    origin: RequestOrigin,
    state: Mutex<AuditEntryState>,
}

#[derive(Default)]
struct AuditEntryState {
    conversation: Option<ConversationId>,
    selector: Option<String>,
    dry_run: bool,
    keys: Vec<KeyRecord>,
    keys_left_out: usize,
    participant: Option<(ParticipantId, String)>,
    /// A use case works on it.
    taken: bool,
    /// The effect and the code that the use case ended with.
    found: Option<(Effect, Option<ErrorCode>)>,
    /// The status that stands for the client's hang-up.
    hung_up: Option<u16>,
}

impl fmt::Debug for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditEntry").field("caller", &self.origin).finish_non_exhaustive()
    }
}

impl AuditEntry {
    /// The dossier of a request that has just arrived.
    pub fn new(
        audit: Arc<dyn AuditPort>,
        origin: RequestOrigin,
        conversation: Option<ConversationId>,
    ) -> Self {
        let state = AuditEntryState { conversation, ..AuditEntryState::default() };
        Self { audit, origin, state: Mutex::new(state) }
    }

    /// The request could be read: this is what it asks for.
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

    /// The answer is about to leave. Ends when the record was written, where that is to be waited
    /// for.
    pub fn answered(&self, mut ending: ResponseSummary) -> BoxFuture<'static, ()> {
        let state = self.state();
        if let Some((effect, _)) = state.found {
            // The use case knows it at first hand.
            ending.effect = effect;
        }
        let record = self.outcome(&state, ending);
        drop(state);
        let recorded = self.audit.record(record);
        if !self.audit.blocks() {
            return Box::pin(async {});
        }
        // That it was lost is the business of whoever writes it: the answer stays true.
        Box::pin(async {
            let _ = recorded.await;
        })
    }

    /// The client hung up before there was an answer. A use case that is at work records it when it
    /// ends.
    pub fn client_disconnected(&self, mut ending: ResponseSummary) {
        let mut state = self.state();
        match state.found {
            Some((effect, code)) => (ending.effect, ending.code) = (effect, code),
            None if state.taken => {
                state.hung_up = Some(ending.status);
                return;
            }
            // Nothing had begun.
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

    fn old(
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

    fn outcome(&self, state: &AuditEntryState, ending: ResponseSummary) -> AuditRecord {
        let mut record = self.record(state, RecordKind::Outcome);
        // What no use case has seen was not sent.
        let not_reported = if state.taken { KeyResult::Unknown } else { KeyResult::NotSent };
        for key in &mut record.keys {
            key.end.get_or_insert(not_reported);
        }
        record.ending = Some(ending);
        record
    }

    fn record(&self, state: &AuditEntryState, kind: RecordKind) -> AuditRecord {
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

    fn state(&self) -> MutexGuard<'_, AuditEntryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dossier in the hands of a use case. Dropped without a finding, as by a panic, it tells that
/// nothing is known.
#[derive(Debug)]
pub struct AuditScope {
    context: RequestContext,
    settled: bool,
}

impl RequestContext {
    /// Takes the dossier of this request over, if it has one.
    pub fn take_audit_scope(&self) -> Option<AuditScope> {
        self.audit_entry()?.state().taken = true;
        Some(AuditScope { context: self.clone(), settled: false })
    }
}

impl AuditScope {
    /// Records what is about to be done, where a write may not be sent without.
    ///
    /// # Errors
    /// If that cannot be written, or not before the deadline.
    pub async fn intend(&self) -> Result<(), Error> {
        let Some(audit_entry) = self.context.audit_entry() else { return Ok(()) };
        let record = {
            let state = audit_entry.state();
            if state.dry_run || !audit_entry.audit.blocks() {
                return Ok(());
            }
            audit_entry.record(&state, RecordKind::Intent)
        };
        let recorded = audit_entry.audit.record(record);
        match tokio::time::timeout_at(self.context.deadline(), recorded).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(AuditWriteError)) | Err(_) => Err(Error::AuditUnavailable),
        }
    }

    /// Hands the dossier back, with what became of the write.
    pub fn complete(mut self, findings: WriteFindings) {
        self.hand_back(findings);
    }

    fn hand_back(&mut self, findings: WriteFindings) {
        self.settled = true;
        let Some(audit_entry) = self.context.audit_entry() else { return };
        let mut state = audit_entry.state();
        state.found = Some((findings.effect, findings.code));
        let AuditEntryState { keys, conversation, .. } = &mut *state;
        if let (Some(state_before), Some(conversation)) = (&findings.state_before, *conversation) {
            for key in keys.iter_mut() {
                key.old = audit_entry.old(conversation, &key.key, state_before);
            }
        }
        for (key, end) in keys.iter_mut().zip(findings.ends) {
            key.end = Some(end);
        }
        state.participant = findings.target;
        if let Some(status) = state.hung_up {
            let ending = ResponseSummary {
                status,
                code: findings.code,
                effect: findings.effect,
                correlation_id: self.context.correlation_id(),
                upstream_calls: self.context.calls(),
            };
            let record = audit_entry.outcome(&state, ending);
            drop(state);
            drop(audit_entry.audit.record(record));
        }
    }
}

impl Drop for AuditScope {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let keys =
            self.context.audit_entry().map_or(0, |audit_entry| audit_entry.state().keys.len());
        self.hand_back(WriteFindings {
            effect: Effect::Unknown,
            code: Some(ErrorCode::Internal),
            target: None,
            state_before: None,
            ends: vec![KeyResult::Unknown; keys],
        });
    }
}
