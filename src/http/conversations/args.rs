//! Extractors that turn requests about conversations into calls of the use cases.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::filters::{self, ListFilters};
use crate::app::{ListRequest, ViewRequest};
use crate::http::extract::{conversation, read_body, request_context, rights};
use crate::http::flat::FlatRequest;
use crate::http::negotiate::{self, JSON};
use crate::http::problem::Problem;
use crate::http::query::QueryString;
use crate::http::request_context::HttpRequestContext;
use crate::http::response_format::{FORMAT, ResponseFormat};
use crate::http::state::AppState;

/// A validated request to view a conversation.
pub(in crate::http) struct ViewArgs {
    pub request: ViewRequest,
    pub form: ResponseFormat,
    /// The flat form, if the client asks for it.
    pub flat: Option<Arc<FlatRequest>>,
}

/// A validated request to list conversations.
pub(in crate::http) struct ListArgs {
    pub request: ListRequest,
    pub form: ResponseFormat,
    /// Warnings for the client about how its filters were interpreted.
    pub warnings: Vec<String>,
}

/// A list request with its filters in the body.
pub(in crate::http) struct SearchArgs(pub ListArgs);

impl FromRequestParts<AppState> for ViewArgs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        let HttpRequestContext { client, context, flat, .. } = request_context(parts)?;
        let conversation = conversation(&parts.uri)?;
        let (asked, named) = view_query(parts.uri.query(), flat.is_some())?;
        rights::check_named(&client.rights, named.iter().map(|key| ("keys", key.as_str())))?;
        let form = ResponseFormat::unless_flat(flat.is_some(), asked, &parts.headers)?;
        let no_cache = negotiate::wants_no_cache(&parts.headers);
        Ok(Self { request: ViewRequest { conversation, no_cache, context }, form, flat })
    }
}

impl FromRequestParts<AppState> for ListArgs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let context = request_context(parts)?.context;
        let (filters, asked) = filters::from_query(parts.uri.query(), &state.settings.etag)?;
        let form = ResponseFormat::negotiate(asked, &parts.headers)?;
        let (request, warnings) = list_request(filters, context);
        Ok(Self { request, form, warnings })
    }
}

impl FromRequest<AppState> for SearchArgs {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, stream) = request.into_parts();
        let request_context = request_context(&parts)?;
        let asked = only_format(parts.uri.query())?;
        let form = ResponseFormat::negotiate(asked, &parts.headers)?;
        negotiate::declared(&parts.headers, &[JSON])?;
        let bytes = read_body(&parts, stream, &request_context, &state.settings).await?;
        let filters = filters::from_body(&bytes, &state.settings.etag)?;
        let (request, warnings) = list_request(filters, request_context.context);
        Ok(Self(ListArgs { request, form, warnings }))
    }
}

fn list_request(
    filters: ListFilters,
    context: crate::ports::RequestContext,
) -> (ListRequest, Vec<String>) {
    let ListFilters { filter, limit, after, warnings } = filters;
    (ListRequest { filter, limit, after, context }, warnings)
}

/// Parses the query of a view. Only the flat form has members for keys, so only it accepts `keys`.
fn view_query(
    raw: Option<&str>,
    is_flat: bool,
) -> Result<(Option<ResponseFormat>, Vec<String>), Problem> {
    let mut query = if is_flat {
        QueryString::read(raw, &["view", FORMAT, "keys"], &["key"])
    } else {
        QueryString::read(raw, &["view", FORMAT], &[])
    };
    query.word("view", &["flat"]);
    let asked = ResponseFormat::asked(&mut query, is_flat);
    let named = if is_flat { query.keys() } else { None };
    query.finish()?;
    Ok((asked, named.unwrap_or_default()))
}

/// Parses a query that may contain only `format`.
fn only_format(raw: Option<&str>) -> Result<Option<ResponseFormat>, Problem> {
    let mut query = QueryString::read(raw, &[FORMAT], &[]);
    let asked = ResponseFormat::asked(&mut query, false);
    query.finish()?;
    Ok(asked)
}
