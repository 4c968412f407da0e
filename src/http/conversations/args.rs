//! From a request to a call of a use case, for conversations.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::filters::{self, ListFilters};
use crate::app::{ListRequest, ViewRequest};
use crate::http::extract::{conversation, keys, read_body, request_context, rights};
use crate::http::flat::FlatRequest;
use crate::http::negotiate::{self, JSON};
use crate::http::problem::Problem;
use crate::http::query::QueryString;
use crate::http::request_context::HttpRequestContext;
use crate::http::response_format::{FORMAT, ResponseFormat};
use crate::http::state::AppState;

/// A look at a conversation that can be had.
pub(in crate::http) struct ViewArgs {
    pub request: ViewRequest,
    pub form: ResponseFormat,
    /// What is asked for in the flat form.
    pub flat: Option<Arc<FlatRequest>>,
}

/// A list that can be made.
pub(in crate::http) struct ListArgs {
    pub request: ListRequest,
    pub form: ResponseFormat,
    /// What a person should know about how it was understood.
    pub warnings: Vec<String>,
}

/// The same, asked for by a body.
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
        let (criteria, asked) = filters::of_query(parts.uri.query(), &state.settings.etag)?;
        let form = ResponseFormat::negotiate(asked, &parts.headers)?;
        let (request, warnings) = request(criteria, context);
        Ok(Self { request, form, warnings })
    }
}

impl FromRequest<AppState> for SearchArgs {
    type Rejection = Problem;

    async fn from_request(request_in: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, stream) = request_in.into_parts();
        let request_context = request_context(&parts)?;
        let asked = format_alone(parts.uri.query())?;
        let form = ResponseFormat::negotiate(asked, &parts.headers)?;
        negotiate::declared(&parts.headers, &[JSON])?;
        let bytes = read_body(&parts, stream, &request_context, &state.settings).await?;
        let criteria = filters::of_body(&bytes, &state.settings.etag)?;
        let (request, warnings) = request(criteria, request_context.context);
        Ok(Self(ListArgs { request, form, warnings }))
    }
}

fn request(
    criteria: ListFilters,
    context: crate::ports::RequestContext,
) -> (ListRequest, Vec<String>) {
    let ListFilters { filter, limit, after, warnings } = criteria;
    (ListRequest { filter, limit, after, context }, warnings)
}

/// Keys can be named where the answer has a place for them, which is in the flat form.
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
    let named = if is_flat { keys(&mut query) } else { None };
    query.finish()?;
    Ok((asked, named.unwrap_or_default()))
}

/// Reads a query in which nothing but `format` may stand.
fn format_alone(raw: Option<&str>) -> Result<Option<ResponseFormat>, Problem> {
    let mut query = QueryString::read(raw, &[FORMAT], &[]);
    let asked = ResponseFormat::asked(&mut query, false);
    query.finish()?;
    Ok(asked)
}
