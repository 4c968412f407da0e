//! The audit of writes, as a port: who wrote what where, and what became of it. Never a value.
//!
//! Each write request has a [`Dossier`], which the edge opens and the use case takes over for as
//! long as it works on it. Whoever of the two ends last has it recorded, so that a write whose
//! caller hung up is recorded with its true outcome, and each request exactly once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BoxFuture, Cycle};
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, ConversationId, Outcome, ParticipantId, Patch,
};
use crate::error::{Code, Effect, Error};

/// Keys of one request that are recorded; more than fit into a participant's attributes.
const MOST_KEYS: usize = 2000;

/// Where records go.
pub trait Audit: Send + Sync {
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
    /// stranger, or over a caller's own rate. There may be any number, so they are only counted.
    fn refused(&self, code: Code);

    /// Takes a record, at once and not when the future is first polled. The future ends when the
    /// record was written, or, where nobody has to wait for that, is ready.
    fn record(&self, record: AuditRecord) -> BoxFuture<'static, Result<(), Unrecorded>>;
}

/// A record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an audit record could not be written")]
pub struct Unrecorded;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A write that is about to be sent. Only where records block.
    Intent,
    /// A write request that is over.
    Outcome,
}

/// One line of the audit.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// What it is of.
    pub stage: Stage,
    /// Who asked.
    pub caller: Caller,
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
    pub ending: Option<Ending>,
}

/// One key in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The key.
    pub key: AttributeKey,
    /// What stood there before.
    pub old: Print,
    /// What was asked for.
    pub new: Print,
    /// What became of it; `None` in an intent.
    pub end: Option<KeyEnd>,
}

/// A value in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Print {
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
pub enum KeyEnd {
    /// The outcome that the caller was told, or would have been.
    Outcome(Outcome),
    /// Upstream accepted it, and then the request failed.
    Accepted,
    /// It may have been sent, and may have been applied.
    Unknown,
    /// It was not sent.
    NotSent,
}

impl KeyEnd {
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
pub struct Caller {
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
pub struct Ending {
    /// Status of the answer; 499 if the caller hung up before there was one.
    pub status: u16,
    /// Code of the problem.
    pub code: Option<Code>,
    /// What it did upstream.
    pub effect: Effect,
    /// Genesys' correlation id of the last call.
    pub correlation_id: Option<String>,
    /// Calls to the platform API.
    pub upstream_calls: u32,
}

/// What stands upstream at some moment, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Stood {
    /// As last read, with what upstream has accepted since.
    pub map: AttributeMap,
    /// Keys that it cannot be told of: what was sent last may or may not have been applied.
    pub doubtful: BTreeSet<AttributeKey>,
}

/// What the use case found out about a write.
#[derive(Debug)]
pub struct Finding {
    /// What it did upstream.
    pub effect: Effect,
    /// The code of its failure.
    pub code: Option<Code>,
    /// Who was chosen.
    pub target: Option<(ParticipantId, String)>,
    /// What stood there before anything was sent, if that is known at all.
    pub stood: Option<Arc<Stood>>,
    /// What became of each key, in the order of the patch.
    pub ends: Vec<KeyEnd>,
}

/// What is known so far of one write request.
pub struct Dossier {
    audit: Arc<dyn Audit>,
    caller: Caller,
    papers: Mutex<Papers>,
}

#[derive(Default)]
struct Papers {
    conversation: Option<ConversationId>,
    selector: Option<String>,
    dry_run: bool,
    keys: Vec<KeyRecord>,
    keys_left_out: usize,
    participant: Option<(ParticipantId, String)>,
    /// A use case works on it.
    taken: bool,
    /// The effect and the code that the use case ended with.
    found: Option<(Effect, Option<Code>)>,
    /// The status that stands for the caller's hang-up.
    hung_up: Option<u16>,
}

impl fmt::Debug for Dossier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dossier").field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Dossier {
    /// The dossier of a request that has just arrived.
    pub fn open(
        audit: Arc<dyn Audit>,
        caller: Caller,
        conversation: Option<ConversationId>,
    ) -> Self {
        let papers = Papers { conversation, ..Papers::default() };
        Self { audit, caller, papers: Mutex::new(papers) }
    }

    /// The request could be read: this is what it asks for.
    pub fn ask(
        &self,
        conversation: ConversationId,
        selector: &dyn fmt::Display,
        patch: &Patch,
        dry_run: bool,
    ) {
        let mut papers = self.papers();
        papers.conversation = Some(conversation);
        let new = |key: &AttributeKey, value: Option<&AttributeValue>| {
            value.map_or(Print::Absent, |value| self.print(conversation, key, value))
        };
        let record = |(key, change): (&AttributeKey, &crate::domain::Change)| KeyRecord {
            key: key.clone(),
            old: Print::Unknown,
            new: new(key, change.wanted()),
            end: None,
        };
        papers.keys = patch.iter().take(MOST_KEYS).map(record).collect();
        papers.keys_left_out = patch.keys().count().saturating_sub(MOST_KEYS);
        papers.selector = Some(selector.to_string());
        papers.dry_run = dry_run;
    }

