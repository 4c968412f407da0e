//! Extractor for writes: of attributes by `PUT` and `PATCH`, of a single one by `PUT` and `DELETE`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::app::{OperationQueue, WriteOptions, WriteRequest};
use crate::domain::{AttributeKey, KeyChange, ParticipantSelector, Patch, Violation};
use crate::error::ErrorCode;
use crate::http::body_parser::{self, NullPolicy, attribute};
use crate::http::etag::EtagScope;
use crate::http::extract::{request_context, rights};
use crate::http::idempotency::{AnswerLookup, KeyedRequest};
use crate::http::if_match::ConditionHeaders;
use crate::http::negotiate::{self, JSON, MERGE_PATCH, TEXT};
use crate::http::operations::{self, AcceptedWrite, OperationRun, StoredParts};
use crate::http::params::{
    ConversationParam, KeyParam, KeyParams, ParticipantParam, ViewParam, WriteParams,
};
use crate::http::problem::Problem;
use crate::http::query::StrictQuery;
use crate::http::request_context::HttpRequestContext;
use crate::http::respond::WriteResponder;
use crate::http::state::{AppState, HttpSettings};
use crate::ports::WriteNotes as _;

pub(in crate::http) struct WriteCall {
    request: WriteRequest,
    view: WriteResponder,
    state: AppState,
    key: Option<KeyedRequest>,
    /// What is stored of the request if its client prefers an answer before it is carried out.
    accepts: Option<StoredParts>,
}

impl WriteCall {
    pub(in crate::http) async fn answer(mut self) -> Result<Response, Problem> {
        let context = self.request.context.clone();
        let mut id = None;
        if let Some(key) = &self.key {
            let (client, patch) = (context.client(), &self.request.patch);
            let looked = key.look_up(&self.state.ops.answers, client, patch, context.deadline());
            match looked.await? {
                AnswerLookup::Known(response) => return Ok(response),
                AnswerLookup::New(notes) => {
                    // An earlier try decides; it was not accepted for later.
                    self.accepts.take_if(|_| notes.earlier().is_some());
                    id = Some(notes.operation_id());
                    self.request.notes = Some(notes);
                }
            }
        }
        if let (Some(parts), Some(queue)) = (&self.accepts, &self.state.ops.operations) {
            let id = id.unwrap_or_else(Uuid::new_v4);
            if let Some(accepted) = self.accept(parts, queue, id).await? {
                return Ok(accepted);
            }
        }
        let report = self.state.app.write(self.request).await?;
        self.view.respond(report, context.calls(), &self.state.settings)
    }
}

impl WriteCall {
    async fn accept(
        &self,
        parts: &StoredParts,
        queue: &OperationQueue,
        id: Uuid,
    ) -> Result<Option<Response>, Problem> {
        let WriteRequest { conversation, patch, options, context, .. } = &self.request;
        let (conversation, verify) = (*conversation, options.verify);
        let write = AcceptedWrite { id, conversation, patch, verify, parts };
        let public_url = self.state.ops.documents.public_url();
        let response = operations::accept(write, context.client(), queue, public_url).await?;
        if let (Some(_), Some(audit_entry)) = (&response, context.audit_entry()) {
            audit_entry.hand_over();
        }
        Ok(response)
    }
}

impl FromRequest<AppState> for WriteCall {
    type Rejection = Problem;

    #[expect(clippy::too_many_lines, reason = "one check after the other")]
    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let settings = &state.settings;
        let request_context = request_context(&parts)?;
        let rights = &request_context.client.rights;
        rights::check_writing(rights)?;
        let ConversationParam { conversation } = ConversationParam::from_uri(&parts.uri)?;
        let (selector, scope, options) = write_query(&parts.uri)?;
        let selector = selector.unwrap_or_else(|| settings.default_participant.clone());
        rights::check_selector(rights, &selector)?;
        let mut refused = rights::refused(rights, scope.named());
        let read = async {
            negotiate::accepts_json(&parts.headers)?;
            let headers = ConditionHeaders::from_headers(&parts.headers)?;
            let key = KeyedRequest::new(&parts)?;
            headers.check_required(settings.require_if_match && !options.dry_run)?;
            let patch = read_patch(&parts, body, scope.only_key(), (&request_context, settings));
            Ok::<_, Problem>((headers, key, patch.await?))
        };
        let read = read.await;
        if read.is_err() {
            // Refused keys take precedence over every other mistake.
            rights::all_allowed(std::mem::take(&mut refused))?;
        }
        let (headers, key, patch) = read?;
        if let Some(audit_entry) = request_context.context.audit_entry() {
            audit_entry.ask(conversation, &selector, &patch, options.dry_run);
        }
        // The audit entry is filled before a refusal. The scope already contains the key of a path.
        if scope.only_key().is_none() {
            rights::refused_of(rights, &patch).for_each(|mistake| refused.note(mistake));
        }
        rights::all_allowed(refused)?;
        let condition = headers.condition(&scope, &request_context.client, &settings.etag);
        let HttpRequestContext { context, prefer, flat, .. } = request_context;
        let run = parts.extensions.get::<OperationRun>();
        let may_wait = prefer.respond_async && flat.is_none() && !options.dry_run && run.is_none();
        let accepts = may_wait.then(|| StoredParts::new(&parts)).transpose()?;
        let notes = run.map(|run| Arc::clone(&run.notes));
        Ok(Self {
            request: WriteRequest {
                conversation,
                selector,
                patch,
                condition,
                options,
                notes,
                context,
            },
            view: WriteResponder { scope, minimal: prefer.minimal, flat },
            state: state.clone(),
            key: key.filter(|_| !options.dry_run),
            accepts,
        })
    }
}

