//! Guards the audit entry of a write while the use case works on it.

use super::audit::{AuditEntry, ResponseSummary, WriteFindings};
use super::context::RequestContext;
use crate::error::{Effect, Error, ErrorCode};

/// Guards an audit entry while a use case works on it. If it is dropped without findings, as by a
/// panic, the entry records that the outcome is unknown.
#[derive(Debug)]
pub struct AuditScope(RequestContext);

impl RequestContext {
    /// Takes over the audit entry of this request, if it has one.
    pub fn take_audit_scope(&self) -> Option<AuditScope> {
        self.audit_entry()?.start();
        Some(AuditScope(self.clone()))
    }

    /// The summary of a response for the audit.
    pub fn summarise(
        &self,
        status: u16,
        code: Option<ErrorCode>,
        effect: Effect,
    ) -> ResponseSummary {
        ResponseSummary {
            effect,
            status,
            code: code.map(ErrorCode::as_str),
            correlation_id: self.correlation_id(),
            upstream_calls: self.calls(),
        }
    }
}

impl AuditScope {
    /// Records the intent before the deadline, where the settings require that before a write is sent.
    pub async fn intend(&self) -> Result<(), Error> {
        let recorded = self.0.audit_entry().and_then(AuditEntry::record_intent);
        let Some(recorded) = recorded else { return Ok(()) };
        match tokio::time::timeout_at(self.0.deadline(), recorded).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::AuditUnavailable),
        }
    }

    /// Hands the audit entry back with the findings of the write.
    pub fn complete(&self, findings: WriteFindings) {
        let (context, effect, code) = (&self.0, findings.effect, findings.code);
        if let Some(audit_entry) = context.audit_entry() {
            audit_entry.complete(findings, |status| context.summarise(status, code, effect));
        }
    }
}

impl Drop for AuditScope {
    fn drop(&mut self) {
        if self.0.audit_entry().is_some_and(AuditEntry::is_in_progress) {
            self.complete(WriteFindings {
                effect: Effect::Unknown,
                code: Some(ErrorCode::Internal),
                target: None,
                map_before: None,
                results: Vec::new(),
            });
        }
    }
}
