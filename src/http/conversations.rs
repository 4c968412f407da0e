//! Handlers for conversations: view one, and list or search the live ones.

mod calls;
mod cursor;
mod filters;
mod list;
mod view;

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use self::calls::{ListCall, SearchCall, ViewCall};
use super::flat::FlatResponse;
use super::params::{ConversationParam, FormatParam, KeyParams, ViewParam};
use super::paths;
use super::problem::Problem;

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
    params(ConversationParam, FormatParam, ViewParam, KeyParams),
    responses((status = 200, description = "The conversation", content(
        (ConversationViewResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn get_conversation(call: ViewCall) -> Result<Response, Problem> {
    call.answer().await
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
    params(SearchRequestBody, FormatParam),
    responses((status = 200, description = "One page of the live conversations. A page with fewer than `limit` conversations can still have a `nextCursor`", content(
        (ConversationListResponse = "application/json"), (String = "text/plain"),
    )))
)]
pub(super) async fn list_conversations(call: ListCall) -> Result<Response, Problem> {
    call.answer().await
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
    SearchCall(call): SearchCall,
) -> Result<Response, Problem> {
    call.answer().await
}

/// The conversation; with `view=flat`, the flat form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of one operation")]
enum ConversationViewResponse {
    Conversation(ConversationResponse),
    Flat(FlatResponse),
}
