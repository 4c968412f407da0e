//! Validated requests about conversations: extracted from HTTP, carried out, and answered.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};

use super::cursor;
use super::filters::{self, SearchRequestBody};
use super::list::ConversationListResponse;
use super::view::ConversationResponse;
use crate::app::{ListRequest, ViewRequest};
use crate::http::extract::{read_body, request_context, rights};
use crate::http::flat::FlatRequest;
use crate::http::negotiate::{self, JSON};
use crate::http::params::{ConversationParam, FormatParam, KeyParams, ViewParam};
use crate::http::problem::Problem;
use crate::http::query::{StrictQuery, contradiction};
use crate::http::request_context::HttpRequestContext;
use crate::http::response_format::ResponseFormat;
use crate::http::state::AppState;
use crate::ports::RequestContext;

/// A request to view a conversation.
pub(in crate::http) struct ViewCall {
    request: ViewRequest,
    form: ResponseFormat,
    flat: Option<Arc<FlatRequest>>,
    state: AppState,
}

/// A request to list conversations.
pub(in crate::http) struct ListCall {
    request: ListRequest,
    form: ResponseFormat,
    /// Warnings for the client about how its filters were interpreted.
    warnings: Vec<String>,
    state: AppState,
}

/// A list request with its filters in the body.
pub(in crate::http) struct SearchCall(pub ListCall);

impl FromRequestParts<AppState> for ViewCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let HttpRequestContext { client, context, flat, .. } = request_context(parts)?;
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
        let request = ViewRequest { conversation, no_cache, context };
        Ok(Self { request, form, flat, state: state.clone() })
    }
}

impl FromRequestParts<AppState> for ListCall {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let context = request_context(parts)?.context;
        let (filters, format) = filters::from_query(parts.uri.query())?;
        let form = ResponseFormat::negotiate(format.format, &parts.headers)?;
        let args = Self::new(&filters, form, (context, state));
        args.map_err(|detail| contradiction(filters::CURSOR, detail))
    }
}

impl FromRequest<AppState> for SearchCall {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, stream) = request.into_parts();
        let request_context = request_context(&parts)?;
        let StrictQuery(format) = StrictQuery::<FormatParam>::parse(parts.uri.query())?;
        let form = ResponseFormat::negotiate(format.format, &parts.headers)?;
        negotiate::declared(&parts.headers, &[JSON])?;
        let bytes = read_body(&parts, stream, &request_context, &state.settings).await?;
        let filters = filters::from_body(&bytes)?;
        let args = ListCall::new(&filters, form, (request_context.context, state));
        args.map(Self).map_err(|detail| {
            filters::wrong_members([(filters::CURSOR.to_owned(), detail.to_owned())])
        })
    }
}

impl ViewCall {
    pub(in crate::http) async fn answer(self) -> Result<Response, Problem> {
        let client = Arc::clone(self.request.context.client());
        let conversation = self.state.app.view(self.request).await?;
        let Some(flat) = self.flat else {
            return Ok(self.form.respond(&ConversationResponse::from(&*conversation)));
        };
        let selected = (&self.state.settings.default_participant, &client.rights);
        Ok(Json(flat.conversation(&conversation, selected)?).into_response())
    }
}

impl ListCall {
    pub(in crate::http) async fn answer(self) -> Result<Response, Problem> {
        let filter = self.request.filter.clone();
        let listing = self.state.app.list(self.request).await?;
        let key = &self.state.settings.etag;
        let next = listing.next.map(|position| cursor::write(&position, &filter, key));
        let page = ConversationListResponse::new(listing.conversations, next, self.warnings);
        Ok(self.form.respond(&page))
    }

    fn new(
        filters: &SearchRequestBody,
        form: ResponseFormat,
        (context, state): (RequestContext, &AppState),
    ) -> Result<Self, &'static str> {
        let after = filters.position(&state.settings.etag)?;
        let (limit, warnings) = (filters.limit(), filters.warnings());
        let request = ListRequest { filter: filters.filter(), limit, after, context };
        Ok(Self { request, form, warnings, state: state.clone() })
    }
}
