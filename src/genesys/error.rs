//! Failures of upstream calls, and what they mean for retries and for the client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};

pub use super::retry_after::retry_after;
use super::wire::{self, ErrorBody};
use crate::domain::{
    AttributeMap, ConversationFilter, ConversationId, ParticipantId, PhoneNumber, SizeExcess,
};
use crate::error::Error;
use crate::policy::{CallRefusal, MAX_THROTTLE_WAIT, PROBE_INTERVAL};
use crate::ports::AttemptOutcome;

/// Why an exchange brought no usable answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// No answer within the timeout of the attempt, or before the deadline.
    #[error("no answer in time")]
    Timeout {
        /// Whether the attempt had nearly its whole timeout. Otherwise the deadline ended it early,
        /// which says nothing about upstream.
        full: bool,
    },
    /// The connection broke after the request was sent.
    #[error("the connection broke: {0}")]
    Reset(String),
    /// The answer is larger than the limit.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is malformed.
    #[error("{0}")]
    Invalid(&'static str),
    /// Not sent: upstream fails.
    #[error("too many calls failed lately, so the gateway makes no calls for the moment")]
    InTrouble {
        /// Time until the next probe.
        retry_after: Duration,
    },
    /// Not sent: there is no token.
    #[error("no token")]
    NoToken(TokenFailure),
    /// Not sent again: the retry budget is spent.
    #[error("too many calls failed lately, this one is not repeated")]
    NoBudget,
    /// Not sent: the deadline passed before.
    #[error("the deadline passed before the call was sent")]
    NotSentInTime,
    /// Not sent: upstream throttles, or the call budget is spent.
    #[error("{reason}")]
    RateLimited {
        /// Which of the two.
        reason: &'static str,
        /// Time until calls are possible again.
        retry_after: Duration,
    },
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFailure {
    /// The token endpoint refuses the credentials. The reason holds no secret.
    Refused(String),
    /// The token endpoint throttles.
    Throttled {
        /// Time until the next try.
        retry_after: Duration,
    },
    /// The token endpoint fails, or cannot be reached.
    Unavailable {
        /// What happened.
        reason: String,
        /// Time until the next try.
        retry_after: Duration,
    },
    /// The answer of the token endpoint holds no token.
    Invalid(String),
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

/// The innermost cause of an error. The outer ones add little to it.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl UpstreamError {
    pub(super) fn from_client(error: &reqwest::Error) -> Self {
        let reason = innermost(error);
        if error.is_connect() { Self::Connect(reason) } else { Self::Reset(reason) }
    }

    /// How the attempt ended, for metrics and logs.
    pub fn answer(&self) -> AttemptOutcome {
        match self {
            Self::Connect(_) => AttemptOutcome::Connect,
            Self::Timeout { .. } => AttemptOutcome::Timeout,
            Self::Reset(_) => AttemptOutcome::Reset,
            Self::TooLarge { .. } | Self::Invalid(_) => AttemptOutcome::Invalid,
            Self::InTrouble { .. }
            | Self::NoToken(_)
            | Self::NoBudget
            | Self::NotSentInTime
            | Self::RateLimited { .. } => AttemptOutcome::NotSent,
        }
    }

    /// Whether a PATCH with this error may have been applied.
    pub fn may_have_been_applied(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Reset(_) | Self::TooLarge { .. } | Self::Invalid(_) => {
                true
            }
            Self::Connect(_)
            | Self::InTrouble { .. }
            | Self::NoToken(_)
            | Self::NoBudget
            | Self::NotSentInTime
            | Self::RateLimited { .. } => false,
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout { .. } | Self::Reset(_) => true,
            Self::TooLarge { .. }
            | Self::Invalid(_)
            | Self::InTrouble { .. }
            | Self::NoToken(_)
            | Self::NoBudget
            | Self::NotSentInTime
            | Self::RateLimited { .. } => false,
        }
    }

    /// Whether the adaptive throttle counts this as a failure of upstream. `None` if the error says
    /// nothing about upstream: the call was not sent, or ended early.
    pub fn is_upstream_failure(&self) -> Option<bool> {
        match self {
            Self::Connect(_) | Self::Timeout { full: true } | Self::Reset(_) => Some(true),
            Self::TooLarge { .. } | Self::Invalid(_) => Some(false),
            Self::Timeout { full: false }
            | Self::InTrouble { .. }
            | Self::NoToken(_)
            | Self::NoBudget
            | Self::NotSentInTime
            | Self::RateLimited { .. } => None,
        }
    }

    /// The error for the client. `deadline_passed` distinguishes a short deadline from a slow
    /// upstream.
    pub fn into_error(self, deadline_passed: bool) -> Error {
        match self {
            Self::NotSentInTime => Error::DeadlineExceeded("waiting to be sent"),
            Self::Timeout { .. } if deadline_passed => {
                Error::DeadlineExceeded("waiting for Genesys Cloud")
            }
            Self::Connect(_) | Self::Timeout { .. } | Self::Reset(_) | Self::NoBudget => {
                Error::UpstreamUnavailable {
                    reason: self.to_string(),
                    retry_after: DEFAULT_RETRY_AFTER,
                }
            }
            Self::TooLarge { limit } => Error::UpstreamAnswerTooLarge { limit },
            Self::Invalid(_) => Error::UpstreamInvalidResponse(self.to_string()),
            Self::InTrouble { retry_after } => {
                Error::UpstreamUnavailable { reason: self.to_string(), retry_after }
            }
            Self::RateLimited { reason, retry_after } => {
                Error::UpstreamRateLimited { reason, retry_after }
            }
            Self::NoToken(failure) => failure.into_error(),
        }
    }
}

