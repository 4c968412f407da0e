//! What the middleware contributes to the audit of writes: who asked, and how it was answered.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use tokio::time::{Instant, timeout_at};

use crate::http::auth::RequestAuthentication;
use crate::http::logged_result::LoggedResult;
use crate::http::paths;
use crate::http::peer::peer_of;
use crate::http::state::AppState;
use crate::ports::{AuditEntry, RequestContext, RequestOrigin, ResponseSummary};

/// How long after its deadline an answer may wait for its record.
const RECORD_TIMEOUT: Duration = Duration::from_millis(50);

/// The dossier of a write of attributes, where writes are recorded. One that goes no further for who
/// asks is only counted.
pub(super) fn open(
    state: &AppState,
    request: &Request,
    asks: &RequestAuthentication,
    request_id: &str,
) -> Option<AuditEntry> {
    let audit = state.ops.audit.as_ref()?;
    let pattern = request.extensions().get::<MatchedPath>()?;
    if request.method().is_safe() || !paths::is_of_attributes(pattern.as_str()) {
        return None;
    }
    if let Some(refusal) = &asks.refusal {
        audit.refused(refusal.code());
        return None;
    }
    let caller = RequestOrigin {
        client: asks.client.known_name().map(str::to_owned),
        address: peer_of(request).map(|peer| peer.address.ip()),
        request_id: request_id.to_owned(),
        method: request.method().to_string(),
    };
    let conversation = paths::conversation_of(request.uri().path());
    Some(AuditEntry::new(Arc::clone(audit), caller, conversation))
}

/// Has an answer recorded. Ends when it may leave; a disk that hangs delays it to little more than its
/// deadline.
pub(super) async fn answered(context: &RequestContext, result: LoggedResult) {
    if let Some(audit_entry) = context.audit_entry() {
        let recorded = audit_entry.answered(ending(context, result));
        let _ = timeout_at(context.deadline().max(Instant::now()) + RECORD_TIMEOUT, recorded).await;
    }
}

/// Has it recorded that the client hung up, unless somebody still works for him.
pub(super) fn hung_up(context: &RequestContext, result: LoggedResult) {
    if let Some(audit_entry) = context.audit_entry() {
        audit_entry.client_disconnected(ending(context, result));
    }
}

fn ending(context: &RequestContext, result: LoggedResult) -> ResponseSummary {
    let LoggedResult { status, effect, code } = result;
    let correlation_id = context.correlation_id();
    ResponseSummary {
        status: status.as_u16(),
        code,
        effect,
        correlation_id,
        upstream_calls: context.calls(),
    }
}
