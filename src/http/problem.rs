//! Problem details (RFC 9457), the form of every error response.
//! Only this file maps error codes to statuses. A handler returns a [`Problem`]; the middleware writes it,
//! since it knows the request id and the upstream calls.

mod body;

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, ETAG, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use body::ProblemMembers;
pub(super) use body::{ProblemBody, ProblemContext};

use super::responses::{ChosenParticipant, WriteResponse};
use super::violations::ViolationList;
use crate::domain::ParticipantId;
#[cfg(test)]
use crate::domain::Violation;
use crate::error::{Effect, Error, ErrorCode, RequestFailure};

pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// The authentication schemes (RFC 9110, section 11.6.1). Each gets its own header line, since not
/// every client parses a list.
const CHALLENGES: [&str; 2] =
    ["Bearer realm=\"attribute-gateway\"", "Basic realm=\"attribute-gateway\", charset=\"UTF-8\""];

/// A failed request, without what the middleware adds.
#[derive(Clone, Debug)]
pub(super) struct Problem(Box<ProblemInner>);

#[derive(Clone, Debug)]
struct ProblemInner {
    code: ErrorCode,
    detail: String,
    effect: Effect,
    retry_after: Option<Duration>,
    errors: ViolationList,
    /// Replaces the hint of the code where that does not fit.
    hint: Option<&'static str>,
    /// The participant that was found before the request failed.
    participant: Option<ChosenParticipant>,
    members: ProblemMembers,
    /// The current `ETag`; sent as a header only.
    current: Option<String>,
    /// Whether the same request can succeed when it is repeated.
    retryable: bool,
    /// Logged, never sent.
    cause: Option<String>,
}

