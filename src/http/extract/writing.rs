//! Extractor for writes: of attributes by `PUT` and `PATCH`, of a single one by `PUT` and `DELETE`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::http::request::Parts;

use super::{conversation, etag_scope, if_match, key, request_context, rights};
use crate::app::{WriteOptions, WritePrecondition, WriteRequest};
use crate::domain::{AttributeKey, Client, KeyChange, ParticipantSelector, Patch, Violation};
use crate::error::ErrorCode;
use crate::http::body;
use crate::http::body_parser::{self, NullPolicy, attribute};
use crate::http::etag::EtagScope;
use crate::http::negotiate::{self, JSON, MERGE_PATCH, TEXT};
use crate::http::problem::Problem;
use crate::http::query::QueryString;
use crate::http::request_context::HttpRequestContext;
use crate::http::respond::WriteResponder;
use crate::http::state::{AppState, HttpSettings};

/// A validated write.
pub(in crate::http) struct WriteArgs {
    pub request: WriteRequest,
    pub view: WriteResponder,
}

impl FromRequest<AppState> for WriteArgs {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let settings = &state.settings;
        let request_context = request_context(&parts)?;
        let client = Arc::clone(&request_context.client);
        rights::check_writing(&client.rights)?;
        let conversation = conversation(&parts.uri)?;
        let key = key(&parts)?;
        let (selector, scope, options) = write_query(parts.uri.query(), key.clone(), settings)?;
        rights::check_selector(&client.rights, &selector)?;
        let mut refused = rights::refused(&client.rights, scope.named());
        let asked = (&scope, &client, options.dry_run);
        let read = read(&parts, body, (&request_context, settings), asked).await;
        // Refused keys take precedence over every other mistake.
        let (condition, patch) = match read {
            Err(_) if !refused.is_empty() => return Err(rights::not_allowed(refused)),
            read => read?,
        };
        let (minimal, context) = (request_context.prefer.minimal, request_context.context);
        if let Some(audit_entry) = context.audit_entry() {
            audit_entry.ask(conversation, &selector, &patch, options.dry_run);
        }
        // The audit entry is filled before a refusal. The scope already contains the key of a path.
        if key.is_none() {
            rights::refused_of(&client.rights, &patch).for_each(|mistake| refused.note(mistake));
        }
        rights::all_allowed(refused)?;
        Ok(Self {
            request: WriteRequest { conversation, selector, patch, condition, options, context },
            view: WriteResponder { scope, minimal, flat: request_context.flat },
        })
    }
}

type ConditionInput<'a> = (&'a EtagScope, &'a Arc<Client>, bool);
type ConditionAndPatch = (Option<Arc<dyn WritePrecondition>>, Patch);

/// Reads the remaining headers and the body.
async fn read(
    parts: &Parts,
    body: Body,
    (request_context, settings): (&HttpRequestContext, &HttpSettings),
    (scope, client, dry_run): ConditionInput<'_>,
) -> Result<ConditionAndPatch, Problem> {
    negotiate::accepts_json(&parts.headers)?;
    let condition = if_match::from_headers(&parts.headers, (scope, client), dry_run, settings)?;
    let patch = match key(parts)? {
        None => parse_attributes(parts, body, request_context, settings).await?,
        Some(key) => parse_attribute(&key, parts, body, request_context, settings).await?,
    };
    Ok((condition, patch))
}

async fn parse_attributes(
    parts: &Parts,
    body: Body,
    request_context: &HttpRequestContext,
    settings: &HttpSettings,
) -> Result<Patch, Problem> {
    let merges = parts.method == Method::PATCH;
    negotiate::declared(&parts.headers, if merges { &[JSON, MERGE_PATCH] } else { &[JSON] })?;
    let body = read_body(parts, body, request_context, settings).await?;
    body_parser::patch(&body, if merges { NullPolicy::Clears } else { NullPolicy::Refused })
}

async fn parse_attribute(
    key: &str,
    parts: &Parts,
    body: Body,
    request_context: &HttpRequestContext,
    settings: &HttpSettings,
) -> Result<Patch, Problem> {
    let attribute = AttributeKey::new(key).map_err(|invalid| {
        let mistake = Violation::new("key", invalid.to_string());
        Problem::listing(ErrorCode::InvalidAttributes, mistake)
    })?;
    let change = if parts.method == Method::DELETE {
        // The body of a DELETE has no meaning (RFC 9110, section 9.3.5) and stays unread.
        KeyChange::Clear
    } else {
        let declared = negotiate::declared(&parts.headers, &[JSON, TEXT])?;
        let body = read_body(parts, body, request_context, settings).await?;
        if declared == TEXT { attribute::plain(&body)? } else { attribute::change(&body, key)? }
    };
    Ok([(attribute, change)].into_iter().collect())
}

/// Reads the body of a request until its deadline or the body timeout, whichever is earlier.
pub(in crate::http) async fn read_body(
    parts: &Parts,
    body: Body,
    request_context: &HttpRequestContext,
    settings: &HttpSettings,
) -> Result<Vec<u8>, Problem> {
    let declared = negotiate::declared_length(&parts.headers);
    let until =
        request_context.context.deadline().min(request_context.arrived + settings.body_timeout);
    let body = body::read(body, declared, settings.body_limit, until).await?;
    request_context.body_was_read();
    Ok(body)
}

type WriteQuery = (ParticipantSelector, EtagScope, WriteOptions);

fn write_query(
    raw: Option<&str>,
    key: Option<String>,
    settings: &HttpSettings,
) -> Result<WriteQuery, Problem> {
    let known = ["participant", "verify", "dryRun", "allowEnded", "view", "keys"];
    let mut query = match key {
        Some(_) => QueryString::read(raw, &known[..5], &[]),
        None => QueryString::read(raw, &known, &["key"]),
    };
    let selector = query.participant(&settings.default_participant, false);
    let scope = etag_scope(key, &mut query);
    // The request context has the flat form already.
    let _ = query.word("view", &["flat"]);
    let options = WriteOptions {
        verify: query.word("verify", &["none"]).is_none(),
        dry_run: query.flag("dryRun"),
        allow_ended: query.flag("allowEnded"),
    };
    query.finish()?;
    Ok((selector, scope, options))
}
