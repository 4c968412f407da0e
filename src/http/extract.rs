//! From a request to a call of a use case: everything a caller can get wrong is told here, before
//! anything is asked of upstream.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;

use super::answer::ReadView;
use super::exchange::Exchange;
use super::problem::Problem;
use super::query::Query;
use super::state::{AppState, HttpSettings};
use super::{body, condition, negotiate, wire};
use crate::app::{ReadRequest, WriteOptions, WriteRequest};
use crate::domain::{ConversationId, ParticipantSelector, Violation};
use crate::error::Code;

/// A read that can be made.
pub(super) struct ReadCall {
    pub request: ReadRequest,
    pub view: ReadView,
}

/// A write that can be made.
pub(super) struct WriteCall {
    pub request: WriteRequest,
    /// The keys that its `ETag` is taken of; all if there are none.
    pub keys: Option<Vec<String>>,
    /// The caller needs no body where all is well.
    pub minimal: bool,
}

impl FromRequestParts<AppState> for ReadCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let exchange = exchange(parts)?;
        let conversation = conversation(parts).await?;
        let (selector, keys) = read_query(parts.uri.query(), &state.settings)?;
        exchange.cycle.note_keys(keys.iter().flatten().map(String::as_str));
        negotiate::accepts_json(&parts.headers)?;
        Ok(Self {
            request: ReadRequest {
                conversation,
                selector,
                no_cache: negotiate::wants_no_cache(&parts.headers),
                cycle: exchange.cycle,
            },
            view: ReadView { conversation, keys, headers: std::mem::take(&mut parts.headers) },
        })
    }
}

impl FromRequest<AppState> for WriteCall {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let settings = &state.settings;
        let exchange = exchange(&parts)?;
        let conversation = conversation(&mut parts).await?;
        let (selector, keys, options) = write_query(parts.uri.query(), settings)?;
        negotiate::accepts_json(&parts.headers)?;
        let condition = condition::of(&parts.headers, keys.clone(), options.dry_run, settings)?;
        negotiate::declares_json(&parts.headers)?;
        let declared = negotiate::declared_length(&parts.headers);
        let until = exchange.cycle.deadline();
        let until = until.min(exchange.arrived + settings.body_timeout);
        let body = body::read(body, declared, settings.body_limit, until).await?;
        exchange.body_was_read();
        Ok(Self {
            request: WriteRequest {
                conversation,
                selector,
                patch: wire::patch(&body)?,
                condition,
                options,
                cycle: exchange.cycle,
            },
            keys,
            minimal: exchange.prefer.minimal,
        })
    }
}

pub(super) fn exchange(parts: &Parts) -> Result<Exchange, Problem> {
    let exchange = parts.extensions.get::<Exchange>().cloned();
    exchange.ok_or_else(|| Problem::internal("a handler was reached without the edge"))
}

async fn conversation(parts: &mut Parts) -> Result<ConversationId, Problem> {
    let step = Path::<String>::from_request_parts(parts, &()).await;
    conversation_id(step.ok().map(|Path(step)| step).as_deref())
}

/// The id in a step of the path; a step that is no UTF-8 is as little an id as any other text.
pub(super) fn conversation_id(step: Option<&str>) -> Result<ConversationId, Problem> {
    step.and_then(|step| step.parse().ok()).ok_or_else(|| {
        let mistake = Violation::at("conversationId", "is not a UUID of the form 8-4-4-4-12");
        Problem::listing(Code::InvalidConversationId, vec![mistake])
    })
}

fn read_query(
    raw: Option<&str>,
    settings: &HttpSettings,
) -> Result<(ParticipantSelector, Option<Vec<String>>), Problem> {
    let mut query = Query::read(raw, &["participant", "keys"], &["key"]);
    let selector = query.participant(&settings.default_participant, true);
    let keys = keys(&mut query);
    query.finish()?;
    Ok((selector, keys))
}

/// Keys that the caller is interested in, by `keys` and `key`.
fn keys(query: &mut Query) -> Option<Vec<String>> {
    let mut keys = query.take("key");
    for list in query.take("keys") {
        if list.split(',').any(str::is_empty) {
            query.mistake("keys", "names an empty key");
        }
        keys.extend(list.split(',').map(str::to_owned));
    }
    (!keys.is_empty()).then_some(keys)
}

type Write = (ParticipantSelector, Option<Vec<String>>, WriteOptions);

fn write_query(raw: Option<&str>, settings: &HttpSettings) -> Result<Write, Problem> {
    let known = ["participant", "verify", "dryRun", "allowEnded", "keys"];
    let mut query = Query::read(raw, &known, &["key"]);
    let selector = query.participant(&settings.default_participant, false);
    let keys = keys(&mut query);
    let options = WriteOptions {
        verify: query.word("verify", &["none"]).is_none(),
        dry_run: query.flag("dryRun"),
        allow_ended: query.flag("allowEnded"),
    };
    query.finish()?;
    Ok((selector, keys, options))
}
