//! What can go wrong between us and upstream, and what it means for a retry and for the client.

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

/// An exchange that brought no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection: nothing was sent.
    #[error("no connection: {0}")]
    Connect(String),
    /// No answer within the time of an attempt. `full` unless the deadline cut it short, which
    /// says nothing about upstream.
    #[error("no answer in time")]
    Timeout {
        /// Whether it had the time of an attempt, or nearly so.
        full: bool,
    },
    /// The connection broke after the request had left.
    #[error("the connection broke: {0}")]
    Reset(String),
    /// The answer is over the limit.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not what it should be.
    #[error("{0}")]
    Invalid(&'static str),
    /// Not sent: upstream is in trouble.
    #[error("too many calls failed lately, none are made for the moment")]
    InTrouble {
        /// Until the next probing call.
        retry_after: Duration,
    },
    /// Not sent: there is no token.
    #[error("no token")]
    NoToken(TokenFailure),
    /// Not sent again: the retry budget is spent.
    #[error("too many calls failed lately, this one is not repeated")]
    NoBudget,
    /// Not sent: the deadline came first.
    #[error("the deadline came before it was sent")]
    NotSentInTime,
    /// Not sent: upstream throttles, or the budget of calls is used up.
    #[error("{reason}")]
    RateLimited {
        /// Which of the two.
        reason: &'static str,
        /// Until there are calls again.
        retry_after: Duration,
    },
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFailure {
    /// The credentials are refused. The reason holds no secret.
    Refused(String),
    /// The token endpoint throttles.
    Throttled {
        /// When it is tried next.
        retry_after: Duration,
    },
    /// The token endpoint cannot be reached, or fails.
    Unavailable {
        /// What was seen.
        reason: String,
        /// When it is tried next.
        retry_after: Duration,
    },
    /// The token endpoint answers something that is no token.
    Invalid(String),
}

/// When a client should come back if upstream did not say.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The same for a 429 without `Retry-After`; the official SDKs wait three seconds.
pub const DEFAULT_THROTTLE: Duration = Duration::from_secs(3);
/// Why nothing is sent after a 429.
const THROTTLED: &str = "Genesys Cloud throttles this OAuth client";
/// The same for the details query alone, which has a limit of its own.
pub const QUERY_THROTTLED: &str = "Genesys Cloud throttles the analytics query";
/// What the details query takes; the vendor's SDKs name it.
const LISTING_PERMISSION: &str = "analytics:conversationDetail:view";
/// Why nothing is sent although upstream would still take it.
const USED_UP: &str =
    "the budget of calls to Genesys Cloud (genesys.requests_per_minute) is used up";

/// What is at the bottom of an error: the layers above it say little more than that there was one.
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

    /// The metric label.
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

    /// Whether a PATCH that ended like this may have been applied.
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

    /// Whether another attempt may fare better.
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

    /// Whether it counts against upstream in its adaptive throttle; `None` if it says nothing of
    /// upstream, because it never got there or was cut short.
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

    /// What the client is told. `deadline_passed` tells a slow upstream from an impatient client.
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
        let reason = if refusal.throttled { THROTTLED } else { USED_UP };
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

/// Whether a PATCH answered with this status may have been applied: 408 and every 5xx but 501.
/// An edge may answer 503 for a call that went through; proxies have numbers such as 520 and 599.
pub fn status_is_ambiguous(status: StatusCode) -> bool {
    status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// Whether another attempt may fare better: what the official SDKs retry, and 408.
pub fn status_is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

/// How long a client is asked to wait after a 429: never hours, but until the next probe.
fn throttle_wait(headers: &HeaderMap) -> Duration {
    let wait = retry_after(headers).unwrap_or(DEFAULT_THROTTLE);
    if wait > MAX_THROTTLE_WAIT { PROBE_INTERVAL } else { wait }
}

/// What was refused.
#[derive(Clone, Copy, Debug)]
pub enum RefusalSubject<'a> {
    /// The GET of a conversation.
    Read(ConversationId),
    /// A PATCH of this participant with these entries.
    Patch(ParticipantId, &'a AttributeMap),
    /// The details query for these.
    Query(&'a ConversationFilter),
}

impl RefusalSubject<'_> {
    /// What upstream said, without what we sent, which may be personal.
    fn discreet(self, body: ErrorBody) -> ErrorBody {
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

    /// The permission that it takes, where upstream names none.
    fn permission(self) -> Option<String> {
        match self {
            Self::Query(_) => Some(LISTING_PERMISSION.to_owned()),
            Self::Read(_) | Self::Patch(..) => None,
        }
    }
}

/// What a refusal of the API means.
pub fn refusal(response: &Response<Bytes>, refused: RefusalSubject<'_>) -> Error {
    let status = response.status();
    let body = ErrorBody::parse(response.body());
    // Judged before anything is left out of it.
    let said_too_large = body.message.as_deref().is_some_and(speaks_of_size)
        || status == StatusCode::PAYLOAD_TOO_LARGE;
    let ErrorBody { code, message, .. } = refused.discreet(body);
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
        // A read has shown the conversation and this participant a moment before.
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

fn speaks_of_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("size exceeds limit") || message.contains("exceeds the size limit")
}

/// Only the use case knows the merged map; it fills in the numbers.
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
    fn upstreams_size_error_is_ours() {
        let body =
            r#"{"code":"bad.request","message":"Participant attributes size exceeds limit"}"#;
        assert!(matches!(answer(400, body), Error::AttributesTooLarge(_)));
        assert!(matches!(answer(413, ""), Error::AttributesTooLarge(_)));
        assert!(matches!(answer(400, "{}"), Error::UpstreamRejected { status: 400, .. }));
    }

    #[test]
    fn a_429_with_a_long_wait_sends_clients_back_at_the_next_probe() {
        for (asked, told) in [("17", 17), ("180", 180), ("3600", 60), ("99999999999", 60)] {
            let response = Response::builder().status(429).header("retry-after", asked);
            let id = "8e0f1a2b-0000-4000-8000-000000000000".parse().expect("valid");
            let error =
                refusal(&response.body(Bytes::new()).expect("valid"), RefusalSubject::Read(id));
            let Error::UpstreamRateLimited { retry_after, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(retry_after.as_secs(), told);
        }
    }

    #[test]
    fn a_deadline_that_cuts_an_attempt_is_no_upstream_failure() {
        assert_eq!(UpstreamError::Timeout { full: false }.is_upstream_failure(), None);
        let error = UpstreamError::Timeout { full: false }.into_error(true);
        assert!(matches!(error, Error::DeadlineExceeded(_)));
    }
}