/// Reads the body: of one attribute if the path names its `key`, else of several.
async fn read_patch(
    parts: &Parts,
    body: Body,
    key: Option<&str>,
    (context, settings): (&HttpRequestContext, &HttpSettings),
) -> Result<Patch, Problem> {
    let Some(key) = key else {
        let merges = parts.method == Method::PATCH;
        negotiate::declared(&parts.headers, if merges { &[JSON, MERGE_PATCH] } else { &[JSON] })?;
        let body = read_body(parts, body, context, settings).await?;
        let null = if merges { NullPolicy::Clears } else { NullPolicy::Refused };
        return body_parser::patch(&body, null);
    };
    let attribute = AttributeKey::new(key).map_err(|invalid| {
        let mistake = Violation::new("key", invalid.to_string());
        Problem::listing(ErrorCode::InvalidAttributes, mistake)
    })?;
    let change = if parts.method == Method::DELETE {
        // The body of a DELETE has no meaning (RFC 9110, section 9.3.5) and stays unread.
        KeyChange::Clear
    } else {
        let declared = negotiate::declared(&parts.headers, &[JSON, TEXT])?;
        let body = read_body(parts, body, context, settings).await?;
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
    let body = read_within(body, declared, settings.body_limit, until).await?;
    request_context.body_was_read();
    Ok(body)
}

type WriteQuery = (Option<ParticipantSelector>, EtagScope, WriteOptions);

fn write_query(uri: &Uri) -> Result<WriteQuery, Problem> {
    type Common = (ParticipantParam, WriteParams, ViewParam);
    let (participant, write, scope) = if let Some(KeyParam { key }) = KeyParam::from_uri(uri)? {
        let StrictQuery((participant, write, _)) = StrictQuery::<Common>::parse(uri.query())?;
        (participant, write, EtagScope::Key(key))
    } else {
        let StrictQuery((participant, write, ViewParam { .. }, keys)) =
            StrictQuery::<(_, _, _, KeyParams)>::parse(uri.query())?;
        (participant, write, keys.scope())
    };
    let ParticipantParam { participant } = participant;
    let WriteParams { verify, dry_run, allow_ended } = write;
    Ok((participant, scope, WriteOptions { verify: verify.is_none(), dry_run, allow_ended }))
}

/// Reads the whole body, which has at most `limit` bytes and arrives by `until`. `declared` is its length
/// from the head, which is checked before the read.
async fn read_within(
    body: Body,
    declared: Option<u64>,
    limit: usize,
    until: Instant,
) -> Result<Vec<u8>, Problem> {
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match timeout_at(until, gather(body, limit)).await {
        Ok(read) => read,
        Err(_) => Err(Problem::new(ErrorCode::RequestTimeout, "the body did not arrive in time")),
    }
}

async fn gather(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            Problem::new(ErrorCode::InvalidJson, "the body ended before it was complete")
        })?;
        // The other frames are trailers, which the gateway ignores.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if gathered.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        gathered.extend_from_slice(&data);
    }
    Ok(gathered)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ErrorCode::BodyTooLarge, format!("the body is longer than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use http_body_util::Full;
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    /// A body that gives its data and then never ends.
    fn endless(data: &'static str) -> Body {
        let end = std::future::pending::<Option<Result<HeaderMap, Infallible>>>();
        Body::new(Full::from(data).with_trailers(end))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(2)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
        let whole = read_within(Body::from("12345"), None, 5, soon()).await;
        assert_eq!(whole.expect("fits"), b"12345");
        let over = read_within(Body::from("123456"), None, 5, soon()).await;
        assert_eq!(over.expect_err("too long").code(), ErrorCode::BodyTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_declared_length_over_the_limit_is_refused_unread() {
        let refused = read_within(endless(""), Some(6), 5, soon()).await;
        assert_eq!(refused.expect_err("too long").code(), ErrorCode::BodyTooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_times_out() {
        let (start, until) = (Instant::now(), soon());
        let refused = read_within(endless("{"), Some(5), 5, until).await;
        assert_eq!(refused.expect_err("never ends").code(), ErrorCode::RequestTimeout);
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }
}
