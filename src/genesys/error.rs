//! Failures of upstream calls, and what they mean for retries and for the client.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::time::Instant;

pub use super::retry_after::retry_after;
use super::wire::{ErrorBody, without_values};
use crate::domain::{
    AttributeMap, ConversationFilter, ConversationId, ParticipantId, PhoneNumber, SizeExcess,
};
use crate::error::Error;
use crate::policy::{CallRefusal, CallResult, MAX_THROTTLE_WAIT, PROBE_INTERVAL};
use crate::ports::{AttemptOutcome, RequestContext};

/// The result of one HTTP exchange.
pub type ExchangeResult = Result<Response<Bytes>, UpstreamError>;

/// Why an exchange brought no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("no connection: {0}")]
    Connect(String),
    /// `full`: the attempt had nearly its whole timeout. Otherwise the deadline ended it early, which
    /// says nothing about upstream.
    #[error("no answer in time")]
    Timeout { full: bool },
    #[error("the connection broke: {0}")]
    Reset(String),
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// An answer that its server cannot have meant, with what is wrong with it.
    #[error("{0}")]
    UnusableAnswer(String),
    /// Not sent. The next probe comes after `retry_after`.
    #[error("too many calls failed lately, so the gateway makes no calls for the moment")]
    InTrouble { retry_after: Duration },
    #[error("no token")]
    NoToken(RefreshFailure),
    /// Not sent again: the retry budget is spent.
    #[error("too many calls failed lately, this one is not repeated")]
    NoBudget,
    #[error("the deadline passed before the call was sent")]
    NotSentInTime,
    /// Not sent: upstream throttles, or the call budget is spent.
    #[error("{reason}")]
    RateLimited { reason: &'static str, retry_after: Duration },
}

#[derive(Clone, Debug)]
pub struct RefreshFailure {
    pub failure: TokenFailure,
    pub next_try: Instant,
}

/// Why there is no token. The reasons hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFailure {
    #[error("refused: {0}")]
    Refused(String),
    #[error("the token endpoint throttles")]
    Throttled,
    #[error("the token endpoint fails: {0}")]
    Unavailable(String),
    #[error("no token: {0}")]
    Invalid(String),
}

/// What the result of an exchange means.
pub struct ResultTraits {
    pub outcome: AttemptOutcome,
    /// Whether a PATCH may have been applied.
    pub may_be_applied: bool,
    pub is_transient: bool,
    /// What the adaptive throttle counts. A call that was not sent, or ended early, says nothing about
    /// upstream.
    pub counts_as: CallResult,
}

/// `Retry-After` for clients if upstream sent none.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The wait after a 429 without `Retry-After`. The official SDKs wait three seconds.
pub const DEFAULT_THROTTLE: Duration = Duration::from_secs(3);
/// The reason of an error after a 429.
const THROTTLED: &str = "Genesys Cloud throttles this OAuth client";
/// The same for the details query, which has its own limit.
pub const QUERY_THROTTLED: &str = "Genesys Cloud throttles the analytics query";
/// The permission of the details query, as the vendor's SDKs name it.
const LISTING_PERMISSION: &str = "analytics:conversationDetail:view";
/// The reason of an error if the call budget is spent.
const BUDGET_SPENT: &str =
    "the budget of calls to Genesys Cloud (genesys.requests_per_minute) is used up";

impl ResultTraits {
    pub fn of(result: &ExchangeResult) -> Self {
        use CallResult::{Accepted, Failed, Unknown};
        let (outcome, may_be_applied, is_transient, counts_as) = match result {
            Ok(answer) => {
                let status = answer.status();
                let applied = status.is_success() || is_ambiguous(status);
                let counts_as = if status.is_server_error() { Failed } else { Accepted };
                let outcome = AttemptOutcome::Status(status.as_u16());
                (outcome, applied, is_transient(status), counts_as)
            }
            Err(error) => match error {
                UpstreamError::Connect(_) => (AttemptOutcome::Connect, false, true, Failed),
                UpstreamError::Timeout { full: true } => {
                    (AttemptOutcome::Timeout, true, true, Failed)
                }
                UpstreamError::Timeout { full: false } => {
                    (AttemptOutcome::Timeout, true, true, Unknown)
                }
                UpstreamError::Reset(_) => (AttemptOutcome::Reset, true, true, Failed),
                UpstreamError::TooLarge { .. } => (AttemptOutcome::Invalid, true, false, Accepted),
                UpstreamError::UnusableAnswer(_) => (AttemptOutcome::Invalid, false, false, Failed),
                UpstreamError::InTrouble { .. }
                | UpstreamError::NoToken(_)
                | UpstreamError::NoBudget
                | UpstreamError::NotSentInTime
                | UpstreamError::RateLimited { .. } => {
                    (AttemptOutcome::NotSent, false, false, Unknown)
                }
            },
        };
        Self { outcome, may_be_applied, is_transient, counts_as }
    }
}

