//! Extractors that turn a request into a call of a use case. They report every mistake of the client
//! before the gateway calls Genesys Cloud.

pub(super) mod rights;
mod writing;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;

use super::etag::EtagScope;
use super::negotiate::{self, ResponseFormat};
use super::params::{
    AnyParticipantParam, ConversationParam, FormatParam, IfNoneMatchHeader, KeyParam, KeyParams,
    ParticipantParam, ViewParam,
};
use super::peer::PeerInfo;
use super::problem::Problem;
use super::query::{StrictQuery, contradiction};
use super::request_context::HttpRequestContext;
use super::respond::ReadResponder;
use super::state::AppState;
use crate::app::ReadRequest;
use crate::domain::{Client, ParticipantSelector};
use crate::error::Error;

pub(super) use writing::{WriteCall, read_body};

/// The client that makes the request.
pub(super) struct ClientIdentity(pub Arc<Client>);

impl FromRequestParts<AppState> for ClientIdentity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        request_context(parts).map(|request_context| Self(request_context.client))
    }
}

/// A validated read: of attributes, or of a single one if the path names its key.
pub(super) struct ReadCall {
    request: ReadRequest,
    view: ReadResponder,
    state: AppState,
}

impl ReadCall {
    pub(super) async fn answer(self) -> Result<Response, Problem> {
        let reading = self.state.app.read(self.request).await?;
        self.view.respond(reading, &self.state.settings)
    }
}

impl FromRequestParts<AppState> for ReadCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let request_context = request_context(parts)?;
        let ConversationParam { conversation } = ConversationParam::from_uri(&parts.uri)?;
        let (selector, scope, format) = read_query(&parts.uri)?;
        let selector = selector.unwrap_or_else(|| state.settings.default_participant.clone());
        let rights = &request_context.client.rights;
        rights::check_selector(rights, &selector)?;
        rights::all_allowed(rights::refused(rights, scope.named()))?;
        request_context.context.note_keys(scope.keys());
        let is_flat = request_context.flat.is_some();
        if is_flat && selector.is_all() {
            return Err(contradiction("view", "`flat` shows one participant, not `all`"));
        }
        let form = ResponseFormat::unless_flat(is_flat, format.format, &parts.headers)?;
        Ok(Self {
            request: ReadRequest {
                conversation,
                selector,
                no_cache: negotiate::wants_no_cache(&parts.headers),
                context: request_context.context,
            },
            view: ReadResponder {
                conversation,
                scope,
                form,
                flat: request_context.flat,
                known: IfNoneMatchHeader::from_headers(&parts.headers),
            },
            state: state.clone(),
        })
    }
}

pub(super) fn request_context(parts: &Parts) -> Result<HttpRequestContext, Problem> {
    let request_context = parts.extensions.get::<HttpRequestContext>().cloned();
    request_context
        .ok_or_else(|| Problem::internal("a handler ran without the request context middleware"))
}

type ReadQuery = (Option<ParticipantSelector>, EtagScope, FormatParam);

fn read_query(uri: &Uri) -> Result<ReadQuery, Problem> {
    let (participant, view, format, scope) =
        if let Some(KeyParam { key }) = KeyParam::from_uri(uri)? {
            let StrictQuery((ParticipantParam { participant }, view, format)) =
                StrictQuery::parse(uri.query())?;
            (participant, view, format, EtagScope::Key(key))
        } else {
            let StrictQuery((AnyParticipantParam { participant }, view, format, keys)) =
                StrictQuery::<(_, _, _, KeyParams)>::parse(uri.query())?;
            (participant, view, format, keys.scope())
        };
    ViewParam::check_format(&view, &format)?;
    Ok((participant, scope, format))
}

/// Proof that the client may operate the gateway: it has the right, or no client is configured and it
/// runs on this machine.
pub(super) struct OperatorIdentity;

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
        Err(Error::OperateNotAllowed(why_not).into())
    }
}
