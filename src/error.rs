//! The error type of the gateway, in terms of the domain.
//!
//! This module does not know HTTP: only `http/problem.rs` maps an [`ErrorCode`] to a status. Every
//! property of an error is an exhaustive `match`, so a new variant does not compile until each
//! property is defined. No error carries an attribute value or a secret, because clients and logs
//! show the sentences unchanged.

mod code;

use std::time::Duration;

pub use code::ErrorCode;

use gateway_store::ports::StoreError;

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

/// What went wrong, for all code above the upstream client.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence of each variant describes it")]
pub enum Error {
    #[error("{0}")]
    InvalidParticipant(&'static str),
    #[error("{0}")]
    AttributesTooLarge(SizeExcess),
    #[error("conversation `{0}` does not exist, or the OAuth client may not see it")]
    ConversationNotFound(ConversationId),
    #[error("conversation `{0}` has ended")]
    ConversationEnded(ConversationId),
    #[error("{}", no_such_participant(.asked, .purposes, *.first_needs_naming))]
    ParticipantNotFound {
        asked: String,
        purposes: Vec<String>,
        /// A read would have fallen back to the first participant. A write must name it.
        first_needs_naming: bool,
    },
    /// Upstream answered 404 to the PATCH, although a read had shown the participant.
    #[error("participant `{participant}` may have left the conversation: Genesys Cloud answered 404{}", upstream_words(.code.as_deref(), .message.as_deref()))]
    ParticipantLeft {
        participant: ParticipantId,
        code: Option<String>,
        /// The message of Genesys Cloud, without the values that the gateway sent.
        message: Option<String>,
    },
    #[error("`{asked}` matches {} live participants", .candidates.len())]
    AmbiguousParticipant { asked: String, candidates: Vec<ParticipantSummary> },
    #[error(
        "this client may not use participant `{asked}`, because its `participants` does not include it"
    )]
    ParticipantNotAllowed { asked: String },
    #[error("this client may only read: it has `access = \"read\"`")]
    ReadOnlyClient,
    #[error("{0}")]
    OperateNotAllowed(&'static str),
    #[error("this client exceeded its own rate of {per_minute} requests a minute")]
    ClientRateLimited { per_minute: u32, retry_after: Duration },
    #[error("another writer replaced {} of the keys of this write", .0.superseded().count())]
    Superseded(Box<WriteReport>),
    #[error("Genesys Cloud answered 409 to every attempt of this write")]
    UpstreamConflict,
    #[error("the attributes have changed since the ETag was read, or they already exist")]
    PreconditionFailed { current: String },
    #[error("Genesys Cloud answered {status}{}", upstream_words(.code.as_deref(), .message.as_deref()))]
    UpstreamRejected {
        status: u16,
        code: Option<String>,
        /// The message of Genesys Cloud, without the values that the gateway sent.
        message: Option<String>,
    },
    #[error("the OAuth client may not do this{}", missing_permission(.permission.as_deref(), .message.as_deref()))]
    UpstreamForbidden { permission: Option<String>, message: Option<String> },
    #[error("authentication with Genesys Cloud failed: {0}")]
    UpstreamAuthFailed(String),
    #[error("Genesys Cloud returned an unusable answer: {0}")]
    UpstreamInvalidResponse(String),
    #[error(
        "the answer of Genesys Cloud is larger than {limit} bytes, the limit of this gateway \
         (genesys.max_response_bytes)"
    )]
    UpstreamAnswerTooLarge { limit: usize },
    #[error("{reason}")]
    UpstreamRateLimited { reason: &'static str, retry_after: Duration },
    #[error("Genesys Cloud is unavailable: {reason}")]
    UpstreamUnavailable { reason: String, retry_after: Duration },
    #[error("too many requests are in progress {0}")]
    Overloaded(&'static str),
    #[error("the write was not sent, because its audit record could not be written")]
    AuditUnavailable,
    #[error("this idempotency key was used before, for another body")]
    IdempotencyKeyReused,
    #[error("{0}")]
    OperationInProgress(&'static str),
    #[error("the operation has ended, so nothing was sent")]
    OperationEnded,
    #[error("{0}")]
    StoreUnavailable(String),
    /// A later try found a value that neither the earlier try nor the state before it explains.
    #[error("another value stands where an earlier try of this write may have put its own")]
    EarlierTrySuperseded,
    #[error("the gateway is shutting down")]
    ShuttingDown,
    #[error("the deadline passed while {0}")]
    DeadlineExceeded(&'static str),
    /// A defect of the gateway. The text is for the log; clients see a fixed sentence.
    #[error("internal error")]
    Internal(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::StoreUnavailable(error.to_string())
    }
}

/// The wait if upstream named none: it lets a brief fault pass, and is short enough for a live call.
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
            Self::Superseded(_) | Self::EarlierTrySuperseded => ErrorCode::WriteSuperseded,
            Self::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
            Self::OperationInProgress(_) => ErrorCode::OperationInProgress,
            Self::OperationEnded => ErrorCode::OperationNotFound,
            Self::StoreUnavailable(_) => ErrorCode::StoreUnavailable,
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
            Self::Overloaded(_)
            | Self::AuditUnavailable
            | Self::OperationInProgress(_)
            | Self::StoreUnavailable(_)
            | Self::ShuttingDown => Some(SHORT_WAIT),
            _ => None,
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