impl UpstreamError {
    /// The error for the client. `deadline_passed` distinguishes a short deadline from a slow
    /// upstream.
    pub fn into_error(self, deadline_passed: bool) -> Error {
        let unavailable = |reason, retry_after| Error::UpstreamUnavailable { reason, retry_after };
        match self {
            Self::NotSentInTime => Error::DeadlineExceeded("waiting to be sent"),
            Self::Timeout { .. } if deadline_passed => {
                Error::DeadlineExceeded("waiting for Genesys Cloud")
            }
            Self::Connect(_) | Self::Timeout { .. } | Self::Reset(_) | Self::NoBudget => {
                unavailable(self.to_string(), DEFAULT_RETRY_AFTER)
            }
            Self::UnusableAnswer(what) => Error::UpstreamInvalidResponse(what),
            Self::TooLarge { limit } => Error::UpstreamAnswerTooLarge { limit },
            Self::InTrouble { retry_after } => unavailable(self.to_string(), retry_after),
            Self::RateLimited { reason, retry_after } => {
                Error::UpstreamRateLimited { reason, retry_after }
            }
            Self::NoToken(RefreshFailure { failure, next_try }) => {
                let retry_after = next_try.saturating_duration_since(Instant::now());
                match failure {
                    TokenFailure::Refused(reason) => Error::UpstreamAuthFailed(reason),
                    TokenFailure::Throttled => Error::UpstreamRateLimited {
                        reason: "the token endpoint of Genesys Cloud throttles",
                        retry_after,
                    },
                    TokenFailure::Unavailable(reason) => {
                        unavailable(format!("token endpoint: {reason}"), retry_after)
                    }
                    TokenFailure::Invalid(reason) => {
                        Error::UpstreamInvalidResponse(format!("token endpoint: {reason}"))
                    }
                }
            }
        }
    }
}

impl From<CallRefusal> for UpstreamError {
    fn from(refusal: CallRefusal) -> Self {
        let reason = if refusal.throttled { THROTTLED } else { BUDGET_SPENT };
        Self::RateLimited { reason, retry_after: refusal.retry_after }
    }
}

/// Whether a PATCH with this status may have been applied: 408, and every 5xx except 501. An edge
/// server may answer 503 although the call went through. Proxies use statuses such as 520 and 599.
fn is_ambiguous(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Whether another attempt may succeed: the statuses that the official SDKs retry, and 408.
fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// The operation that upstream refused, with what we sent.
#[derive(Clone, Copy)]
pub enum RefusalSubject<'a> {
    Read(ConversationId),
    Patch(ParticipantId, &'a AttributeMap),
    Query(&'a ConversationFilter),
}

impl RefusalSubject<'_> {
    /// The texts that we sent, which may be personal data.
    fn sent(self) -> Vec<String> {
        match self {
            Self::Read(_) => Vec::new(),
            Self::Patch(_, sent) => {
                sent.iter().map(|(_, value)| value.expose().to_owned()).collect()
            }
            Self::Query(filter) => {
                let numbers = filter.ani.iter().chain(&filter.dnis);
                numbers.flat_map(PhoneNumber::spellings).collect()
            }
        }
    }
}

/// Turns an unsuccessful answer of the API into an error. Takes the correlation id from its body if
/// the header is missing.
pub fn refusal(
    response: &Response<Bytes>,
    refused: RefusalSubject<'_>,
    context: &RequestContext,
) -> Error {
    let status = response.status();
    let ErrorBody { code, message, context_id } = ErrorBody::parse(response.body());
    if let Some(id) = context_id.filter(|_| context.correlation_id().is_none()) {
        context.set_correlation_id(&id);
    }
    // Check the message before redaction.
    let said_too_large =
        message.as_deref().is_some_and(mentions_size) || status == StatusCode::PAYLOAD_TOO_LARGE;
    let sent = refused.sent();
    let redacted = |text: Option<String>| text.and_then(|text| without_values(&text, &sent));
    let (code, message) = (redacted(code), redacted(message));
    match (status.as_u16(), refused) {
        (400 | 413, RefusalSubject::Patch(..)) if said_too_large => too_large(),
        (408 | 429 | 500..=599, _) => busy(response, refused),
        (401, _) => Error::UpstreamAuthFailed(format!(
            "the API answered 401{}, and renewing the token did not help",
            code.map(|code| format!(" `{code}`")).unwrap_or_default()
        )),
        (403, _) => {
            let known = matches!(refused, RefusalSubject::Query(_)).then_some(LISTING_PERMISSION);
            let named = message.as_deref().and_then(permission_in).or(known);
            Error::UpstreamForbidden { permission: named.map(str::to_owned), message }
        }
        (404, RefusalSubject::Read(id)) => Error::ConversationNotFound(id),
        // A read has just shown the conversation with this participant.
        (404, RefusalSubject::Patch(participant, _)) => {
            Error::ParticipantLeft { participant, code, message }
        }
        (409, RefusalSubject::Patch(..)) => Error::UpstreamConflict,
        (300..=399, _) => {
            Error::UpstreamInvalidResponse(format!("a redirect ({})", status.as_u16()))
        }
        (status, _) => Error::UpstreamRejected { status, code, message },
    }
}

/// The error after a status that another attempt may change.
fn busy(response: &Response<Bytes>, refused: RefusalSubject<'_>) -> Error {
    let (status, headers) = (response.status(), response.headers());
    if status != StatusCode::TOO_MANY_REQUESTS {
        return Error::UpstreamUnavailable {
            reason: format!("it answered {}", status.as_u16()),
            retry_after: retry_after(headers).unwrap_or(DEFAULT_RETRY_AFTER),
        };
    }
    let wait = retry_after(headers).unwrap_or(DEFAULT_THROTTLE);
    let is_query = matches!(refused, RefusalSubject::Query(_));
    Error::UpstreamRateLimited {
        reason: if is_query { QUERY_THROTTLED } else { THROTTLED },
        // A wait of hours is replaced by the time of the next probe.
        retry_after: if wait > MAX_THROTTLE_WAIT { PROBE_INTERVAL } else { wait },
    }
}

/// The permission in "… at least one of the following permissions assigned: `[a:b:view]`".
fn permission_in(message: &str) -> Option<&str> {
    let (_, rest) = message.rsplit_once('[')?;
    let (permission, _) = rest.split_once(']')?;
    permission.contains(':').then_some(permission)
}

fn mentions_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("size exceeds limit") || message.contains("exceeds the size limit")
}

