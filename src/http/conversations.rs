//! Conversations: view one, and list or search the live ones.

mod cursor;
mod filters;
mod view;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use self::view::ConversationResponse;
use super::extract::{read_body, request_context, rights};
use super::flat::FlatResponse;
use super::negotiate::{self, JSON, ResponseFormat, json};
use super::params::{ConversationParam, FormatParam, KeyParams, ViewParam};
use super::paths;
use super::problem::Problem;
use super::query::{StrictQuery, contradiction};
use super::request_context::HttpRequestContext;
use super::state::AppState;
use crate::app::{ListRequest, ViewRequest};

pub(super) use self::filters::SearchRequestBody;
pub(super) use self::view::ConversationList;

/// View a conversation
///
/// Returns the state of the conversation and everyone who has ever joined it. Each participant comes with
/// the selectors that identify it in `participant=`.
#[utoipa::path(get, path = paths::CONVERSATION, operation_id = "getConversation", tag = "conversations",
    params(ConversationParam, FormatParam, ViewParam, KeyParams),
    responses((status = 200, description = "The conversation", content(
        (ConversationViewResponse = "application/json"), (String = "text/plain"),
    ))))]
pub(super) async fn get_conversation(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let HttpRequestContext { client, context, flat, .. } = request_context(&parts)?;
    let ConversationParam { conversation } = ConversationParam::from_uri(&parts.uri)?;
    let StrictQuery((view, format, keys)) =
        StrictQuery::<(ViewParam, FormatParam, KeyParams)>::parse(parts.uri.query())?;
    view.check_format(&format)?;
    let named = keys.scope();
    if !view.is_flat() && named.keys().next().is_some() {
        let detail = "needs `view=flat`: the other forms show no attributes";
        return Err(contradiction("keys", detail));
    }
    rights::all_allowed(rights::refused(&client.rights, named.named()))?;
    let form = ResponseFormat::unless_flat(flat.is_some(), format.format, &parts.headers)?;
    let no_cache = negotiate::wants_no_cache(&parts.headers);
    let found = state.app.view(ViewRequest { conversation, no_cache, context }).await?;
    let Some(flat) = flat else {
        return Ok(form.respond(&ConversationResponse::from(&*found)));
    };
    let selected = (&state.settings.default_participant, &client.rights);
    Ok(json(&flat.conversation(&found, selected)?))
}

/// List live conversations
///
/// Returns live voice conversations that began today or on the two days before (UTC), newest first. The
/// gateway uses the analytics query of Genesys Cloud, which shows a call shortly after it begins. The
/// query needs the permission `analytics:conversationDetail:view`. To search by phone number, use
/// `searchConversations`.
#[utoipa::path(get, path = paths::CONVERSATIONS, operation_id = "listConversations", tag = "conversations",
    params(SearchRequestBody, FormatParam),
    responses((status = 200, description = "One page of the live conversations. A page with fewer than `limit` conversations can still have a `nextCursor`", content(
        (ConversationList = "application/json"), (String = "text/plain"),
    ))))]
pub(super) async fn list_conversations(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let context = request_context(&parts)?.context;
    let (filters, format) = filters::from_query(parts.uri.query())?;
    let form = ResponseFormat::negotiate(format.format, &parts.headers)?;
    let request = filters.request(&state.settings.etag, context);
    let request = request.map_err(|detail| contradiction(filters::CURSOR, detail))?;
    list(request, &filters, form, &state).await
}

/// Search live conversations
///
/// Works like `listConversations`, but takes the filters in the body, including phone numbers. Phone
/// numbers therefore do not appear in access logs. Use it to find the call of a customer.
#[utoipa::path(post, path = paths::SEARCH, operation_id = "searchConversations", tag = "conversations",
    params(FormatParam),
    request_body(content = SearchRequestBody, example = json!({"ani": "+15550100111"})),
    responses((status = 200, description = "One page of the matching conversations", content(
        (ConversationList = "application/json"), (String = "text/plain"),
    ))))]
pub(super) async fn search_conversations(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, stream) = request.into_parts();
    let request_context = request_context(&parts)?;
    let StrictQuery(format) = StrictQuery::<FormatParam>::parse(parts.uri.query())?;
    let form = ResponseFormat::negotiate(format.format, &parts.headers)?;
    negotiate::declared(&parts.headers, &[JSON])?;
    let bytes = read_body(&parts, stream, &request_context, &state.settings).await?;
    let filters = filters::from_body(&bytes)?;
    let request = filters.request(&state.settings.etag, request_context.context);
    let request = request.map_err(|detail| {
        filters::wrong_members([(filters::CURSOR.to_owned(), detail.to_owned())])
    })?;
    list(request, &filters, form, &state).await
}

async fn list(
    request: ListRequest,
    filters: &SearchRequestBody,
    form: ResponseFormat,
    state: &AppState,
) -> Result<Response, Problem> {
    let filter = request.filter.clone();
    let listing = state.app.list(request).await?;
    let next = listing.next.map(|at| cursor::write(&at, &filter, &state.settings.etag));
    let (conversations, warnings) = (listing.conversations, filters.warnings());
    Ok(form.respond(&ConversationList { conversations, next_cursor: next, warnings }))
}

/// The conversation; with `view=flat`, the flat form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of one operation")]
enum ConversationViewResponse {
    Conversation(ConversationResponse),
    Flat(FlatResponse),
}
