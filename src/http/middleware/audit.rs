//! What the middleware contributes to the audit of writes: who asked, and how it was answered.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use tokio::time::{Instant, timeout_at};

use super::LoggedResult;
use crate::http::auth::Recognition;
use crate::http::paths;
use crate::http::peer::peer_of;
use crate::http::state::AppState;
use crate::ports::{Caller, Cycle, Dossier, Ending};

/// How long after its deadline an answer may wait for its record.
const PATIENCE: Duration = Duration::from_millis(50);

/// The dossier of a write of attributes, where writes are recorded. One that goes no further for who
/// asks is only counted.
pub(super) fn open(
    state: &AppState,
    request: &Request,
    asks: &Recognition,
    request_id: &str,
) -> Option<Dossier> {
    let audit = state.ops.audit.as_ref()?;
    let pattern = request.extensions().get::<MatchedPath>()?;
    if request.method().is_safe() || !paths::is_of_attributes(pattern.as_str()) {
        return None;
    }
    if let Some(refusal) = &asks.refusal {
        audit.refused(refusal.code());
        return None;
    }
    let caller = Caller {
        client: asks.client.known_name().map(str::to_owned),
        address: peer_of(request).map(|peer| peer.address.ip()),
        request_id: request_id.to_owned(),
        method: request.method().to_string(),
    };
    let conversation = paths::conversation_of(request.uri().path());
    Some(Dossier::open(Arc::clone(audit), caller, conversation))
}

/// Has an answer recorded. Ends when it may leave; a disk that hangs delays it to little more than its
/// deadline.
pub(super) async fn answered(cycle: &Cycle, result: LoggedResult) {
    if let Some(dossier) = cycle.dossier() {
        let recorded = dossier.answered(ending(cycle, result));
        let _ = timeout_at(cycle.deadline().max(Instant::now()) + PATIENCE, recorded).await;
    }
}

/// Has it recorded that the caller hung up, unless somebody still works for him.
pub(super) fn hung_up(cycle: &Cycle, result: LoggedResult) {
    if let Some(dossier) = cycle.dossier() {
        dossier.hung_up(ending(cycle, result));
    }
}

fn ending(cycle: &Cycle, result: LoggedResult) -> Ending {
    let LoggedResult { status, effect, code } = result;
    let correlation_id = cycle.correlation_id();
    Ending { status: status.as_u16(), code, effect, correlation_id, upstream_calls: cycle.calls() }
}
