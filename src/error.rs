//! The error type of the gateway, in terms of the domain.
//!
//! This module does not know HTTP: only `http/problem.rs` maps an [`ErrorCode`] to a status. Every
//! property of an error is an exhaustive `match`, so a new variant does not compile until each
//! property is defined. No error carries an attribute value or a secret, because clients and logs
//! show the sentences unchanged.

mod code;
mod explanations;

use std::fmt;
use std::time::Duration;

pub use code::ErrorCode;

use crate::domain::{ConversationId, ParticipantId, ParticipantSummary, SizeExcess, WriteReport};

/// Whether a request changed something upstream; the `effect` member of every error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Nothing was changed, so the client can repeat the request.
    NotApplied,
    /// A PATCH was sent, and its result is not known. It may have been applied, or may still be.
    Unknown,
    /// Upstream accepted at least one key of this request.
    Applied,
}

impl Effect {
    /// Every effect. v1 adds no other.
    pub const ALL: [Self; 3] = [Self::NotApplied, Self::Applied, Self::Unknown];

    /// The spelling in problem details and in the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotApplied => "notApplied",
            Self::Unknown => "unknown",
            Self::Applied => "applied",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, for all code above the upstream client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// This request does not support the participant selector, such as `all` in a write or a word
    /// on a route that takes only ids.
    #[error("{0}")]
    InvalidParticipant(&'static str),
    /// The merged map would exceed the size limit, or upstream refused it for its size.
    #[error("{0}")]
    AttributesTooLarge(SizeExcess),
    /// Upstream answered 404: no such conversation, or the OAuth client may not see it.
    #[error("conversation `{0}` does not exist, or the OAuth client may not see it")]
    ConversationNotFound(ConversationId),
    /// The conversation has ended. Analytics would not keep the write.
    #[error("conversation `{0}` has ended")]
    ConversationEnded(ConversationId),
    /// No participant of the conversation has the purpose or id of the request.
    #[error("{}", no_such_participant(.asked, .purposes, *.first_needs_naming))]
    ParticipantNotFound {
        /// The selector, as the client wrote it.
        asked: String,
        /// The purposes in the conversation, each once, in order of joining.
        purposes: Vec<String>,
        /// A read would have fallen back to the first participant. A write must name it.
        first_needs_naming: bool,
    },
    /// Upstream answered 404 to the PATCH, although a read had shown the participant.
    #[error("participant `{participant}` may have left the conversation: Genesys Cloud answered 404{}", upstream_words(.code.as_deref(), .message.as_deref()))]
    ParticipantLeft {
        /// The participant of the write.
        participant: ParticipantId,
        /// The error code of Genesys Cloud.
        code: Option<String>,
        /// The message of Genesys Cloud, without the values that the gateway sent.
        message: Option<String>,
    },
    /// Several live participants match. The client must choose one.
    #[error("`{asked}` matches {} live participants", .candidates.len())]
    AmbiguousParticipant {
        /// The selector, as the client wrote it.
        asked: String,
        /// The participants that match.
        candidates: Vec<ParticipantSummary>,
    },
    /// The client may not use this selector, or the participant that it selects.
    #[error(
        "this client may not use participant `{asked}`, because its `participants` does not include it"
    )]
    ParticipantNotAllowed {
        /// The selector, as the client wrote it.
        asked: String,
    },
    /// The client may not write.
    #[error("this client may only read: it has `access = \"read\"`")]
    ReadOnlyClient,
    /// The client may not operate the gateway.
    #[error("{0}")]
    OperateNotAllowed(&'static str),
    /// The client exceeded its own rate.
    #[error("this client exceeded its own rate of {per_minute} requests a minute")]
    ClientRateLimited {
        /// The rate of the client.
        per_minute: u32,
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// Another writer replaced a value of this write before the request was answered.
    #[error("another writer replaced {} of the keys of this write", .0.superseded().count())]
    Superseded(Box<WriteReport>),
    /// Upstream answered 409 until the attempts or the time ran out.
    #[error("Genesys Cloud answered 409 to every attempt of this write")]
    UpstreamConflict,
    /// The map does not meet the condition of the write.
    #[error("the attributes have changed since the ETag was read, or they already exist")]
    PreconditionFailed {
        /// The current `ETag` of the map.
        current: String,
    },
    /// Upstream refused the request, and repeating it would not help.
    #[error("Genesys Cloud answered {status}{}", upstream_words(.code.as_deref(), .message.as_deref()))]
    UpstreamRejected {
        /// HTTP status of upstream's answer.
        status: u16,
        /// The error code of Genesys Cloud.
        code: Option<String>,
        /// The message of Genesys Cloud, without the values that the gateway sent.
        message: Option<String>,
    },
    /// Upstream answered 403. The sentence names the permission if upstream did.
    #[error("the OAuth client may not do this{}", missing_permission(.permission.as_deref(), .message.as_deref()))]
    UpstreamForbidden {
        /// The missing permission, if Genesys Cloud names it.
        permission: Option<String>,
        /// The message of Genesys Cloud.
        message: Option<String>,
    },
    /// No usable token: upstream refused the credentials, or refused a new token.
    #[error("authentication with Genesys Cloud failed: {0}")]
    UpstreamAuthFailed(String),
    /// The gateway cannot use upstream's answer.
    #[error("Genesys Cloud returned an unusable answer: {0}")]
    UpstreamInvalidResponse(String),
    /// Upstream's answer exceeds the limit of the gateway.
    #[error(
        "the answer of Genesys Cloud is larger than {limit} bytes, the limit of this gateway \
         (genesys.max_response_bytes)"
    )]
    UpstreamAnswerTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Upstream throttles, and the wait would exceed the deadline.
    #[error("{reason}")]
    UpstreamRateLimited {
        /// Which limit was reached.
        reason: &'static str,
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// Upstream cannot be reached, or fails.
    #[error("Genesys Cloud is unavailable: {reason}")]
    UpstreamUnavailable {
        /// The last failure.
        reason: String,
        /// How long the client should wait.
        retry_after: Duration,
    },
    /// Too many requests are in progress.
    #[error("too many requests are in progress {0}")]
    Overloaded(&'static str),
    /// The write could not be recorded, and the configuration forbids unrecorded writes.
    #[error("the write was not sent, because its audit record could not be written")]
    AuditUnavailable,
    /// The gateway is stopping and did not send this write.
    #[error("the gateway is shutting down")]
    ShuttingDown,
    /// The deadline of the request passed.
    #[error("the deadline passed while {0}")]
    DeadlineExceeded(&'static str),
    /// A defect of the gateway. The text is for the log; clients see a fixed sentence.
    #[error("internal error")]
    Internal(String),
}

/// The wait that clients get if upstream named none. It lets a brief fault pass, and is short enough
/// for a live call.
const SHORT_WAIT: Duration = Duration::from_secs(1);

impl Error {
    /// The stable code, for clients to match on.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidParticipant(_) => ErrorCode::InvalidParticipant,
            Self::AttributesTooLarge(_) => ErrorCode::AttributesTooLarge,
            Self::ConversationNotFound(_) => ErrorCode::ConversationNotFound,
            Self::ConversationEnded(_) => ErrorCode::ConversationEnded,
            Self::ParticipantNotFound { .. } | Self::ParticipantLeft { .. } => {
                ErrorCode::ParticipantNotFound
            }
            Self::AmbiguousParticipant { .. } => ErrorCode::AmbiguousParticipant,
            Self::ParticipantNotAllowed { .. } => ErrorCode::ParticipantNotAllowed,
            Self::ReadOnlyClient => ErrorCode::ReadOnlyClient,
            Self::OperateNotAllowed(_) => ErrorCode::OperateNotAllowed,
            Self::ClientRateLimited { .. } => ErrorCode::ClientRateLimited,
            Self::Superseded(_) => ErrorCode::WriteSuperseded,
            Self::UpstreamConflict => ErrorCode::UpstreamConflict,
            Self::PreconditionFailed { .. } => ErrorCode::PreconditionFailed,
            Self::UpstreamRejected { .. } => ErrorCode::UpstreamRejected,
            Self::UpstreamForbidden { .. } => ErrorCode::UpstreamForbidden,
            Self::UpstreamAuthFailed(_) => ErrorCode::UpstreamAuthFailed,
            Self::UpstreamInvalidResponse(_) | Self::UpstreamAnswerTooLarge { .. } => {
                ErrorCode::UpstreamInvalidResponse
            }
            Self::UpstreamRateLimited { .. } => ErrorCode::UpstreamRateLimited,
            Self::UpstreamUnavailable { .. } => ErrorCode::UpstreamUnavailable,
            Self::Overloaded(_) => ErrorCode::Overloaded,
            Self::AuditUnavailable => ErrorCode::AuditUnavailable,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::DeadlineExceeded(_) => ErrorCode::DeadlineExceeded,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// How long the client should wait before it repeats the request, if that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ClientRateLimited { retry_after, .. }
            | Self::UpstreamRateLimited { retry_after, .. }
            | Self::UpstreamUnavailable { retry_after, .. } => Some(*retry_after),
            Self::Overloaded(_) | Self::AuditUnavailable | Self::ShuttingDown => Some(SHORT_WAIT),
            Self::InvalidParticipant(_)
            | Self::AttributesTooLarge(_)
            | Self::ConversationNotFound(_)
            | Self::ConversationEnded(_)
            | Self::ParticipantNotFound { .. }
            | Self::ParticipantLeft { .. }
            | Self::AmbiguousParticipant { .. }
            | Self::ParticipantNotAllowed { .. }
            | Self::ReadOnlyClient
            | Self::OperateNotAllowed(_)
            | Self::Superseded(_)
            | Self::UpstreamConflict
            | Self::PreconditionFailed { .. }
            | Self::UpstreamRejected { .. }
            | Self::UpstreamForbidden { .. }
            | Self::UpstreamAuthFailed(_)
            | Self::UpstreamInvalidResponse(_)
            | Self::UpstreamAnswerTooLarge { .. }
            | Self::DeadlineExceeded(_)
            | Self::Internal(_) => None,
        }
    }

    /// A hint that replaces the hint of the code in this case.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UpstreamAnswerTooLarge { .. } => Some(
                "Ask the operator of the gateway to raise the setting genesys.max_response_bytes: this conversation is larger.",
            ),
            Self::AttributesTooLarge(size) if size.emptied().0 > 0 => Some(
                "Shorten the values listed in `largest`, or store a reference instead. Keys that were cleared cannot be freed: Genesys Cloud keeps their names.",
            ),
            Self::ParticipantLeft { .. } => Some(
                "Read the conversation to see who takes part, then write to a participant who is still there.",
            ),
            Self::ParticipantNotFound { first_needs_naming: true, .. } => {
                Some("Name the participant: ?participant=first, one of the `purposes`, or a UUID.")
            }
            _ => None,
        }
    }
}

