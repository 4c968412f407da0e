//! The audit log: one JSON line per write request, without values.
//!
//! [`AuditLog`] implements `AuditPort`. The request encodes its record, and a thread writes it. So a
//! slow disk delays only requests that must wait for their record. The gateway counts lost records,
//! logs them, and shows them in `/readyz?verbose`.

mod file;
mod fingerprint;
mod writer;

use std::sync::Arc;

use serde::Serialize;

pub use self::file::{AuditFile, LineOutput, StdoutOutput};
pub use self::fingerprint::FingerprintKey;
pub use self::writer::AuditHealthState;
use self::writer::AuditWriter;
use crate::clock;
use crate::domain::{AttributeKey, AttributeValue, ConversationId};
use crate::ports::{AuditPort, AuditRecord, MetricsRecorder, RecordKind, RecordedFuture};

/// Distinguishes audit lines from log lines if both go to one output.
const TARGET: &str = "audit";

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    writer: Arc<AuditWriter>,
    key: Arc<FingerprintKey>,
    blocks: bool,
}

impl AuditLog {
    /// An audit log. It starts a thread if `output` may stall. `key` makes the fingerprints that
    /// replace values. With `blocks`, a write is sent only after its record is written.
    pub fn new(
        output: Box<dyn LineOutput>,
        key: FingerprintKey,
        blocks: bool,
        recorder: Arc<MetricsRecorder>,
    ) -> Self {
        let writer = Arc::new(AuditWriter::new(output, recorder));
        Self { writer, key: Arc::new(key), blocks }
    }

    /// The health of the audit log.
    pub fn state(&self) -> AuditHealthState {
        self.writer.health.current()
    }

    /// Number of records that are not written yet.
    pub fn waiting(&self) -> usize {
        self.writer.health.waiting()
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

    fn record(&self, record: &AuditRecord) -> RecordedFuture {
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
