//! Conversations: one as a whole, and the list of those that are live.

mod args;
mod cursor;
mod filters;
mod list;
mod view;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;

use self::args::{ListArgs, ViewArgs};
use super::flat::FlatResponse;
use super::openapi_params::{ConversationParam, FlatKeyParams, FormatParam, ViewParam};
use super::paths;
use super::problem::Problem;
use super::state::HttpSettings;
use crate::app::App;

pub(super) use self::filters::SearchRequestBody;
pub(super) use self::list::ConversationListResponse;
pub(super) use self::view::ConversationResponse;

/// See a conversation
///
/// Whether it is live, and everybody who ever joined, each with the words by which `participant=` means
/// exactly it.
#[utoipa::path(
    get,
    path = paths::CONVERSATION,
    operation_id = "getConversation",
    tag = "conversations",
    params(ConversationParam, FormatParam, ViewParam, FlatKeyParams),
    responses((status = 200, description = "The conversation", content(
        (ConversationViewResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn get_conversation(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: ViewArgs,
) -> Result<Response, Problem> {
    let client = Arc::clone(call.request.context.client());
    let conversation = app.view(call.request).await?;
    Ok(match call.flat {
        Some(ask) => {
            let whom = (&settings.default_participant, &client.rights);
            Json(ask.seen(&conversation, whom)?).into_response()
        }
        None => call.form.respond(&ConversationResponse::from(&*conversation)),
    })
}

/// List live conversations
///
/// Live voice conversations, the newest first, that began today or on the two days before (UTC). It is
/// the analytics query of Genesys Cloud, which knows of a call a little later than the call begins and
/// needs the permission `analytics:conversationDetail:view`. To search by telephone number, see
/// `searchConversations`.
#[utoipa::path(
    get,
    path = paths::CONVERSATIONS,
    operation_id = "listConversations",
    tag = "conversations",
    params(
        ("state" = Option<String>, Query, example = "live", description = "`live`, which is all there is"),
        ("direction" = Option<String>, Query, example = "inbound", description = "`inbound` or `outbound`"),
        ("queueId" = Option<String>, Query, format = "uuid",
            description = "Those that are in this queue, or with an agent of it, now"),
        ("userId" = Option<String>, Query, format = "uuid",
            description = "Those that this user takes part in now"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, example = 25,
            description = "How many at most; 25 if absent"),
        ("cursor" = Option<String>, Query,
            description = "`nextCursor` of the answer before; good only with the filters it came from"),
        FormatParam,
    ),
    responses((status = 200, description = "Some of the live conversations; an answer may have fewer than `limit` of them, and `nextCursor` all the same", content(
        (ConversationListResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn list_conversations(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: ListArgs,
) -> Result<Response, Problem> {
    answer(&app, &settings, call).await
}

/// Search live conversations
///
/// The same as `listConversations`, with the filters in the body, among them telephone numbers: so they
/// do not stand in access logs. Which call is my customer on?
#[utoipa::path(
    post,
    path = paths::SEARCH,
    operation_id = "searchConversations",
    tag = "conversations",
    params(FormatParam),
    request_body(content = SearchRequestBody, example = json!({"ani": "+15550100111"})),
    responses((status = 200, description = "Some of the conversations that match", content(
        (ConversationListResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn search_conversations(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    args::SearchArgs(call): args::SearchArgs,
) -> Result<Response, Problem> {
    answer(&app, &settings, call).await
}

async fn answer(app: &App, settings: &HttpSettings, call: ListArgs) -> Result<Response, Problem> {
    let filter = call.request.filter.clone();
    let listing = app.list(call.request).await?;
    let next = listing.next.map(|mark| cursor::write(&mark, &filter, &settings.etag));
    Ok(call.form.respond(&ConversationListResponse::new(
        listing.conversations,
        next,
        call.warnings,
    )))
}

/// What a look at a conversation can answer with.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of one operation")]
pub(super) enum ConversationViewResponse {
    Conversation(ConversationResponse),
    Flat(FlatResponse),
}
