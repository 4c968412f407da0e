//! The upstream operations: each method builds a request, and reads the answer.
//!
//! A 2xx to a PATCH means "accepted", and not yet "visible": the platform answers 202 and applies the
//! change later (<https://help.mypurecloud.com>, FAQ on the Set Participant Data action). If a failed
//! PATCH may have been applied, the error says so. The use case decides what to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};

use super::error::{self, RefusalSubject, ResultTraits};
use super::layers::send::JSON;
use super::layers::{ApiRequest, ApiService, CallMetadata, PermitSlot};
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

/// The paths of reads and writes: templates with `{conversationId}` and `{participantId}`.
#[derive(Clone, Debug)]
pub struct RoutePaths {
    /// GET of the conversation. Without it, `participant` is read.
    pub conversation: Option<String>,
    pub participant: String,
    pub attributes: String,
}

pub struct GenesysClient {
    stack: ApiService,
    paths: RoutePaths,
    clears_with_null: bool,
}

impl RoutePaths {
    /// The paths of the platform below this prefix: that of any media, or only of voice. There is no
    /// `/conversations/voice/`: voice is `calls`.
    pub fn platform(prefix: &str) -> Self {
        let conversation = format!("{prefix}/{{conversationId}}");
        let participant = format!("{conversation}/participants/{{participantId}}");
        let attributes = format!("{participant}/attributes");
        Self { conversation: Some(conversation), participant, attributes }
    }
}

/// Whether this is an error in the form of the platform API, and not that of another server.
pub fn is_platform_error(answer: &Response<Bytes>) -> bool {
    let body = wire::ErrorBody::parse(answer.body());
    body.code.is_some() && body.message.is_some()
}

fn filled(template: &str, conversation: ConversationId, participant: ParticipantId) -> String {
    let path = template.replace("{conversationId}", &conversation.to_string());
    path.replace("{participantId}", &participant.to_string())
}

impl GenesysClient {
    /// A client whose writes clear keys with `""`, or with `null`.
    pub fn new(stack: ApiService, paths: RoutePaths, clears_with_null: bool) -> Arc<Self> {
        Arc::new(Self { stack, paths, clears_with_null })
    }

    /// The same client, which clears keys with `null` or with `""`.
    pub fn clearing_with_null(&self, clears_with_null: bool) -> Arc<Self> {
        Self::new(self.stack.clone(), self.paths.clone(), clears_with_null)
    }

    /// The path of a read.
    pub fn read_path(&self, conversation: ConversationId, participant: ParticipantId) -> String {
        let template = self.paths.conversation.as_ref().unwrap_or(&self.paths.participant);
        filled(template, conversation, participant)
    }

    /// The answer to a GET, if it is a success or a 404.
    ///
    /// # Errors
    /// As for a read of this conversation.
    pub async fn probe(
        &self,
        path: String,
        id: ConversationId,
        context: &RequestContext,
    ) -> Result<Response<Bytes>, Error> {
        let call = CallMetadata::new(PlatformOperation::Read, context.clone());
        let answer = self.stack.exchange(request(Method::GET, path, Vec::new(), call)).await;
        let answer = answer.map_err(|error| error.into_error(context.time_left().is_zero()))?;
        if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND {
            return Ok(answer);
        }
        Err(error::refusal(&answer, RefusalSubject::Read(id), context))
    }

    async fn send(
        &self,
        request: ApiRequest,
        subject: RefusalSubject<'_>,
    ) -> Result<Response<Bytes>, CallFailure> {
        let context = request.call.context.clone();
        let result = self.stack.exchange(request).await;
        let traits = ResultTraits::of(&result);
        let (error, retry_after) = match result {
            Ok(answer) if answer.status().is_success() => return Ok(answer),
            Ok(answer) => {
                (error::refusal(&answer, subject, &context), error::retry_after(answer.headers()))
            }
            Err(error) => (error.into_error(context.time_left().is_zero()), None),
        };
        Err(CallFailure { error, traits, retry_after })
    }
}

type ResponseParser = fn(ConversationId, &[u8]) -> Result<Conversation, &'static str>;

