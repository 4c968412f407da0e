//! The part of the middleware in the audit of writes: the origin of a request and its response.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use tokio::time::{Instant, timeout_at};

use crate::http::auth::RequestAuthentication;
use crate::http::paths;
use crate::http::peer::peer_of;
use crate::http::problem::LoggedResult;
use crate::http::state::AppState;
use crate::ports::{AuditEntry, AuditRecord, RequestContext, ResponseSummary};

/// How long after its deadline a response may wait for its audit record.
const RECORD_TIMEOUT: Duration = Duration::from_millis(50);

/// The audit entry of a write of attributes, if the audit is enabled. A write that authentication
/// refuses has none: any program could fill the disk with such records.
pub(super) fn open(
    state: &AppState,
    request: &Request,
    authentication: &RequestAuthentication,
    request_id: &str,
) -> Option<AuditEntry> {
    let audit = state.ops.audit.as_ref()?;
    let pattern = request.extensions().get::<MatchedPath>()?;
    let is_write = !request.method().is_safe() && paths::is_of_attributes(pattern.as_str());
    if !is_write || authentication.refusal.is_some() {
        return None;
    }
    let origin = AuditRecord {
        client: authentication.client.known_name().map(str::to_owned),
        address: peer_of(request).map(|peer| peer.address.ip()),
        request_id: request_id.to_owned(),
        method: request.method().to_string(),
        ..AuditRecord::default()
    };
    let conversation = paths::conversation_of(request.uri().path());
    Some(AuditEntry::new(Arc::clone(audit), conversation, origin))
}

/// Records a response, and returns when the response may be sent. A blocked disk delays it at most
/// [`RECORD_TIMEOUT`] beyond its deadline.
pub(super) async fn answered(context: &RequestContext, result: LoggedResult) {
    let audit_entry = context.audit_entry();
    if let Some(recorded) = audit_entry.and_then(|entry| entry.answered(summary(context, result))) {
        let _ = timeout_at(context.deadline().max(Instant::now()) + RECORD_TIMEOUT, recorded).await;
    }
}

/// Records that the client disconnected, unless its write is still in progress.
pub(super) fn hung_up(context: &RequestContext, result: LoggedResult) {
    if let Some(audit_entry) = context.audit_entry() {
        audit_entry.client_disconnected(summary(context, result));
    }
}

fn summary(context: &RequestContext, result: LoggedResult) -> ResponseSummary {
    context.summarise(result.status.as_u16(), result.code, result.effect)
}
