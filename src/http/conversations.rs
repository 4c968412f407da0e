//! Handlers for conversations: view one, and list or search the live ones.

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

/// View a conversation
///
/// Returns the state of the conversation and everyone who has ever joined it. Each participant comes with
/// the selectors that identify it in `participant=`.
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
        Some(flat) => {
            let selected = (&settings.default_participant, &client.rights);
            Json(flat.conversation(&conversation, selected)?).into_response()
        }
        None => call.form.respond(&ConversationResponse::from(&*conversation)),
    })
}

/// List live conversations
///
/// Returns live voice conversations that began today or on the two days before (UTC), newest first. The
/// gateway uses the analytics query of Genesys Cloud, which shows a call shortly after it begins. The
/// query needs the permission `analytics:conversationDetail:view`. To search by phone number, use
/// `searchConversations`.
#[utoipa::path(
    get,
    path = paths::CONVERSATIONS,
    operation_id = "listConversations",
    tag = "conversations",
    params(
        ("state" = Option<String>, Query, example = "live", description = "`live`, the only value"),
        ("direction" = Option<String>, Query, example = "inbound", description = "`inbound` or `outbound`"),
        ("queueId" = Option<String>, Query, format = "uuid",
            description = "Only conversations that are now in this queue or with one of its agents"),
        ("userId" = Option<String>, Query, format = "uuid",
            description = "Only conversations in which this user now takes part"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, example = 25,
            description = "Maximum number of conversations; default 25"),
        ("cursor" = Option<String>, Query,
            description = "`nextCursor` of the previous response; valid only with the same filters"),
        FormatParam,
    ),
    responses((status = 200, description = "One page of the live conversations. A page with fewer than `limit` conversations can still have a `nextCursor`", content(
        (ConversationListResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn list_conversations(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: ListArgs,
) -> Result<Response, Problem> {
    respond(&app, &settings, call).await
}

/// Search live conversations
///
/// Works like `listConversations`, but takes the filters in the body, including phone numbers. Phone
/// numbers therefore do not appear in access logs. Use it to find the call of a customer.
#[utoipa::path(
    post,
    path = paths::SEARCH,
    operation_id = "searchConversations",
    tag = "conversations",
    params(FormatParam),
    request_body(content = SearchRequestBody, example = json!({"ani": "+15550100111"})),
    responses((status = 200, description = "One page of the matching conversations", content(
        (ConversationListResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn search_conversations(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    args::SearchArgs(call): args::SearchArgs,
) -> Result<Response, Problem> {
    respond(&app, &settings, call).await
}

async fn respond(app: &App, settings: &HttpSettings, call: ListArgs) -> Result<Response, Problem> {
    let filter = call.request.filter.clone();
    let listing = app.list(call.request).await?;
    let next = listing.next.map(|position| cursor::write(&position, &filter, &settings.etag));
    Ok(call.form.respond(&ConversationListResponse::new(
        listing.conversations,
        next,
        call.warnings,
    )))
}

/// The conversation; with `view=flat`, the flat form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of one operation")]
pub(super) enum ConversationViewResponse {
    Conversation(ConversationResponse),
    Flat(FlatResponse),
}