/// A call without a successful answer.
struct CallFailure {
    error: Error,
    traits: ResultTraits,
    /// How long upstream asks us to wait.
    retry_after: Option<Duration>,
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Self {
        failure.error
    }
}

fn request(method: Method, path: String, body: Vec<u8>, call: CallMetadata) -> ApiRequest {
    let (path, body) = (path.into(), Bytes::from(body));
    ApiRequest { method, path, content_type: JSON, authorization: None, body, call }
}

/// Accepts a successful answer to a PATCH whatever its body: the platform documents none, or an echo.
/// HTML comes from another server, so it is an error.
fn accepted(answer: &Response<Bytes>) -> PatchOutcome {
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_page = kind.is_some_and(|kind| kind.trim_start().starts_with("text/html"));
    if is_page && !answer.body().is_empty() {
        let error = Error::UpstreamInvalidResponse("an HTML page in answer to a PATCH".to_owned());
        return PatchOutcome::Unknown(UnknownPatch {
            error,
            is_last_try: false,
            retry_after: None,
        });
    }
    PatchOutcome::Accepted
}

/// What became of a PATCH without a successful answer.
fn unaccepted(failure: CallFailure) -> PatchOutcome {
    let CallFailure { error, traits, retry_after } = failure;
    if !traits.may_be_applied {
        return PatchOutcome::Refused(error);
    }
    PatchOutcome::Unknown(UnknownPatch { error, is_last_try: !traits.is_transient, retry_after })
}

impl ConversationsPort for GenesysClient {
    fn reads_participants_singly(&self) -> bool {
        self.paths.conversation.is_none()
    }

    fn read<'a>(
        &'a self,
        read: UpstreamRead,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<Conversation, Error>> {
        Box::pin(async move {
            let id = read.conversation;
            let (path, parse): (_, ResponseParser) = match (
                &self.paths.conversation,
                read.participant,
            ) {
                (Some(template), _) => {
                    (template.replace("{conversationId}", &id.to_string()), wire::conversation)
                }
                (None, Some(participant)) => {
                    (filled(&self.paths.participant, id, participant), wire::lone_participant)
                }
                (None, None) => {
                    return Err(Error::InvalidParticipant(
                        "this gateway reads single participants, so only a participant's UUID can \
                         be used",
                    ));
                }
            };
            let call = CallMetadata {
                conversation: Some(id),
                retries: read.retries,
                class: read.class,
                permit: PermitSlot::new(read.permit),
                ..CallMetadata::new(PlatformOperation::Read, context.clone())
            };
            let request = request(Method::GET, path, Vec::new(), call);
            let answer = self.send(request, RefusalSubject::Read(id)).await?;
            parse(id, answer.body()).map_err(|what| Error::UpstreamInvalidResponse(what.to_owned()))
        })
    }

    fn find<'a>(
        &'a self,
        find: UpstreamQuery<'a>,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, Result<ListPage, Error>> {
        Box::pin(async move {
            let call = CallMetadata::new(PlatformOperation::Analytics, context.clone());
            let body = wire::details_query(find.filter, find.page, clock::today());
            let request = request(Method::POST, DETAILS.to_owned(), body, call);
            let answer = self.send(request, RefusalSubject::Query(find.filter)).await?;
            wire::details(answer.body())
                .map_err(|what| Error::UpstreamInvalidResponse(what.to_owned()))
        })
    }

    fn patch<'a>(
        &'a self,
        patch: UpstreamPatch,
        context: &'a RequestContext,
    ) -> BoxFuture<'a, PatchOutcome> {
        Box::pin(async move {
            let target = filled(&self.paths.attributes, patch.conversation, patch.participant);
            let call = CallMetadata {
                conversation: Some(patch.conversation),
                again: patch.again,
                // The write has started, at least with its pre-read, and goes before new requests.
                class: PriorityClass::Committed,
                permit: PermitSlot::new(patch.permit),
                ..CallMetadata::new(PlatformOperation::Patch, context.clone())
            };
            let body = wire::patch_body(&patch.attributes, self.clears_with_null);
            let request = request(Method::PATCH, target, body, call);
            let subject = RefusalSubject::Patch(patch.participant, &patch.attributes);
            self.send(request, subject).await.map_or_else(unaccepted, |answer| accepted(&answer))
        })
    }
}
