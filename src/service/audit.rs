//! Builds the configured audit log.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use crate::audit::{AuditFile, AuditLog, FingerprintKey, LineOutput, StdoutOutput};
use crate::config::{AuditConfig, AuditDestination, AuditFailureMode, OauthCredentials};
use crate::ports::MetricsRecorder;

/// How long the end of the process waits for a disk that hangs.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The output for records. It opens the file, so that the start fails if that is impossible.
pub fn output(settings: &AuditConfig) -> anyhow::Result<Option<Box<dyn LineOutput>>> {
    Ok(match &settings.to {
        AuditDestination::Off => None,
        AuditDestination::Stdout => Some(Box::new(StdoutOutput)),
        AuditDestination::File(path) => {
            let file = AuditFile::open(path.clone()).with_context(|| {
                format!("cannot open the audit file {} (audit.to)", path.display())
            })?;
            Some(Box::new(file))
        }
    })
}

/// The audit log on an output, if there is one.
pub fn log(
    settings: &AuditConfig,
    credentials: &OauthCredentials,
    output: Option<Box<dyn LineOutput>>,
    recorder: &Arc<MetricsRecorder>,
) -> Option<AuditLog> {
    let secret = settings.key.as_ref().unwrap_or(&credentials.client_secret);
    let key = FingerprintKey::derive(secret.expose_secret());
    let blocks = settings.on_failure == AuditFailureMode::Block;
    output.map(|output| AuditLog::new(output, key, blocks, Arc::clone(recorder)))
}

/// Waits for the last records before the process ends. Cheap to clone.
#[derive(Clone)]
pub struct LastRecords(pub(super) Option<AuditLog>);

impl LastRecords {
    /// Waits until all records are written. After `limit`, it logs how many are lost.
    pub async fn written(&self, limit: Duration) {
        let Some(audit) = &self.0 else { return };
        if tokio::time::timeout(limit, audit.flushed()).await.is_err() {
            let lost = audit.waiting();
            tracing::error!(
                audit.lost = lost,
                "the last audit records could not be written in time"
            );
        }
    }
}
