//! The catalogue of error codes: everything that is fixed about a code, in one place.
//!
//! Callers switch on the code, people read its page. `docs/errors.md`, the pages behind
//! `/problems/{code}` and the examples in `openapi.yaml` are all made from here.

/// A stable, machine-readable name of an error. Codes are never renamed within v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is described by `title` and `hint` below")]
pub enum Code {
    InvalidConversationId,
    InvalidParticipant,
    InvalidJson,
    InvalidQuery,
    InvalidHeader,
    Unauthenticated,
    AttributeNotAllowed,
    ParticipantNotAllowed,
    ReadOnlyClient,
    NotFound,
    ConversationNotFound,
    ParticipantNotFound,
    AttributeNotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    AmbiguousParticipant,
    ConversationEnded,
    WriteSuperseded,
    UpstreamConflict,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidAttributes,
    AttributesTooLarge,
    PreconditionRequired,
    ClientRateLimited,
    Internal,
    UpstreamRejected,
    UpstreamForbidden,
    UpstreamAuthFailed,
    UpstreamInvalidResponse,
    UpstreamRateLimited,
    UpstreamUnavailable,
    Overloaded,
    AuditUnavailable,
    ShuttingDown,
    DeadlineExceeded,
}

impl Code {
    /// Every code, by status and then by meaning; the order of the tables made from it.
    pub const ALL: [Self; 38] = [
        Self::InvalidConversationId,
        Self::InvalidParticipant,
        Self::InvalidJson,
        Self::InvalidQuery,
        Self::InvalidHeader,
        Self::Unauthenticated,
        Self::AttributeNotAllowed,
        Self::ParticipantNotAllowed,
        Self::ReadOnlyClient,
        Self::NotFound,
        Self::ConversationNotFound,
        Self::ParticipantNotFound,
        Self::AttributeNotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::RequestTimeout,
        Self::AmbiguousParticipant,
        Self::ConversationEnded,
        Self::WriteSuperseded,
        Self::UpstreamConflict,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidAttributes,
        Self::AttributesTooLarge,
        Self::PreconditionRequired,
        Self::ClientRateLimited,
        Self::Internal,
        Self::UpstreamRejected,
        Self::UpstreamForbidden,
        Self::UpstreamAuthFailed,
        Self::UpstreamInvalidResponse,
        Self::UpstreamRateLimited,
        Self::UpstreamUnavailable,
        Self::Overloaded,
        Self::AuditUnavailable,
        Self::ShuttingDown,
        Self::DeadlineExceeded,
    ];

