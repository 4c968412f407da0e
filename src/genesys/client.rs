//! The upstream operations: each method builds a request, and reads the answer.
//!
//! A 2xx to a PATCH means "accepted", and not yet "visible": the platform answers 202 and applies the
//! change later (<https://help.mypurecloud.com>, FAQ on the Set Participant Data action). If a failed
//! PATCH may have been applied, the error says so. The use case decides what to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, Uri, header};

use super::error::{self, RefusalSubject, UpstreamError};
use super::layers::{CallMetadata, PermitSlot};
use super::transport::HttpTransport;
use super::wire;
use crate::clock;
use crate::domain::{Conversation, ConversationId, ListPage, ParticipantId};
use crate::error::Error;
use crate::ports::{
    BoxFuture, ConversationsPort, PatchOutcome, PlatformOperation, PriorityClass, RequestContext,
    UnknownPatch, UpstreamPatch, UpstreamQuery, UpstreamRead,
};

/// The conversation details query of analytics: the only list that an OAuth client without a user may
/// request.
const DETAILS: &str = "/api/v2/analytics/conversations/details/query";

/// The paths of reads and writes. The platform API has no `/conversations/voice/`: voice is `calls`.
/// Templates serve proxies that have other paths.
#[derive(Clone, Debug)]
pub enum RoutePaths {
    /// `/api/v2/conversations/{id}`: any media.
    Conversations,
    /// `/api/v2/conversations/calls/{id}`: only voice.
    Calls,
    /// Templates with `{conversationId}` and `{participantId}`.
    Custom {
        /// GET of one participant.
        participant: String,
        /// PATCH of its attributes.
        attributes: String,
        /// GET of the conversation, if the proxy has one.
        conversation: Option<String>,
    },
}

/// The client of the platform API.
pub struct GenesysClient {
    stack: HttpTransport,
    paths: RoutePaths,
    clearing: wire::ClearMode,
}

/// Reads the body of an answer.
type ResponseParser = fn(ConversationId, &[u8]) -> Result<Conversation, &'static str>;

impl RoutePaths {
    fn read(
        &self,
        conversation: ConversationId,
        participant: Option<ParticipantId>,
    ) -> Result<(String, ResponseParser), Error> {
        match (self, participant) {
            (Self::Conversations, _) => {
                Ok((format!("/api/v2/conversations/{conversation}"), wire::conversation))
            }
            (Self::Calls, _) => {
                Ok((format!("/api/v2/conversations/calls/{conversation}"), wire::conversation))
            }
            (Self::Custom { conversation: Some(template), .. }, _) => {
                Ok((filled(template, conversation, None), wire::conversation))
            }
            (Self::Custom { participant: template, .. }, Some(participant)) => {
                Ok((filled(template, conversation, Some(participant)), wire::lone_participant))
            }
            (Self::Custom { conversation: None, .. }, None) => Err(Error::InvalidParticipant(
                "this gateway reads single participants, so only a participant's UUID can be used",
            )),
        }
    }

    fn patch(&self, conversation: ConversationId, participant: ParticipantId) -> String {
        let tail = format!("{conversation}/participants/{participant}/attributes");
        match self {
            Self::Conversations => format!("/api/v2/conversations/{tail}"),
            Self::Calls => format!("/api/v2/conversations/calls/{tail}"),
            Self::Custom { attributes, .. } => filled(attributes, conversation, Some(participant)),
        }
    }
}

fn filled(
    template: &str,
    conversation: ConversationId,
    participant: Option<ParticipantId>,
) -> String {
    let path = template.replace("{conversationId}", &conversation.to_string());
    match participant {
        Some(participant) => path.replace("{participantId}", &participant.to_string()),
        None => path,
    }
}

impl GenesysClient {
    /// A client whose requests go through `stack`, and whose writes clear keys with `clearing`.
    pub fn new(stack: HttpTransport, paths: RoutePaths, clearing: wire::ClearMode) -> Arc<Self> {
        Arc::new(Self { stack, paths, clearing })
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        body: Vec<u8>,
        call: CallMetadata,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let mut request = Request::new(Bytes::from(body));
        *request.uri_mut() =
            Uri::try_from(path).map_err(|_| UpstreamError::Connect("unusable path".into()))?;
        *request.method_mut() = method;
        request.extensions_mut().insert(call);
        self.stack.exchange(request).await
    }

