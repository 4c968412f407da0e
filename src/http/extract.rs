//! From a request to a call of a use case: everything a caller can get wrong is told here, before
//! anything is asked of upstream.

pub(super) mod rights;
mod writing;

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::header::IF_NONE_MATCH;
use axum::http::request::Parts;

use super::entity_tags::Tags;
use super::etag::Cover;
use super::negotiate;
use super::percent::decoded_step;
use super::problem::Problem;
use super::query::Query;
use super::request_context::Exchange;
use super::respond::ReadView;
use super::response_format::{FORMAT, Form};
use super::state::{AppState, HttpSettings};
use super::{if_match, paths};
use crate::app::ReadRequest;
use crate::domain::{Client, ConversationId, ParticipantSelector, Violation};
use crate::error::Code;

pub(super) use writing::{WriteCall, read_body};

/// On whose behalf a request is made.
pub(super) struct Caller(pub Arc<Client>);

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        exchange(parts).map(|exchange| Self(exchange.client))
    }
}

/// A read that can be made: of attributes, or of a single one where the path names its key.
pub(super) struct ReadCall {
    pub request: ReadRequest,
    pub view: ReadView,
}

impl FromRequestParts<AppState> for ReadCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let exchange = exchange(parts)?;
        let conversation = conversation(&parts.uri)?;
        let read = read_query(parts.uri.query(), key(parts)?, &state.settings)?;
        let (selector, cover, asked) = read;
        rights::check(&exchange.client.rights, &selector, cover.named())?;
        exchange.cycle.note_keys(cover.keys());
        let form = Form::unless_flat(exchange.flat.is_some(), asked, &parts.headers)?;
        Ok(Self {
            request: ReadRequest {
                conversation,
                selector,
                no_cache: negotiate::wants_no_cache(&parts.headers),
                cycle: exchange.cycle,
            },
            view: ReadView {
                conversation,
                cover,
                form,
                flat: exchange.flat,
                // One that cannot be understood matches nothing.
                known: Tags::of(&parts.headers, &IF_NONE_MATCH).unwrap_or_default(),
            },
        })
    }
}

pub(super) fn exchange(parts: &Parts) -> Result<Exchange, Problem> {
    let exchange = parts.extensions.get::<Exchange>().cloned();
    exchange.ok_or_else(|| Problem::internal("a handler was reached without the edge"))
}

/// The conversation that the path names.
pub(super) fn conversation(uri: &Uri) -> Result<ConversationId, Problem> {
    paths::conversation_of(uri.path()).ok_or_else(|| {
        let mistake = Violation::at("conversationId", "is not a UUID of the form 8-4-4-4-12");
        Problem::listing(Code::InvalidConversationId, mistake)
    })
}

/// The key that the path names, if it names one. No route takes an empty one.
fn key(parts: &Parts) -> Result<Option<String>, Problem> {
    let Some(step) = paths::key_of(parts.uri.path()) else { return Ok(None) };
    let key = decoded_step(step).ok_or_else(|| {
        let mistake = Violation::at("key", "is not percent-encoded UTF-8");
        Problem::listing(Code::InvalidAttributes, mistake)
    });
    key.map(Some)
}

type Read = (ParticipantSelector, Cover, Option<Form>);

fn read_query(
    raw: Option<&str>,
    key: Option<String>,
    settings: &HttpSettings,
) -> Result<Read, Problem> {
    let mut query = match key {
        Some(_) => Query::read(raw, &["participant", "view", FORMAT], &[]),
        None => Query::read(raw, &["participant", "view", FORMAT, "keys"], &["key"]),
    };
    let selector = query.participant(&settings.default_participant, key.is_none());
    let is_flat = query.word("view", &["flat"]).is_some();
    if is_flat && selector.is_all() {
        query.mistake("view", "`flat` shows one participant, not `all`");
    }
    let asked = Form::asked(&mut query, is_flat);
    let cover = cover(key, &mut query);
    query.finish()?;
    Ok((selector, cover, asked))
}

fn cover(key: Option<String>, query: &mut Query) -> Cover {
    match key {
        Some(key) => Cover::Key(key),
        None => keys(query).map_or(Cover::Whole, Cover::Narrowed),
    }
}

/// Keys that the caller is interested in, by `keys` and `key`, each once.
pub(super) fn keys(query: &mut Query) -> Option<Vec<String>> {
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
