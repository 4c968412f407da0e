//! From a request to a call of a use case: everything a client can get wrong is told here, before
//! anything is asked of upstream.

pub(super) mod rights;
mod writing;

use std::collections::HashSet;
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

/// On whose behalf a request is made.
pub(super) struct CallerIdentity(pub Arc<Client>);

impl FromRequestParts<AppState> for CallerIdentity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        request_context(parts).map(|request_context| Self(request_context.client))
    }
}

/// A read that can be made: of attributes, or of a single one where the path names its key.
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
                // One that cannot be understood matches nothing.
                known: EntityTags::from_headers(&parts.headers, &IF_NONE_MATCH).unwrap_or_default(),
            },
        })
    }
}

pub(super) fn request_context(parts: &Parts) -> Result<HttpRequestContext, Problem> {
    let request_context = parts.extensions.get::<HttpRequestContext>().cloned();
    request_context.ok_or_else(|| Problem::internal("a handler was reached without the edge"))
}

/// The conversation that the path names.
pub(super) fn conversation(uri: &Uri) -> Result<ConversationId, Problem> {
    paths::conversation_of(uri.path()).ok_or_else(|| {
        let mistake = Violation::new("conversationId", "is not a UUID of the form 8-4-4-4-12");
        Problem::listing(ErrorCode::InvalidConversationId, mistake)
    })
}

/// The key that the path names, if it names one. No route takes an empty one.
fn key(parts: &Parts) -> Result<Option<String>, Problem> {
    let Some(step) = paths::key_of(parts.uri.path()) else { return Ok(None) };
    let key = decoded_step(step).ok_or_else(|| {
        let mistake = Violation::new("key", "is not percent-encoded UTF-8");
        Problem::listing(ErrorCode::InvalidAttributes, mistake)
    });
    key.map(Some)
}

type ReadRejection = (ParticipantSelector, EtagScope, Option<ResponseFormat>);

fn read_query(
    raw: Option<&str>,
    key: Option<String>,
    settings: &HttpSettings,
) -> Result<ReadRejection, Problem> {
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
        None => keys(query).map_or(EtagScope::Whole, EtagScope::Narrowed),
    }
}

/// Keys that the client is interested in, by `keys` and `key`, each once.
pub(super) fn keys(query: &mut QueryString) -> Option<Vec<String>> {
    let mut keys = query.take("key");
    for list in query.take("keys") {
        if list.split(',').any(str::is_empty) {
            query.mistake("keys", "names an empty key");
        }
        keys.extend(list.split(',').map(str::to_owned));
    }
    if keys.len() > 1 {
        let mut named = HashSet::with_capacity(keys.len());
        keys.retain(|key| named.insert(key.clone()));
    }
    (!keys.is_empty()).then_some(keys)
}
