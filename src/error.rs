//! The one error of the service: what went wrong, in the terms of the domain.
//!
//! It refuses to know HTTP: `http/problem.rs` alone turns a [`ErrorCode`] into a status. Every question
//! about an error is an exhaustive `match`, so that a new variant does not compile until all of
//! them are answered. Nothing in here carries an attribute value or a secret: the sentences are
//! shown to clients and written to logs as they are.

mod code;
mod explanations;

use std::fmt;
use std::time::Duration;

pub use code::ErrorCode;

use crate::domain::{ConversationId, ParticipantId, ParticipantSummary, SizeExcess, WriteReport};

/// Whether a request changed something upstream; the `effect` member of every error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing was changed: repeating the request is the whole cure.
    NotApplied,
    /// A PATCH left and its fate was not learnt; it may have been applied, or may yet be.
    Unknown,
    /// Upstream accepted at least one key of this request.
    Applied,
}

impl Effect {
    /// All there are, and ever will be in v1.
    pub const ALL: [Self; 3] = [Self::NotApplied, Self::Applied, Self::Unknown];

    /// The spelling used in problem details and in the request log.
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

/// What went wrong, for everyone above the upstream client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The participant selector cannot be used here (`all` in a write, a word on a route that
    /// only knows ids).
    #[error("{0}")]
    InvalidParticipant(&'static str),
    /// The merged map would be over the size limit; also upstream's own refusal for size.
    #[error("{0}")]
    AttributesTooLarge(SizeExcess),
    /// Upstream has no such conversation, or does not show it to this OAuth client.
    #[error("conversation `{0}` does not exist, or this OAuth client may not see it")]
    ConversationNotFound(ConversationId),
    /// The conversation is over; analytics would not keep the write.
    #[error("conversation `{0}` has ended")]
    ConversationEnded(ConversationId),
    /// Nobody in the conversation bears the name or id that was asked for.
    #[error("{}", no_such_participant(.asked, .purposes, *.first_needs_naming))]
    ParticipantNotFound {
        /// The selector, as the client wrote it.
        asked: String,
        /// Purposes that are there, without repetition, in order of joining.
        purposes: Vec<String>,
        /// A read would have fallen back to the first participant; a write must name it.
        first_needs_naming: bool,
    },
    /// Upstream answered 404 to the PATCH of a participant that a read had shown.
    #[error("participant `{participant}` may have left the conversation: Genesys Cloud answered 404{}", upstream_words(.code.as_deref(), .message.as_deref()))]
    ParticipantLeft {
        /// The participant that was written to.
        participant: ParticipantId,
        /// Genesys' own error code.
        code: Option<String>,
        /// Genesys' message, values that we sent cut out.
        message: Option<String>,
    },
    /// Several live participants match; the client has to say which.
    #[error("`{asked}` matches {} live participants", .candidates.len())]
    AmbiguousParticipant {
        /// The selector, as the client wrote it.
        asked: String,
        /// Those that match.
        candidates: Vec<ParticipantSummary>,
    },
    /// The client may not use this selector, or touch whom it means.
    #[error("this caller may not use participant `{asked}`: its `participants` does not allow it")]
    ParticipantNotAllowed {
        /// The selector, as the client wrote it.
        asked: String,
    },
    /// The client may not change anything.
    #[error("this caller may only read: it has `access = \"read\"`")]
    ReadOnlyClient,
    /// The client is over its own rate.
    #[error("this caller is over its own rate of {per_minute} requests a minute")]
    ClientRateLimited {
        /// Its rate.
        per_minute: u32,
        /// When to come back.
        retry_after: Duration,
    },
    /// Our value was replaced by another writer's before this request was answered.
    #[error("another writer replaced {} of the keys of this write", .0.superseded().count())]
    Superseded(Box<WriteReport>),
    /// Upstream answered 409 until the tries or the time ran out.
    #[error("Genesys Cloud kept answering 409 to this write")]
    UpstreamConflict,
    /// The map is not as the condition of the write wants it.
    #[error("the attributes have changed since, or are there already")]
    PreconditionFailed {
        /// The `ETag` of the map as it is now.
        current: String,
    },
    /// Upstream refused with a status that repeating will not change.
    #[error("Genesys Cloud answered {status}{}", upstream_words(.code.as_deref(), .message.as_deref()))]
    UpstreamRejected {
        /// HTTP status of the refusal.
        status: u16,
        /// Genesys' own error code.
        code: Option<String>,
        /// Genesys' message, values that we sent cut out.
        message: Option<String>,
    },
    /// Upstream answered 403; the sentence names the permission where upstream did.
    #[error("the OAuth client may not do this{}", missing_permission(.permission.as_deref(), .message.as_deref()))]
    UpstreamForbidden {
        /// The permission that Genesys names as missing.
        permission: Option<String>,
        /// Genesys' message.
        message: Option<String>,
    },
    /// No usable token: refused credentials, or a fresh token that the API refuses.
    #[error("authentication with Genesys Cloud failed: {0}")]
    UpstreamAuthFailed(String),
    /// Upstream answered something that cannot be understood.
    #[error("Genesys Cloud gave an unusable answer: {0}")]
    UpstreamInvalidResponse(String),
    /// An answer of upstream is over our own limit.
    #[error(
        "the answer of Genesys Cloud is larger than {limit} bytes, which is what this gateway reads \
         (genesys.max_response_bytes)"
    )]
    UpstreamAnswerTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Upstream throttles, and the wait does not fit the deadline.
    #[error("{reason}")]
    UpstreamRateLimited {
        /// Which limit it was.
        reason: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// Upstream is down, failing or unreachable.
    #[error("Genesys Cloud is unavailable: {reason}")]
    UpstreamUnavailable {
        /// What was seen last.
        reason: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Too many requests are under way already.
    #[error("too many requests are under way {0}")]
    Overloaded(&'static str),
    /// The write cannot be recorded, and may not be sent unrecorded.
    #[error("the audit record of this write could not be written, so it was not sent")]
    AuditUnavailable,
    /// The service is going down and did not send this write.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// The deadline of the request passed.
    #[error("the deadline passed while {0}")]
    DeadlineExceeded(&'static str),
    /// A defect of ours. The text is for the log; clients see a fixed sentence.
    #[error("internal error")]
    Internal(String),
}

/// Waits that clients are told where upstream named none: long enough to let a hiccup pass, short
/// enough for a live call.
const SHORT_WAIT: Duration = Duration::from_secs(1);

impl Error {
    /// The stable code that clients switch on.
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

    /// When a client should come back, where there is such a time.
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

    /// What to do next, where the hint of the code does not fit this case.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UpstreamAnswerTooLarge { .. } => Some(
                "Ask the operator of the gateway to raise the setting genesys.max_response_bytes: this conversation is larger.",
            ),
            Self::AttributesTooLarge(size) if size.emptied().0 > 0 => Some(
                "Shorten the values listed in `largest`, or store a reference instead. Keys that were cleared cannot be freed: Genesys Cloud keeps their names.",
            ),
            Self::ParticipantLeft { .. } => Some(
                "Read the conversation to see who takes part, then write to one who is still there.",
            ),
            Self::ParticipantNotFound { first_needs_naming: true, .. } => Some(
                "Name the participant: ?participant=first, one of the purposes that are there, or a UUID.",
            ),
            _ => None,
        }
    }
}

/// An [`Error`] with what the client of this one request must know besides.
#[derive(Debug)]
pub struct RequestFailure {
    /// What went wrong.
    pub error: Error,
    /// What it did to the attributes.
    pub effect: Effect,
}

impl RequestFailure {
    /// A failure that certainly changed nothing.
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
            "no participant matches `{asked}`; there are: {there}; \
             a write to the first participant must say `participant=first`"
        )
    } else {
        format!("no participant matches `{asked}`; there are: {there}")
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