    async fn get(
        &self,
        read: UpstreamRead,
        context: &RequestContext,
    ) -> Result<Conversation, Error> {
        let (path, parse) = self.paths.read(read.conversation, read.participant)?;
        let call = CallMetadata {
            operation: PlatformOperation::Read,
            conversation: Some(read.conversation),
            context: context.clone(),
            retries: read.retries,
            again: false,
            class: read.class,
            permit: PermitSlot::new(read.permit),
            attempt: None,
        };
        let answer = self
            .send(Method::GET, path, Vec::new(), call)
            .await
            .map_err(|error| error.into_error(context.time_left().is_zero()))?;
        if !answer.status().is_success() {
            keep_correlation_id(&answer, context);
            return Err(error::refusal(&answer, RefusalSubject::Read(read.conversation)));
        }
        parse(read.conversation, answer.body())
            .map_err(|what| Error::UpstreamInvalidResponse(what.to_owned()))
    }

    async fn query(
        &self,
        find: UpstreamQuery<'_>,
        context: &RequestContext,
    ) -> Result<ListPage, Error> {
        let call = CallMetadata {
            operation: PlatformOperation::Analytics,
            conversation: None,
            context: context.clone(),
            retries: true,
            again: false,
            class: PriorityClass::Read,
            permit: PermitSlot::default(),
            attempt: None,
        };
        let body = wire::details_query(find.filter, find.page, clock::today());
        let answer = self
            .send(Method::POST, DETAILS.to_owned(), body, call)
            .await
            .map_err(|error| error.into_error(context.time_left().is_zero()))?;
        if !answer.status().is_success() {
            keep_correlation_id(&answer, context);
            return Err(error::refusal(&answer, RefusalSubject::Query(find.filter)));
        }
        wire::details(answer.body()).map_err(|what| Error::UpstreamInvalidResponse(what.to_owned()))
    }

    async fn send_patch(&self, patch: UpstreamPatch, context: &RequestContext) -> PatchOutcome {
        let uri = self.paths.patch(patch.conversation, patch.participant);
        let call = CallMetadata {
            operation: PlatformOperation::Patch,
            conversation: Some(patch.conversation),
            context: context.clone(),
            retries: true,
            again: patch.again,
            // The write has started, at least with its pre-read, and goes before new requests.
            class: PriorityClass::Committed,
            permit: PermitSlot::new(patch.permit),
            attempt: None,
        };
        let body = wire::patch_body(&patch.attributes, self.clearing);
        let answer = match self.send(Method::PATCH, uri, body, call).await {
            Ok(answer) => answer,
            Err(error) => {
                let (is_ambiguous, is_transient) =
                    (error.may_have_been_applied(), error.is_transient());
                let error = error.into_error(context.time_left().is_zero());
                return if is_ambiguous {
                    unknown(error, is_transient, None)
                } else {
                    PatchOutcome::Refused(error)
                };
            }
        };
        let status = answer.status();
        if status.is_success() {
            return accepted(&answer);
        }
        keep_correlation_id(&answer, context);
        let error =
            error::refusal(&answer, RefusalSubject::Patch(patch.participant, &patch.attributes));
        if error::status_is_ambiguous(status) {
            let wait = error::retry_after(answer.headers());
            return unknown(error, error::status_is_transient(status), wait);
        }
        PatchOutcome::Refused(error)
    }
}

fn unknown(error: Error, is_transient: bool, retry_after: Option<Duration>) -> PatchOutcome {
    PatchOutcome::Unknown(UnknownPatch { error, is_last_try: !is_transient, retry_after })
}

/// Takes the correlation id from the body of an error if the header is missing.
fn keep_correlation_id(answer: &Response<Bytes>, context: &RequestContext) {
    if context.correlation_id().is_none()
        && let Some(id) = wire::ErrorBody::parse(answer.body()).context_id
    {
        context.set_correlation_id(&id);
    }
}

/// Accepts a successful answer to a PATCH whatever its body: the platform documents none, or an echo.
/// HTML comes from another server, so it is an error.
fn accepted(answer: &Response<Bytes>) -> PatchOutcome {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_page = kind.is_some_and(|kind| kind.trim_start().starts_with("text/html"));
    if is_page && !answer.body().is_empty() {
        let error = Error::UpstreamInvalidResponse("an HTML page in answer to a PATCH".to_owned());
        return unknown(error, true, None);
    }
    PatchOutcome::Accepted
}

impl ConversationsPort for GenesysClient {
    fn reads_participants_singly(&self) -> bool {
        matches!(self.paths, RoutePaths::Custom { conversation: None, .. })
    }

    fn read<'a>(
        &'a self,
        read: UpstreamRead,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(self.get(read, context))
    }

    fn find<'a>(
        &'a self,
        find: UpstreamQuery<'a>,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(self.query(find, context))
    }

    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome> {
        Box::pin(self.send_patch(patch, context))
    }
}