impl From<CallRefusal> for UpstreamError {
    fn from(refusal: CallRefusal) -> Self {
        let reason = if refusal.throttled { THROTTLED } else { BUDGET_SPENT };
        Self::RateLimited { reason, retry_after: refusal.retry_after }
    }
}

impl TokenFailure {
    fn into_error(self) -> Error {
        match self {
            Self::Refused(reason) => Error::UpstreamAuthFailed(reason),
            Self::Throttled { retry_after } => Error::UpstreamRateLimited {
                reason: "the token endpoint of Genesys Cloud throttles",
                retry_after,
            },
            Self::Unavailable { reason, retry_after } => Error::UpstreamUnavailable {
                reason: format!("token endpoint: {reason}"),
                retry_after,
            },
            Self::Invalid(reason) => {
                Error::UpstreamInvalidResponse(format!("token endpoint: {reason}"))
            }
        }
    }
}

/// Whether a PATCH with this status may have been applied: 408, and every 5xx except 501. An edge
/// server may answer 503 although the call went through. Proxies use statuses such as 520 and 599.
pub fn status_is_ambiguous(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Whether another attempt may succeed: the statuses that the official SDKs retry, and 408.
pub fn status_is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// `Retry-After` for clients after a 429. A wait of hours is replaced by the time of the next probe.
fn throttle_wait(headers: &HeaderMap) -> Duration {
    let wait = retry_after(headers).unwrap_or(DEFAULT_THROTTLE);
    if wait > MAX_THROTTLE_WAIT { PROBE_INTERVAL } else { wait }
}

/// The operation that upstream refused.
#[derive(Clone, Copy, Debug)]
pub enum RefusalSubject<'a> {
    /// The GET of a conversation.
    Read(ConversationId),
    /// A PATCH of this participant with these attributes.
    Patch(ParticipantId, &'a AttributeMap),
    /// The details query with this filter.
    Query(&'a ConversationFilter),
}

impl RefusalSubject<'_> {
    /// The error body without the values that we sent, which may be personal data.
    fn redact(self, body: ErrorBody) -> ErrorBody {
        let spellings: Vec<String> = match self {
            Self::Query(filter) => {
                let numbers = filter.ani.iter().chain(&filter.dnis);
                numbers.flat_map(PhoneNumber::spellings).collect()
            }
            Self::Read(_) | Self::Patch(..) => Vec::new(),
        };
        let sent: Vec<&str> = match self {
            Self::Patch(_, sent) => sent.iter().map(|(_, value)| value.expose()).collect(),
            Self::Read(_) | Self::Query(_) => spellings.iter().map(String::as_str).collect(),
        };
        ErrorBody {
            code: body.code.filter(|code| !wire::repeats_a_value(code, &sent)),
            message: body.message.map(|message| wire::without_values(&message, &sent)),
            ..body
        }
    }

    /// The permission that the operation needs, if it is known.
    fn permission(self) -> Option<String> {
        match self {
            Self::Query(_) => Some(LISTING_PERMISSION.to_owned()),
            Self::Read(_) | Self::Patch(..) => None,
        }
    }
}

/// Turns an unsuccessful answer of the API into an error.
pub fn refusal(response: &Response<Bytes>, refused: RefusalSubject<'_>) -> Error {
    let status = response.status();
    let body = ErrorBody::parse(response.body());
    // Check the message before redaction.
    let said_too_large = body.message.as_deref().is_some_and(mentions_size)
        || status == StatusCode::PAYLOAD_TOO_LARGE;
    let ErrorBody { code, message, .. } = refused.redact(body);
    match (status.as_u16(), refused) {
        (401, _) => Error::UpstreamAuthFailed(format!(
            "the API answered 401{}, and renewing the token did not help",
            code.map(|code| format!(" `{code}`")).unwrap_or_default()
        )),
        (403, _) => {
            let named = message.as_deref().and_then(permission_in);
            Error::UpstreamForbidden { permission: named.or_else(|| refused.permission()), message }
        }
        (404, RefusalSubject::Read(id)) => Error::ConversationNotFound(id),
        // A read has just shown the conversation with this participant.
        (404, RefusalSubject::Patch(participant, _)) => {
            Error::ParticipantLeft { participant, code, message }
        }
        (409, RefusalSubject::Patch(..)) => Error::UpstreamConflict,
        (400 | 413, RefusalSubject::Patch(..)) if said_too_large => too_large(),
        (429, _) => Error::UpstreamRateLimited {
            reason: if matches!(refused, RefusalSubject::Query(_)) {
                QUERY_THROTTLED
            } else {
                THROTTLED
            },
            retry_after: throttle_wait(response.headers()),
        },
        (408 | 500..=599, _) => Error::UpstreamUnavailable {
            reason: format!("it answered {}", status.as_u16()),
            retry_after: retry_after(response.headers()).unwrap_or(DEFAULT_RETRY_AFTER),
        },
        (300..=399, _) => {
            Error::UpstreamInvalidResponse(format!("a redirect ({})", status.as_u16()))
        }
        (status, _) => Error::UpstreamRejected { status, code, message },
    }
}

/// The permission in "… at least one of the following permissions assigned: `[a:b:view]`".
fn permission_in(message: &str) -> Option<String> {
    let (_, rest) = message.rsplit_once('[')?;
    let (permission, _) = rest.split_once(']')?;
    permission.contains(':').then(|| permission.to_owned())
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
        refusal(&response, RefusalSubject::Patch(id, &AttributeMap::default()))
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
            let error =
                refusal(&response.body(Bytes::new()).expect("valid"), RefusalSubject::Read(id));
            let Error::UpstreamRateLimited { retry_after, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(retry_after.as_secs(), expected);
        }
    }

    #[test]
    fn a_deadline_that_cuts_an_attempt_is_no_upstream_failure() {
        assert_eq!(UpstreamError::Timeout { full: false }.is_upstream_failure(), None);
        let error = UpstreamError::Timeout { full: false }.into_error(true);
        assert!(matches!(error, Error::DeadlineExceeded(_)));
    }
}