impl Problem {
    pub(super) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Box::new(ProblemInner {
            code,
            detail: detail.into(),
            effect: Effect::NotApplied,
            retry_after: None,
            errors: ViolationList::default(),
            hint: None,
            retryable: code.retryable(),
            participant: None,
            members: ProblemMembers::default(),
            current: None,
            cause: None,
        }))
    }

    /// A problem with a list of violations. The detail names the first one.
    pub(super) fn listing(code: ErrorCode, errors: impl Into<ViolationList>) -> Self {
        let errors = errors.into();
        let detail = match (errors.reported(), errors.omitted()) {
            ([], _) => code.title().to_owned(),
            ([only], _) => format!("{}: {}", only.pointer, only.detail),
            ([first, others @ ..], omitted) => {
                let more = others.len() + omitted;
                format!("{}: {} (and {more} more)", first.pointer, first.detail)
            }
        };
        let mut problem = Self::new(code, detail);
        problem.0.hint = errors.hint();
        problem.0.errors = errors;
        problem
    }

    pub(super) fn with_hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    pub(super) fn about_participant(mut self, participant: Option<ChosenParticipant>) -> Self {
        self.0.participant = participant;
        self
    }

    pub(super) fn participant_id(&self) -> Option<ParticipantId> {
        self.0.participant.as_ref().map(ChosenParticipant::id)
    }

    pub(super) fn hint(&self) -> &'static str {
        self.0.hint.unwrap_or_else(|| self.0.code.hint())
    }

    /// A defect of the gateway. `cause` is logged and never sent.
    pub(super) fn internal(cause: impl Into<String>) -> Self {
        Error::Internal(cause.into()).into()
    }

    pub(super) fn with_effect(mut self, effect: Effect) -> Self {
        self.0.effect = effect;
        self
    }

    pub(super) fn code(&self) -> ErrorCode {
        self.0.code
    }

    pub(super) fn effect(&self) -> Effect {
        self.0.effect
    }

    #[cfg(test)]
    pub(super) fn errors(&self) -> &[Violation] {
        self.0.errors.reported()
    }

    /// What went wrong this time; never an attribute value.
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(super) fn report(&self) -> Option<&WriteResponse> {
        self.0.members.report.as_deref()
    }

    pub(super) fn status(&self) -> StatusCode {
        status(self.0.code)
    }

    /// Writes this problem as the response, and logs the internal cause.
    pub(super) fn write(&self, about: &ProblemContext<'_>, parts: &mut Parts) -> Body {
        if let Some(cause) = &self.0.cause {
            tracing::error!(request.id = about.request_id, cause, "internal error");
        }
        parts.status = self.status();
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        self.add_headers(&mut parts.headers);
        // Serialisation cannot fail: the body holds only strings, numbers and maps with string keys.
        serde_json::to_vec(&ProblemBody::new(self, about)).unwrap_or_default().into()
    }

    /// Adds the headers of this problem. They do not depend on the form of the body.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.0.code == ErrorCode::Unauthenticated {
            for challenge in CHALLENGES {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        if let Some(tag) = self.0.current.as_deref().and_then(|tag| HeaderValue::from_str(tag).ok())
        {
            headers.insert(ETAG, tag);
        }
        if matches!(self.0.code, ErrorCode::RequestTimeout | ErrorCode::BodyTooLarge) {
            // The rest of the body is still arriving, so the connection cannot be reused.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Whole seconds, rounded up, so that no client retries too early.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.0.retry_after?;
        let partial = u64::from(wait.subsec_nanos() > 0);
        Some((wait.as_secs() + partial).max(1))
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each status")]
pub(super) const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidConversationId
        | ErrorCode::InvalidParticipant
        | ErrorCode::InvalidJson
        | ErrorCode::InvalidQuery
        | ErrorCode::InvalidHeader => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::AttributeNotAllowed
        | ErrorCode::ParticipantNotAllowed
        | ErrorCode::ReadOnlyClient
        | ErrorCode::OperateNotAllowed => StatusCode::FORBIDDEN,
        ErrorCode::NotFound
        | ErrorCode::ConversationNotFound
        | ErrorCode::ParticipantNotFound
        | ErrorCode::AttributeNotFound
        | ErrorCode::OperationNotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::AmbiguousParticipant
        | ErrorCode::ConversationEnded
        | ErrorCode::WriteSuperseded
        | ErrorCode::OperationInProgress
        | ErrorCode::UpstreamConflict => StatusCode::CONFLICT,
        ErrorCode::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        ErrorCode::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        ErrorCode::ClientRateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::InvalidAttributes
        | ErrorCode::AttributesTooLarge
        | ErrorCode::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::UpstreamRejected
        | ErrorCode::UpstreamForbidden
        | ErrorCode::UpstreamAuthFailed
        | ErrorCode::UpstreamInvalidResponse => StatusCode::BAD_GATEWAY,
        ErrorCode::UpstreamRateLimited
        | ErrorCode::UpstreamUnavailable
        | ErrorCode::Overloaded
        | ErrorCode::AuditUnavailable
        | ErrorCode::StoreUnavailable
        | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// A failure that changed nothing.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        RequestFailure::harmless(error).into()
    }
}

impl From<RequestFailure> for Problem {
    fn from(RequestFailure { error, effect }: RequestFailure) -> Self {
        let mut problem = Self::new(error.code(), error.to_string());
        problem.0.effect = effect;
        problem.0.retry_after = error.retry_after();
        problem.0.hint = error.hint();
        // The conversation does not become smaller by itself.
        problem.0.retryable &= !matches!(error, Error::UpstreamAnswerTooLarge { .. });
        match error {
            Error::Internal(cause) => problem.0.cause = Some(cause),
            Error::PreconditionFailed { current } => problem.0.current = Some(current),
            error => problem.0.members = error.into(),
        }
        problem
    }
}

/// Attaches the problem to the response. The middleware writes the body.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests;

/// What logs, metrics and the audit record of a response, as its extension. A response without it is
/// recorded with its own status, and with the effect `notApplied`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoggedResult {
    /// The status; the flat form may have sent 200 instead.
    pub status: StatusCode,
    pub effect: Effect,
    pub code: Option<ErrorCode>,
}
