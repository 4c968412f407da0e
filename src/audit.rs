//! The audit log: one JSON line per write request, without values. Requests that are refused early are
//! only counted.
//!
//! [`AuditLog`] implements [`AuditPort`]. The request encodes its record, and a thread writes it. So a
//! slow disk delays only requests that must wait for their record. The gateway counts lost records,
//! logs them, and shows them in `/readyz?verbose`.

mod file;
mod fingerprint;
mod health;
mod line;
mod output;
mod refusals;
mod writer;

use std::sync::Arc;

pub use self::file::{FileSettings, RotatedFile};
pub use self::fingerprint::FingerprintKey;
use self::health::AuditHealth;
pub use self::health::AuditHealthState;
pub use self::output::{LineOutput, MemoryOutput, StdoutOutput};
use self::refusals::RefusalCounter;
use self::writer::AuditWriter;
use crate::domain::{AttributeKey, AttributeValue, ConversationId};
use crate::error::ErrorCode;
use crate::ports::{
    AuditPort, AuditRecord, AuditWriteError, BoxFuture, MetricsRecorder, RecordKind,
};

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
    refusals: Arc<RefusalCounter>,
    key: Arc<FingerprintKey>,
    blocks: bool,
}

impl AuditLog {
    /// An audit log of these parts. It starts a thread if the output may stall.
    pub fn new(parts: AuditParts) -> Self {
        let AuditParts { output, key, blocks, recorder } = parts;
        let health = Arc::new(AuditHealth::new(recorder));
        let writer = Arc::new(AuditWriter::new(output, Arc::clone(&health)));
        Self { writer, health, refusals: Arc::default(), key: Arc::new(key), blocks }
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
        self.report_refusals();
        self.writer.flushed().await;
    }
}

impl AuditLog {
    fn report_refusals(&self) {
        for (code, count) in self.refusals.take() {
            let line = line::encode_refusals(code, count);
            // No request waits for this line.
            drop(self.writer.write(writer::QueuedLine { line, counts: true }));
        }
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

    fn refused(&self, code: ErrorCode) {
        if !self.refusals.add(code) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.report_refusals();
        };
        let log = self.clone();
        runtime.spawn(async move {
            tokio::time::sleep(refusals::COUNT_INTERVAL).await;
            log.report_refusals();
        });
    }

    fn record(&self, record: AuditRecord) -> BoxFuture<'static, Result<(), AuditWriteError>> {
        let line = line::encode(&record);
        // If an intent cannot be recorded, the gateway refuses the write and records the refusal. Only
        // the second record counts as lost.
        let counts = record.stage != RecordKind::Intent;
        let written = self.writer.write(writer::QueuedLine { line, counts });
        Box::pin(written)
    }
}
