//! From a request to a call of a use case, for conversations.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;

use super::filters::{self, Criteria};
use crate::app::{ListRequest, ViewRequest};
use crate::http::extract::{conversation, exchange, keys, read_body, rights};
use crate::http::flat::Ask;
use crate::http::negotiate::{self, JSON};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::request_context::Exchange;
use crate::http::response_format::{FORMAT, Form};
use crate::http::state::AppState;

/// A look at a conversation that can be had.
pub(in crate::http) struct ViewCall {
    pub request: ViewRequest,
    pub form: Form,
    /// What is asked for in the flat form.
    pub flat: Option<Arc<Ask>>,
}

/// A list that can be made.
pub(in crate::http) struct ListCall {
    pub request: ListRequest,
    pub form: Form,
    /// What a person should know about how it was understood.
    pub warnings: Vec<String>,
}

/// The same, asked for by a body.
pub(in crate::http) struct SearchCall(pub ListCall);

impl FromRequestParts<AppState> for ViewCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        let Exchange { client, cycle, flat, .. } = exchange(parts)?;
        let conversation = conversation(&parts.uri)?;
        let (asked, named) = view_query(parts.uri.query(), flat.is_some())?;
        rights::check_named(&client.rights, named.iter().map(|key| ("keys", key.as_str())))?;
        let form = Form::unless_flat(flat.is_some(), asked, &parts.headers)?;
        let no_cache = negotiate::wants_no_cache(&parts.headers);
        Ok(Self { request: ViewRequest { conversation, no_cache, cycle }, form, flat })
    }
}

impl FromRequestParts<AppState> for ListCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let cycle = exchange(parts)?.cycle;
        let (criteria, asked) = filters::of_query(parts.uri.query(), &state.settings.etag)?;
        let form = Form::of(asked, &parts.headers)?;
        let (request, warnings) = request(criteria, cycle);
        Ok(Self { request, form, warnings })
    }
}

impl FromRequest<AppState> for SearchCall {
    type Rejection = Problem;

    async fn from_request(request_in: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, stream) = request_in.into_parts();
        let exchange = exchange(&parts)?;
        let asked = format_alone(parts.uri.query())?;
        let form = Form::of(asked, &parts.headers)?;
        negotiate::declared(&parts.headers, &[JSON])?;
        let bytes = read_body(&parts, stream, &exchange, &state.settings).await?;
        let criteria = filters::of_body(&bytes, &state.settings.etag)?;
        let (request, warnings) = request(criteria, exchange.cycle);
        Ok(Self(ListCall { request, form, warnings }))
    }
}

fn request(criteria: Criteria, cycle: crate::ports::Cycle) -> (ListRequest, Vec<String>) {
    let Criteria { filter, limit, after, warnings } = criteria;
    (ListRequest { filter, limit, after, cycle }, warnings)
}

/// Keys can be named where the answer has a place for them, which is in the flat form.
fn view_query(raw: Option<&str>, is_flat: bool) -> Result<(Option<Form>, Vec<String>), Problem> {
    let mut query = if is_flat {
        Query::read(raw, &["view", FORMAT, "keys"], &["key"])
    } else {
        Query::read(raw, &["view", FORMAT], &[])
    };
    query.word("view", &["flat"]);
    let asked = Form::asked(&mut query, is_flat);
    let named = if is_flat { keys(&mut query) } else { None };
    query.finish()?;
    Ok((asked, named.unwrap_or_default()))
}

/// Reads a query in which nothing but `format` may stand.
fn format_alone(raw: Option<&str>) -> Result<Option<Form>, Problem> {
    let mut query = Query::read(raw, &[FORMAT], &[]);
    let asked = Form::asked(&mut query, false);
    query.finish()?;
    Ok(asked)
}