    /// The answer is about to leave. Ends when the record was written, where that is to be waited
    /// for.
    pub fn answered(&self, mut ending: Ending) -> BoxFuture<'static, ()> {
        let papers = self.papers();
        if let Some((effect, _)) = papers.found {
            // The use case knows it at first hand.
            ending.effect = effect;
        }
        let record = self.outcome(&papers, ending);
        drop(papers);
        let recorded = self.audit.record(record);
        if !self.audit.blocks() {
            return Box::pin(async {});
        }
        // That it was lost is the business of whoever writes it: the answer stays true.
        Box::pin(async {
            let _ = recorded.await;
        })
    }

    /// The caller hung up before there was an answer. A use case that is at work records it when it
    /// ends.
    pub fn hung_up(&self, mut ending: Ending) {
        let mut papers = self.papers();
        match papers.found {
            Some((effect, code)) => (ending.effect, ending.code) = (effect, code),
            None if papers.taken => {
                papers.hung_up = Some(ending.status);
                return;
            }
            // Nothing had begun.
            None => ending.effect = Effect::NotApplied,
        }
        let record = self.outcome(&papers, ending);
        drop(papers);
        drop(self.audit.record(record));
    }

    fn print(&self, on: ConversationId, key: &AttributeKey, value: &AttributeValue) -> Print {
        if value.expose().is_empty() {
            return Print::Absent;
        }
        Print::Of(self.audit.fingerprint(on, key, value))
    }

    fn old(&self, on: ConversationId, key: &AttributeKey, stood: &Stood) -> Print {
        if stood.doubtful.contains(key) {
            return Print::Unknown;
        }
        stood.map.get(key.as_str()).map_or(Print::Absent, |value| self.print(on, key, value))
    }

    fn outcome(&self, papers: &Papers, ending: Ending) -> AuditRecord {
        let mut record = self.record(papers, Stage::Outcome);
        // What no use case has seen was not sent.
        let untold = if papers.taken { KeyEnd::Unknown } else { KeyEnd::NotSent };
        for key in &mut record.keys {
            key.end.get_or_insert(untold);
        }
        record.ending = Some(ending);
        record
    }

    fn record(&self, papers: &Papers, stage: Stage) -> AuditRecord {
        AuditRecord {
            stage,
            caller: self.caller.clone(),
            conversation: papers.conversation,
            selector: papers.selector.clone(),
            participant: papers.participant.clone(),
            keys: papers.keys.clone(),
            keys_left_out: papers.keys_left_out,
            dry_run: papers.dry_run,
            ending: None,
        }
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dossier in the hands of a use case. Dropped without a finding, as by a panic, it tells that
/// nothing is known.
#[derive(Debug)]
pub struct Custody {
    cycle: Cycle,
    settled: bool,
}

impl Cycle {
    /// Takes the dossier of this request over, if it has one.
    pub fn take_custody(&self) -> Option<Custody> {
        self.dossier()?.papers().taken = true;
        Some(Custody { cycle: self.clone(), settled: false })
    }
}

impl Custody {
    /// Records what is about to be done, where a write may not be sent without.
    ///
    /// # Errors
    /// If that cannot be written, or not before the deadline.
    pub async fn intend(&self) -> Result<(), Error> {
        let Some(dossier) = self.cycle.dossier() else { return Ok(()) };
        let record = {
            let papers = dossier.papers();
            if papers.dry_run || !dossier.audit.blocks() {
                return Ok(());
            }
            dossier.record(&papers, Stage::Intent)
        };
        let recorded = dossier.audit.record(record);
        match tokio::time::timeout_at(self.cycle.deadline(), recorded).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Unrecorded)) | Err(_) => Err(Error::AuditUnavailable),
        }
    }

    /// Hands the dossier back, with what became of the write.
    pub fn settle(mut self, finding: Finding) {
        self.hand_back(finding);
    }

    fn hand_back(&mut self, finding: Finding) {
        self.settled = true;
        let Some(dossier) = self.cycle.dossier() else { return };
        let mut papers = dossier.papers();
        papers.found = Some((finding.effect, finding.code));
        let Papers { keys, conversation, .. } = &mut *papers;
        if let (Some(stood), Some(conversation)) = (&finding.stood, *conversation) {
            for key in keys.iter_mut() {
                key.old = dossier.old(conversation, &key.key, stood);
            }
        }
        for (key, end) in keys.iter_mut().zip(finding.ends) {
            key.end = Some(end);
        }
        papers.participant = finding.target;
        if let Some(status) = papers.hung_up {
            let ending = Ending {
                status,
                code: finding.code,
                effect: finding.effect,
                correlation_id: self.cycle.correlation_id(),
                upstream_calls: self.cycle.calls(),
            };
            let record = dossier.outcome(&papers, ending);
            drop(papers);
            drop(dossier.audit.record(record));
        }
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let keys = self.cycle.dossier().map_or(0, |dossier| dossier.papers().keys.len());
        self.hand_back(Finding {
            effect: Effect::Unknown,
            code: Some(Code::Internal),
            target: None,
            stood: None,
            ends: vec![KeyEnd::Unknown; keys],
        });
    }
}