/// Only the use case knows the merged map. It fills in the sizes.
fn too_large() -> Error {
    Error::AttributesTooLarge(SizeExcess {
        bytes: 0,
        limit_bytes: 0,
        entries: Vec::new(),
        is_partial: false,
        said_upstream: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Error {
        let response = Response::builder()
            .status(status)
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .expect("valid");
        let id = "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid");
        let attributes = AttributeMap::default();
        let subject = RefusalSubject::Patch(id, &attributes);
        refusal(&response, subject, &RequestContext::new(Instant::now()))
    }

    #[test]
    fn the_missing_permission_is_named() {
        let body = r#"{"code":"missing.any.permissions","message":"Unable to perform the requested action. You must have at least one of the following permissions assigned: [conversation:communication:view]"}"#;
        let text = answer(403, body).to_string();
        assert!(text.contains("`conversation:communication:view`"), "{text}");
        assert!(!answer(403, "<html>").to_string().contains("permission `"));
    }

    #[test]
    fn upstreams_size_error_becomes_ours() {
        let body =
            r#"{"code":"bad.request","message":"Participant attributes size exceeds limit"}"#;
        assert!(matches!(answer(400, body), Error::AttributesTooLarge(_)));
        assert!(matches!(answer(413, ""), Error::AttributesTooLarge(_)));
        assert!(matches!(answer(400, "{}"), Error::UpstreamRejected { status: 400, .. }));
    }

    #[test]
    fn a_429_with_a_long_wait_sends_clients_back_at_the_next_probe() {
        for (asked, expected) in [("17", 17), ("180", 180), ("3600", 60), ("99999999999", 60)] {
            let response = Response::builder().status(429).header("retry-after", asked);
            let id = "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid");
            let response = response.body(Bytes::new()).expect("valid");
            let context = RequestContext::new(Instant::now());
            let error = refusal(&response, RefusalSubject::Read(id), &context);
            let Error::UpstreamRateLimited { retry_after, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(retry_after.as_secs(), expected);
        }
    }

    #[test]
    fn a_deadline_that_cuts_an_attempt_is_no_upstream_failure() {
        let error = UpstreamError::Timeout { full: false };
        let counts_as = ResultTraits::of(&Err(error.clone())).counts_as;
        assert_eq!(counts_as, CallResult::Unknown);
        let error = error.into_error(true);
        assert!(matches!(error, Error::DeadlineExceeded(_)));
    }
}
