//! Extractors that turn a request into a call of a use case. They report every mistake of the client
//! before the gateway calls Genesys Cloud.

pub(super) mod rights;
mod writing;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::header::IF_NONE_MATCH;
use axum::http::request::Parts;

use super::entity_tags::EntityTags;
use super::etag::EtagScope;
use super::negotiate;
use super::percent::decoded_step;
use super::problem::Problem;
use super::query::QueryString;
use super::request_context::HttpRequestContext;
use super::respond::ReadResponder;
use super::response_format::{FORMAT, ResponseFormat};
use super::state::{AppState, HttpSettings};
use super::{if_match, paths};
use crate::app::ReadRequest;
use crate::domain::{Client, ConversationId, ParticipantSelector, Violation};
use crate::error::ErrorCode;

pub(super) use writing::{WriteArgs, read_body};

/// The client that makes the request.
pub(super) struct ClientIdentity(pub Arc<Client>);

impl FromRequestParts<AppState> for ClientIdentity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        request_context(parts).map(|request_context| Self(request_context.client))
    }
}

/// A validated read: of attributes, or of a single one if the path names its key.
pub(super) struct ReadArgs {
    pub request: ReadRequest,
    pub view: ReadResponder,
}

impl FromRequestParts<AppState> for ReadArgs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let request_context = request_context(parts)?;
        let conversation = conversation(&parts.uri)?;
        let read = read_query(parts.uri.query(), key(parts)?, &state.settings)?;
        let (selector, scope, asked) = read;
        rights::check(&request_context.client.rights, &selector, scope.named())?;
        request_context.context.note_keys(scope.keys());
        let form =
            ResponseFormat::unless_flat(request_context.flat.is_some(), asked, &parts.headers)?;
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
                // An invalid header matches nothing.
                known: EntityTags::from_headers(&parts.headers, &IF_NONE_MATCH).unwrap_or_default(),
            },
        })
    }
}

pub(super) fn request_context(parts: &Parts) -> Result<HttpRequestContext, Problem> {
    let request_context = parts.extensions.get::<HttpRequestContext>().cloned();
    request_context
        .ok_or_else(|| Problem::internal("a handler ran without the request context middleware"))
}

/// Parses the conversation id in the path.
pub(super) fn conversation(uri: &Uri) -> Result<ConversationId, Problem> {
    paths::conversation_of(uri.path()).ok_or_else(|| {
        let mistake = Violation::new("conversationId", "is not a UUID of the form 8-4-4-4-12");
        Problem::listing(ErrorCode::InvalidConversationId, mistake)
    })
}

/// Decodes the key in the path, if there is one. No route matches an empty key.
fn key(parts: &Parts) -> Result<Option<String>, Problem> {
    let Some(step) = paths::key_of(parts.uri.path()) else { return Ok(None) };
    let key = decoded_step(step).ok_or_else(|| {
        let mistake = Violation::new("key", "is not percent-encoded UTF-8");
        Problem::listing(ErrorCode::InvalidAttributes, mistake)
    });
    key.map(Some)
}

type ReadQuery = (ParticipantSelector, EtagScope, Option<ResponseFormat>);

fn read_query(
    raw: Option<&str>,
    key: Option<String>,
    settings: &HttpSettings,
) -> Result<ReadQuery, Problem> {
    let mut query = match key {
        Some(_) => QueryString::read(raw, &["participant", "view", FORMAT], &[]),
        None => QueryString::read(raw, &["participant", "view", FORMAT, "keys"], &["key"]),
    };
    let selector = query.participant(&settings.default_participant, key.is_none());
    let is_flat = query.word("view", &["flat"]).is_some();
    if is_flat && selector.is_all() {
        query.mistake("view", "`flat` shows one participant, not `all`");
    }
    let asked = ResponseFormat::asked(&mut query, is_flat);
    let scope = etag_scope(key, &mut query);
    query.finish()?;
    Ok((selector, scope, asked))
}

fn etag_scope(key: Option<String>, query: &mut QueryString) -> EtagScope {
    match key {
        Some(key) => EtagScope::Key(key),
        None => query.keys().map_or(EtagScope::Whole, EtagScope::Narrowed),
    }
}