/// An [`Error`] and the effect of the request that failed.
#[derive(Debug)]
pub struct RequestFailure {
    /// What went wrong.
    pub error: Error,
    /// Whether the request changed attributes.
    pub effect: Effect,
}

impl RequestFailure {
    /// A failure that changed nothing.
    pub const fn harmless(error: Error) -> Self {
        Self { error, effect: Effect::NotApplied }
    }
}

impl From<Error> for RequestFailure {
    fn from(error: Error) -> Self {
        Self::harmless(error)
    }
}

fn no_such_participant(asked: &str, purposes: &[String], first_needs_naming: bool) -> String {
    if purposes.is_empty() {
        return "the conversation has no participants".to_owned();
    }
    let there = purposes.join(", ");
    if first_needs_naming {
        format!(
            "no participant matches `{asked}`; the conversation has: {there}; \
             a write to the first participant must say `participant=first`"
        )
    } else {
        format!("no participant matches `{asked}`; the conversation has: {there}")
    }
}

fn upstream_words(code: Option<&str>, message: Option<&str>) -> String {
    match (code, message) {
        (Some(code), Some(message)) => format!(" `{code}`: {message}"),
        (Some(code), None) => format!(" `{code}`"),
        (None, Some(message)) => format!(": {message}"),
        (None, None) => String::new(),
    }
}

fn missing_permission(permission: Option<&str>, message: Option<&str>) -> String {
    match (permission, message) {
        (Some(permission), _) => format!("; it needs the permission `{permission}`"),
        (None, Some(message)) => format!(": {message}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_that_upstream_names_is_in_the_sentence() {
        let error = Error::UpstreamForbidden {
            permission: Some("conversation:communication:view".into()),
            message: None,
        };
        assert!(error.to_string().contains("`conversation:communication:view`"));
    }

    #[test]
    fn the_text_of_an_internal_error_stays_inside() {
        assert_eq!(Error::Internal("secret detail".into()).to_string(), "internal error");
    }

    #[test]
    fn a_write_error_says_how_to_name_the_first_participant() {
        let error = Error::ParticipantNotFound {
            asked: "customer".into(),
            purposes: vec!["ivr".into()],
            first_needs_naming: true,
        };
        assert!(error.to_string().contains("participant=first"));
    }
}
