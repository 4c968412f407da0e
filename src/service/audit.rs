//! The audit log, as the configuration wants it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use crate::audit::{
    AuditLog, AuditParts, FileSettings, FingerprintKey, Output, RotatedFile, Stdout,
};
use crate::config::{Audit, AuditTo, Credentials, OnFailure};
use crate::ports::Meter;

/// How long the end of the process waits for a disk that does not move.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where records go. A file is opened here, so that one that cannot be is told at the start.
pub fn output(settings: &Audit) -> anyhow::Result<Option<Box<dyn Output>>> {
    Ok(match &settings.to {
        AuditTo::Off => None,
        AuditTo::Stdout => Some(Box::new(Stdout)),
        AuditTo::File(path) => {
            let (rotate_at, keep) = (settings.rotate_at.bytes(), settings.keep);
            let file = RotatedFile::open(FileSettings { path: path.clone(), rotate_at, keep });
            let file = file.with_context(|| {
                format!("cannot open the audit file {} (audit.to)", path.display())
            })?;
            Some(Box::new(file))
        }
    })
}

/// The log over an output, if there is one.
pub fn log(
    settings: &Audit,
    credentials: &Credentials,
    output: Option<Box<dyn Output>>,
    meter: &Arc<dyn Meter>,
) -> Option<AuditLog> {
    let secret = settings.key.as_ref().unwrap_or(&credentials.client_secret);
    let parts = |output| AuditParts {
        output,
        key: FingerprintKey::derive(secret.expose_secret()),
        blocks: settings.on_failure == OnFailure::Block,
        meter: Arc::clone(meter),
    };
    output.map(|output| AuditLog::new(parts(output)))
}

/// Waits until all records have been written.
pub async fn finish(audit: &AuditLog) {
    if tokio::time::timeout(PATIENCE, audit.flushed()).await.is_err() {
        tracing::error!("the last audit records could not be written in time");
    }
}
