//! The audit stream: one JSON object a line for each write request, never a value. Of requests that
//! were refused before they were looked at it tells how many there were.
//!
//! Implements the port of the use cases. A record is made into a line where it happens, and written
//! by a thread of its own, so that a slow disk stalls no request but those that have to wait for
//! their record. A record that is lost is counted, shown by `/readyz?verbose`, and told in the log.

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

/// What an audit log is made of.
pub struct AuditParts {
    /// Where lines go.
    pub output: Box<dyn LineOutput>,
    /// What values are shown by.
    pub key: FingerprintKey,
    /// Whether a write may be sent only once it has been recorded.
    pub blocks: bool,
    /// Where metrics go.
    pub recorder: Arc<dyn MetricsRecorder>,
}

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    stream: Arc<AuditWriter>,
    ledger: Arc<AuditHealth>,
    refusals: Arc<RefusalCounter>,
    key: Arc<FingerprintKey>,
    blocks: bool,
}

impl AuditLog {
    /// A log over these parts, with a thread of its own unless the output needs none.
    pub fn new(parts: AuditParts) -> Self {
        let AuditParts { output, key, blocks, recorder } = parts;
        let ledger = Arc::new(AuditHealth::new(recorder));
        let stream = Arc::new(AuditWriter::new(output, Arc::clone(&ledger)));
        Self { stream, ledger, refusals: Arc::default(), key: Arc::new(key), blocks }
    }

    /// How the audit fares.
    pub fn state(&self) -> AuditHealthState {
        self.ledger.state()
    }

    /// Records that are on their way to the output.
    pub fn waiting(&self) -> usize {
        self.stream.waiting()
    }

    /// Ends when everything that was recorded before has been written, or was lost.
    pub async fn flushed(&self) {
        self.report_refusals();
        self.stream.flushed().await;
    }
}

impl AuditLog {
    fn report_refusals(&self) {
        for (code, count) in self.refusals.take() {
            let line = line::of_refused(code, count);
            // Nobody waits for it.
            drop(self.stream.write(writer::QueuedLine { line, counts: true }));
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
        // A write whose intent cannot be recorded is refused, and the refusal has a record of its
        // own: only that one can be lost.
        let counts = record.stage != RecordKind::Intent;
        let written = self.stream.write(writer::QueuedLine { line, counts });
        Box::pin(written)
    }
}
