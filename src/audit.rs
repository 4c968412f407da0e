//! The audit log: one JSON line per write request, without values.
//!
//! [`AuditLog`] implements [`AuditPort`]. The request encodes its record, and a thread writes it. So a
//! slow disk delays only requests that must wait for their record. The gateway counts lost records,
//! logs them, and shows them in `/readyz?verbose`.

mod file;
mod fingerprint;
mod health;
mod output;
mod writer;

use std::sync::Arc;

use serde::Serialize;

pub use self::file::AuditFile;
pub use self::fingerprint::FingerprintKey;
use self::health::AuditHealth;
pub use self::health::AuditHealthState;
pub use self::output::{LineOutput, MemoryOutput, StdoutOutput};
use self::writer::AuditWriter;
use crate::clock;
use crate::domain::{AttributeKey, AttributeValue, ConversationId};
use crate::ports::{
    AuditPort, AuditRecord, AuditWriteError, BoxFuture, MetricsRecorder, RecordKind,
};

/// Distinguishes audit lines from log lines if both go to one output.
const TARGET: &str = "audit";

/// The parts of an audit log.
pub struct AuditParts {
    /// The output of the lines.
    pub output: Box<dyn LineOutput>,
    /// The key of the fingerprints that replace values.
    pub key: FingerprintKey,
    /// Whether the gateway sends a write only after its record is written.
    pub blocks: bool,
    /// Receives the metrics.
    pub recorder: Arc<dyn MetricsRecorder>,
}

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    writer: Arc<AuditWriter>,
    health: Arc<AuditHealth>,
    key: Arc<FingerprintKey>,
    blocks: bool,
}

impl AuditLog {
    /// An audit log of these parts. It starts a thread if the output may stall.
    pub fn new(parts: AuditParts) -> Self {
        let AuditParts { output, key, blocks, recorder } = parts;
        let health = Arc::new(AuditHealth::new(recorder));
        let writer = Arc::new(AuditWriter::new(output, Arc::clone(&health)));
        Self { writer, health, key: Arc::new(key), blocks }
    }

    /// The health of the audit log.
    pub fn state(&self) -> AuditHealthState {
        self.health.state()
    }

    /// Number of records that are not written yet.
    pub fn waiting(&self) -> usize {
        self.writer.waiting()
    }

    /// Waits until every earlier record is written or lost.
    pub async fn flushed(&self) {
        self.writer.flushed().await;
    }
}

impl AuditPort for AuditLog {
    fn blocks(&self) -> bool {
        self.blocks
    }

    fn fingerprint(
        &self,
        conversation: ConversationId,
        key: &AttributeKey,
        value: &AttributeValue,
    ) -> String {
        self.key.fingerprint(conversation, key, value)
    }

    fn record(&self, record: &AuditRecord) -> BoxFuture<'static, Result<(), AuditWriteError>> {
        // If an intent cannot be recorded, the gateway refuses the write and records the refusal. Only
        // the second record counts as lost.
        let counts = record.kind != RecordKind::Intent;
        Box::pin(self.writer.write(encode(record), counts))
    }
}

#[derive(Serialize)]
struct AuditLine<'a> {
    timestamp: String,
    target: &'static str,
    #[serde(flatten)]
    record: &'a AuditRecord,
}

fn encode(record: &AuditRecord) -> Vec<u8> {
    let line = AuditLine { timestamp: clock::timestamp(), target: TARGET, record };
    // Strings, numbers and lists always serialise.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}
