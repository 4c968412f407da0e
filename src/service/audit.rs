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
pub const PATIENCE: Duration = Duration::from_secs(5);

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

/// Sees to it that records are written before the process ends. Cheap to clone.
#[derive(Clone)]
pub struct LastRecords(pub(super) Option<AuditLog>);

impl LastRecords {
    /// Waits until all of them are, or for so long; tells what is lost then.
    pub async fn written(&self, patience: Duration) {
        let Some(audit) = &self.0 else { return };
        if tokio::time::timeout(patience, audit.flushed()).await.is_err() {
            let lost = audit.waiting();
            tracing::error!(
                audit.lost = lost,
                "the last audit records could not be written in time"
            );
        }
    }
}
