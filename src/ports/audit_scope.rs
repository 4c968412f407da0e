//! Guards the audit entry of a write while the use case works on it.

use super::audit::{
    AuditEntryState, AuditWriteError, KeyResult, RecordKind, ResponseSummary, WriteFindings,
};
use super::context::RequestContext;
use crate::error::{Effect, Error, ErrorCode};

/// Guards an audit entry while a use case works on it. If it is dropped without findings, as by a
/// panic, the entry records that the outcome is unknown.
#[derive(Debug)]
pub struct AuditScope {
    context: RequestContext,
    settled: bool,
}

impl RequestContext {
    /// Takes over the audit entry of this request, if it has one.
    pub fn take_audit_scope(&self) -> Option<AuditScope> {
        self.audit_entry()?.state().taken = true;
        Some(AuditScope { context: self.clone(), settled: false })
    }
}

impl AuditScope {
    /// Records the intent, where the settings require that before a write is sent.
    ///
    /// # Errors
    /// If the record cannot be written before the deadline.
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

    /// Hands the audit entry back with the findings of the write.
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
