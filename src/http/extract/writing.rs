//! Writes: of attributes by `PUT` and `PATCH`, of a single one by `PUT` and `DELETE`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::http::request::Parts;

use super::{conversation, cover, exchange, if_match, key, rights};
use crate::app::{Precondition, WriteOptions, WriteRequest};
use crate::domain::{AttributeKey, Change, Client, ParticipantSelector, Patch, Violation};
use crate::error::Code;
use crate::http::body;
use crate::http::body_parser::{self, Null, attribute};
use crate::http::etag::Cover;
use crate::http::negotiate::{self, JSON, MERGE_PATCH, TEXT};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::request_context::Exchange;
use crate::http::respond::WriteView;
use crate::http::state::{AppState, HttpSettings};

/// A write that can be made.
pub(in crate::http) struct WriteCall {
    pub request: WriteRequest,
    pub view: WriteView,
}

impl FromRequest<AppState> for WriteCall {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let settings = &state.settings;
        let exchange = exchange(&parts)?;
        let client = Arc::clone(&exchange.client);
        rights::check_writing(&client.rights)?;
        let conversation = conversation(&parts.uri)?;
        let key = key(&parts)?;
        let (selector, cover, options) = write_query(parts.uri.query(), key.clone(), settings)?;
        rights::check_selector(&client.rights, &selector)?;
        let mut refused = rights::refused(&client.rights, cover.named());
        let asked = (&cover, &client, options.dry_run);
        let read = read(&parts, body, (&exchange, settings), asked).await;
        // Whatever else is wrong with it, it may not be.
        let (condition, patch) = match read {
            Err(_) if !refused.is_empty() => return Err(rights::not_allowed(refused)),
            read => read?,
        };
        let (minimal, cycle) = (exchange.prefer.minimal, exchange.cycle);
        if let Some(dossier) = cycle.dossier() {
            dossier.ask(conversation, &selector, &patch, options.dry_run);
        }
        // On record before it is refused. The key of a path is in both.
        if key.is_none() {
            rights::refused_of(&client.rights, &patch).for_each(|mistake| refused.note(mistake));
        }
        rights::all_allowed(refused)?;
        Ok(Self {
            request: WriteRequest { conversation, selector, patch, condition, options, cycle },
            view: WriteView { cover, minimal, flat: exchange.flat },
        })
    }
}

type Asked<'a> = (&'a Cover, &'a Arc<Client>, bool);
type Read = (Option<Arc<dyn Precondition>>, Patch);

/// What stands in the rest of the head, and in the body.
async fn read(
    parts: &Parts,
    body: Body,
    (exchange, settings): (&Exchange, &HttpSettings),
    (cover, client, dry_run): Asked<'_>,
) -> Result<Read, Problem> {
    negotiate::accepts_json(&parts.headers)?;
    let condition = if_match::of(&parts.headers, (cover, client), dry_run, settings)?;
    let patch = match key(parts)? {
        None => of_attributes(parts, body, exchange, settings).await?,
        Some(key) => of_one(&key, parts, body, exchange, settings).await?,
    };
    Ok((condition, patch))
}

async fn of_attributes(
    parts: &Parts,
    body: Body,
    exchange: &Exchange,
    settings: &HttpSettings,
) -> Result<Patch, Problem> {
    let merges = parts.method == Method::PATCH;
    negotiate::declared(&parts.headers, if merges { &[JSON, MERGE_PATCH] } else { &[JSON] })?;
    let body = read_body(parts, body, exchange, settings).await?;
    body_parser::patch(&body, if merges { Null::Clears } else { Null::Refused })
}

async fn of_one(
    key: &str,
    parts: &Parts,
    body: Body,
    exchange: &Exchange,
    settings: &HttpSettings,
) -> Result<Patch, Problem> {
    let attribute = AttributeKey::new(key).map_err(|invalid| {
        let mistake = Violation::at("key", invalid.to_string());
        Problem::listing(Code::InvalidAttributes, mistake)
    })?;
    let change = if parts.method == Method::DELETE {
        // A body of a DELETE has no meaning (RFC 9110, section 9.3.5); the edge leaves it unread.
        Change::Clear
    } else {
        let declared = negotiate::declared(&parts.headers, &[JSON, TEXT])?;
        let body = read_body(parts, body, exchange, settings).await?;
        if declared == TEXT { attribute::plain(&body)? } else { attribute::change(&body, key)? }
    };
    Ok([(attribute, change)].into_iter().collect())
}

/// Reads the body of a request, as long as it may take.
pub(in crate::http) async fn read_body(
    parts: &Parts,
    body: Body,
    exchange: &Exchange,
    settings: &HttpSettings,
) -> Result<Vec<u8>, Problem> {
    let declared = negotiate::declared_length(&parts.headers);
    let until = exchange.cycle.deadline().min(exchange.arrived + settings.body_timeout);
    let body = body::read(body, declared, settings.body_limit, until).await?;
    exchange.body_was_read();
    Ok(body)
}

type Write = (ParticipantSelector, Cover, WriteOptions);

fn write_query(
    raw: Option<&str>,
    key: Option<String>,
    settings: &HttpSettings,
) -> Result<Write, Problem> {
    let known = ["participant", "verify", "dryRun", "allowEnded", "view", "keys"];
    let mut query = match key {
        Some(_) => Query::read(raw, &known[..5], &[]),
        None => Query::read(raw, &known, &["key"]),
    };
    let selector = query.participant(&settings.default_participant, false);
    let cover = cover(key, &mut query);
    // What it asks for is in the exchange.
    let _ = query.word("view", &["flat"]);
    let options = WriteOptions {
        verify: query.word("verify", &["none"]).is_none(),
        dry_run: query.flag("dryRun"),
        allow_ended: query.flag("allowEnded"),
    };
    query.finish()?;
    Ok((selector, cover, options))
}