    /// The spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidConversationId => "invalid-conversation-id",
            Self::InvalidParticipant => "invalid-participant",
            Self::InvalidJson => "invalid-json",
            Self::InvalidQuery => "invalid-query",
            Self::InvalidHeader => "invalid-header",
            Self::Unauthenticated => "unauthenticated",
            Self::AttributeNotAllowed => "attribute-not-allowed",
            Self::ParticipantNotAllowed => "participant-not-allowed",
            Self::ReadOnlyClient => "read-only-client",
            Self::NotFound => "not-found",
            Self::ConversationNotFound => "conversation-not-found",
            Self::ParticipantNotFound => "participant-not-found",
            Self::AttributeNotFound => "attribute-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotAcceptable => "not-acceptable",
            Self::RequestTimeout => "request-timeout",
            Self::AmbiguousParticipant => "ambiguous-participant",
            Self::ConversationEnded => "conversation-ended",
            Self::WriteSuperseded => "write-superseded",
            Self::UpstreamConflict => "upstream-conflict",
            Self::PreconditionFailed => "precondition-failed",
            Self::PreconditionRequired => "precondition-required",
            Self::ClientRateLimited => "client-rate-limited",
            Self::BodyTooLarge => "body-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::InvalidAttributes => "invalid-attributes",
            Self::AttributesTooLarge => "attributes-too-large",
            Self::Internal => "internal",
            Self::UpstreamRejected => "upstream-rejected",
            Self::UpstreamForbidden => "upstream-forbidden",
            Self::UpstreamAuthFailed => "upstream-auth-failed",
            Self::UpstreamInvalidResponse => "upstream-invalid-response",
            Self::UpstreamRateLimited => "upstream-rate-limited",
            Self::UpstreamUnavailable => "upstream-unavailable",
            Self::Overloaded => "overloaded",
            Self::AuditUnavailable => "audit-unavailable",
            Self::ShuttingDown => "shutting-down",
            Self::DeadlineExceeded => "deadline-exceeded",
        }
    }

    /// The code with this spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// A short name of the problem, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidConversationId => "The conversation id is not a UUID",
            Self::InvalidParticipant => "The participant selector cannot be used",
            Self::InvalidJson => "The body is not the JSON that is wanted",
            Self::InvalidQuery => "The query string has mistakes",
            Self::InvalidHeader => "A request header cannot be used",
            Self::Unauthenticated => "The caller is not known",
            Self::AttributeNotAllowed => "The caller may not touch these keys",
            Self::ParticipantNotAllowed => "The caller may not touch this participant",
            Self::ReadOnlyClient => "The caller may only read",
            Self::NotFound => "There is nothing at this path",
            Self::ConversationNotFound => "The conversation was not found",
            Self::ParticipantNotFound => "The participant was not found",
            Self::AttributeNotFound => "The attribute is not there",
            Self::MethodNotAllowed => "The method does not fit this path",
            Self::NotAcceptable => "No representation fits the Accept header",
            Self::RequestTimeout => "The request arrived too slowly",
            Self::AmbiguousParticipant => "Several live participants match",
            Self::ConversationEnded => "The conversation has ended",
            Self::WriteSuperseded => "Another writer replaced the value",
            Self::UpstreamConflict => "Genesys Cloud reports a lasting conflict",
            Self::PreconditionFailed => "The attributes are not as the condition wants them",
            Self::PreconditionRequired => "The write needs a condition",
            Self::ClientRateLimited => "The caller is over its own rate",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The content type is not supported",
            Self::InvalidAttributes => "The attributes have mistakes",
            Self::AttributesTooLarge => "The attributes would be too large",
            Self::Internal => "The gateway has a defect",
            Self::UpstreamRejected => "Genesys Cloud refused the request",
            Self::UpstreamForbidden => "The OAuth client lacks a permission",
            Self::UpstreamAuthFailed => "Genesys Cloud refused the credentials",
            Self::UpstreamInvalidResponse => "Genesys Cloud gave an unusable answer",
            Self::UpstreamRateLimited => "The request budget at Genesys Cloud is spent",
            Self::UpstreamUnavailable => "Genesys Cloud is unavailable",
            Self::Overloaded => "Too many requests are under way",
            Self::AuditUnavailable => "Writes cannot be recorded at present",
            Self::ShuttingDown => "The gateway is shutting down",
            Self::DeadlineExceeded => "The deadline passed",
        }
    }

    /// What a person can do about it; the `hint` of every problem.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::InvalidConversationId => {
                "Use the id of the conversation as Genesys Cloud shows it: 8-4-4-4-12 hexadecimal digits."
            }
            Self::InvalidParticipant => {
                "Use a participant's UUID, or a purpose such as customer or agent, optionally with :first or :last."
            }
            Self::InvalidJson => {
                "Send one JSON object, for a write {\"attributes\": {\"key\": \"value\"}}. See `errors` for the place."
            }
            Self::InvalidQuery => {
                "Correct the parameters listed in `errors`; each may be given once."
            }
            Self::InvalidHeader => "Correct the headers listed in `errors`.",
            Self::Unauthenticated => {
                "Send the key as Authorization: Bearer, as X-API-Key, or as the password of HTTP Basic; whoever runs the gateway gives one out."
            }
            Self::AttributeNotAllowed => {
                "Leave out the keys listed in `errors`, or ask whoever runs the gateway to allow them to this caller."
            }
            Self::ParticipantNotAllowed => {
                "Name a participant that this caller may use; whoever runs the gateway decides by `participants`."
            }
            Self::ReadOnlyClient => {
                "Use the key of a caller that may write, or ask whoever runs the gateway for `access = \"write\"`."
            }
            Self::NotFound => "See /openapi.yaml for the paths of this service.",
            Self::ConversationNotFound => {
                "Check the id and the region; the role of the OAuth client must cover the division of the conversation."
            }
            Self::ParticipantNotFound => {
                "Name one of the purposes that are there, or a participant's UUID, in `participant=`."
            }
            Self::AttributeNotFound => {
                "Absent and empty are one state; read all attributes to see which keys are there (they are case-sensitive)."
            }
            Self::MethodNotAllowed => "Use one of the methods in the Allow header.",
            Self::NotAcceptable => {
                "Accept application/json, or */*; what people read is served as text/plain, too."
            }
            Self::RequestTimeout => "Send the whole request without long pauses, then repeat it.",
            Self::AmbiguousParticipant => {
                "Name one candidate's id in `participant=`, or add :first or :last to the purpose."
            }
            Self::ConversationEnded => {
                "Use allowEnded=true to write all the same; analytics will not keep it."
            }
            Self::WriteSuperseded => {
                "Look at `attributes` and `outcomes`, decide whose value should stand, and write again only if it is yours."
            }
            Self::UpstreamConflict => {
                "Repeat the request; if it lasts, give the correlation id to Genesys support."
            }
            Self::PreconditionFailed => {
                "Read the attributes again, decide on the new state, and write with the ETag of that read."
            }
            Self::PreconditionRequired => {
                "Read the attributes first, and send the ETag of that read as If-Match."
            }
            Self::ClientRateLimited => {
                "Wait as long as Retry-After says, then repeat the request; spread requests, or send several keys in one."
            }
            Self::BodyTooLarge => {
                "Send fewer or shorter attributes; only those that change are needed."
            }
            Self::UnsupportedMediaType => {
                "Send Content-Type: application/json; a PATCH may also be application/merge-patch+json, one key text/plain."
            }
            Self::InvalidAttributes => {
                "Keys and values must be strings and every key may stand once; `errors` lists each mistake."
            }
            Self::AttributesTooLarge => {
                "Shorten or clear some of the largest keys (listed), or store a reference instead of the data."
            }
            Self::Internal => {
                "Report the request id to whoever runs the gateway; look at `effect` before you repeat the request."
            }
            Self::UpstreamRejected => {
                "The message is Genesys Cloud's own; look up its code, or give the correlation id to Genesys support."
            }
            Self::UpstreamForbidden => {
                "Give the OAuth client a role with the permission named, for the division of the conversation."
            }
            Self::UpstreamAuthFailed => {
                "Check client id, secret and region of the gateway (a wrong region looks like a wrong secret), and that the client is active."
            }
            Self::UpstreamInvalidResponse => {
                "Repeat the request; if it lasts, check for a proxy between the gateway and Genesys Cloud."
            }
            Self::UpstreamRateLimited => {
                "Wait as long as Retry-After says, then repeat the request."
            }
            Self::UpstreamUnavailable => {
                "Repeat the request after Retry-After seconds; see `effect` for what may have happened."
            }
            Self::Overloaded => {
                "Repeat the request after Retry-After seconds; spread writes, or send several keys in one."
            }
            Self::AuditUnavailable => {
                "Repeat the request after Retry-After seconds; if it lasts, tell whoever runs the gateway (/readyz?verbose says why)."
            }
            Self::ShuttingDown => {
                "Repeat the request; another instance, or this one after its restart, will take it."
            }
            Self::DeadlineExceeded => {
                "Read the attributes if `effect` is unknown; repeating the same write is safe. Prefer: wait=N allows more time."
            }
        }
    }

    /// Whether repeating the same request unchanged can succeed.
    pub const fn retryable(self) -> bool {
        match self {
            Self::RequestTimeout
            | Self::ClientRateLimited
            | Self::UpstreamConflict
            | Self::UpstreamInvalidResponse
            | Self::UpstreamRateLimited
            | Self::UpstreamUnavailable
            | Self::Overloaded
            | Self::AuditUnavailable
            | Self::ShuttingDown
            | Self::DeadlineExceeded => true,
            Self::InvalidConversationId
            | Self::InvalidParticipant
            | Self::InvalidJson
            | Self::InvalidQuery
            | Self::InvalidHeader
            | Self::Unauthenticated
            | Self::AttributeNotAllowed
            | Self::ParticipantNotAllowed
            | Self::ReadOnlyClient
            | Self::NotFound
            | Self::ConversationNotFound
            | Self::ParticipantNotFound
            | Self::AttributeNotFound
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::AmbiguousParticipant
            | Self::ConversationEnded
            | Self::WriteSuperseded
            | Self::PreconditionFailed
            | Self::PreconditionRequired
            | Self::BodyTooLarge
            | Self::UnsupportedMediaType
            | Self::InvalidAttributes
            | Self::AttributesTooLarge
            | Self::Internal
            | Self::UpstreamRejected
            | Self::UpstreamForbidden
            | Self::UpstreamAuthFailed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_listed_once_and_reads_back() {
        let spellings: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(spellings.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| Code::parse(code.as_str()) == Some(*code)));
        assert_eq!(Code::parse("no-such-code"), None);
    }
}
