//! The operator of a request to operate the gateway.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::request_context;
use crate::error::{Error, RequestFailure};
use crate::http::peer::PeerInfo;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// Proof that the client may operate the gateway: it has the right, or no client is configured and it
/// runs on this machine.
pub(in crate::http) struct OperatorIdentity;

impl FromRequestParts<AppState> for OperatorIdentity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let (may_operate, why_not) = if state.app.callers().table().is_some() {
            let client = request_context(parts)?.client;
            (client.rights.operate, "this client may not operate: it lacks `operate = true`")
        } else {
            let is_local = parts.extensions.get().is_some_and(PeerInfo::is_loopback);
            (is_local, "no client is configured, so only programs on this machine may operate")
        };
        if may_operate {
            return Ok(Self);
        }
        Err(RequestFailure::harmless(Error::OperateNotAllowed(why_not)).into())
    }
}
