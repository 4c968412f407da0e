//! The catalogue of error codes: spelling, title, hint and whether repeating can help.
//!
//! `docs/errors.md`, the pages at `/problems/{code}` and the examples in `openapi.yaml` are
//! generated from it.

/// A stable, machine-readable name of an error. Codes are never renamed within v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`title` and `hint` below describe each variant")]
pub enum ErrorCode {
    InvalidConversationId,
    InvalidParticipant,
    InvalidJson,
    InvalidQuery,
    InvalidHeader,
    Unauthenticated,
    AttributeNotAllowed,
    ParticipantNotAllowed,
    ReadOnlyClient,
    OperateNotAllowed,
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

impl ErrorCode {
    /// Every code, ordered by status and then by meaning. Generated tables keep this order.
    pub const ALL: [Self; 39] = [
        Self::InvalidConversationId,
        Self::InvalidParticipant,
        Self::InvalidJson,
        Self::InvalidQuery,
        Self::InvalidHeader,
        Self::Unauthenticated,
        Self::AttributeNotAllowed,
        Self::ParticipantNotAllowed,
        Self::ReadOnlyClient,
        Self::OperateNotAllowed,
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
            Self::OperateNotAllowed => "operate-not-allowed",
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
            Self::InvalidParticipant => "The participant selector is invalid",
            Self::InvalidJson => "The body is not the expected JSON",
            Self::InvalidQuery => "The query string is invalid",
            Self::InvalidHeader => "A request header is invalid",
            Self::Unauthenticated => "The client is not authenticated",
            Self::AttributeNotAllowed => "The client may not use these keys",
            Self::ParticipantNotAllowed => "The client may not use this participant",
            Self::ReadOnlyClient => "The client may only read",
            Self::OperateNotAllowed => "The client may not operate the gateway",
            Self::NotFound => "There is nothing at this path",
            Self::ConversationNotFound => "The conversation was not found",
            Self::ParticipantNotFound => "The participant was not found",
            Self::AttributeNotFound => "The attribute was not found",
            Self::MethodNotAllowed => "This path does not support the method",
            Self::NotAcceptable => "No available format matches the Accept header",
            Self::RequestTimeout => "The request arrived too slowly",
            Self::AmbiguousParticipant => "Several live participants match",
            Self::ConversationEnded => "The conversation has ended",
            Self::WriteSuperseded => "Another writer replaced the value",
            Self::UpstreamConflict => "Genesys Cloud keeps reporting a conflict",
            Self::PreconditionFailed => "The attributes do not match the condition",
            Self::PreconditionRequired => "The write needs a condition",
            Self::ClientRateLimited => "The client exceeded its own rate",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The content type is not supported",
            Self::InvalidAttributes => "The attributes are invalid",
            Self::AttributesTooLarge => "The attributes would be too large",
            Self::Internal => "The gateway has a defect",
            Self::UpstreamRejected => "Genesys Cloud rejected the request",
            Self::UpstreamForbidden => "The OAuth client lacks a permission",
            Self::UpstreamAuthFailed => "Genesys Cloud refused the credentials",
            Self::UpstreamInvalidResponse => "Genesys Cloud returned an unusable answer",
            Self::UpstreamRateLimited => "The call budget is spent",
            Self::UpstreamUnavailable => "Genesys Cloud is unavailable",
            Self::Overloaded => "Too many requests are in progress",
            Self::AuditUnavailable => "Writes cannot be recorded at the moment",
            Self::ShuttingDown => "The gateway is shutting down",
            Self::DeadlineExceeded => "The deadline has passed",
        }
    }

    /// What the reader can do: the `hint` of every problem.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::InvalidConversationId => {
                "Use the conversation id as Genesys Cloud shows it: 8-4-4-4-12 hexadecimal digits."
            }
            Self::InvalidParticipant => {
                "Use a participant's UUID, or a purpose such as customer or agent, optionally with :first or :last."
            }
            Self::InvalidJson => {
                "Send one JSON object. A write looks like this: {\"attributes\": {\"key\": \"value\"}}. `errors` names the position."
            }
            Self::InvalidQuery => {
                "Correct the parameters listed in `errors`. Send each parameter once."
            }
            Self::InvalidHeader => "Correct the headers listed in `errors`.",
            Self::Unauthenticated => {
                "Send your key as Authorization: Bearer, as X-API-Key, or as the password of HTTP Basic. The operator of the gateway issues keys."
            }
            Self::AttributeNotAllowed => {
                "Remove the keys listed in `errors`, or ask the operator of the gateway to allow them for this client."
            }
            Self::ParticipantNotAllowed => {
                "Use a participant that this client may use, or ask the operator of the gateway to extend its `participants`."
            }
            Self::ReadOnlyClient => {
                "Use the key of a client that may write, or ask the operator of the gateway for `access = \"write\"`."
            }
            Self::OperateNotAllowed => {
                "Use the key of a client with `operate = true`. Without configured clients, send the request from the machine of the gateway."
            }
            Self::NotFound => "See /openapi.yaml for the paths of this service.",
            Self::ConversationNotFound => {
                "Check the id and the region. The role of the OAuth client must cover the division of the conversation."
            }
            Self::ParticipantNotFound => {
                "Use one of the purposes listed in `purposes`, or a participant's UUID, in `participant=`."
            }
            Self::AttributeNotFound => {
                "Read all attributes to see which keys exist. Keys are case-sensitive, and an empty attribute counts as absent."
            }
            Self::MethodNotAllowed => "Use one of the methods in the Allow header.",
            Self::NotAcceptable => {
                "Accept application/json or */*. Some answers are also available as text/plain."
            }
            Self::RequestTimeout => "Send the whole request without long pauses, then repeat it.",
            Self::AmbiguousParticipant => {
                "Use the id of one of the `candidates` in `participant=`, or add :first or :last to the purpose."
            }
            Self::ConversationEnded => {
                "Add allowEnded=true to write anyway. Analytics will not keep the value."
            }
            Self::WriteSuperseded => {
                "Look at `attributes` and `outcomes`, decide which value is right, and write again only if it is yours."
            }
            Self::UpstreamConflict => {
                "Repeat the request. If the problem persists, give the correlation id to Genesys support."
            }
            Self::PreconditionFailed => {
                "Read the attributes again, decide again, and write with the ETag of that read."
            }
            Self::PreconditionRequired => {
                "Read the attributes first, and send the ETag of that read as If-Match."
            }
            Self::ClientRateLimited => {
                "Repeat the request after Retry-After seconds. Spread requests over time, or send several keys in one request."
            }
            Self::BodyTooLarge => {
                "Send fewer or shorter attributes. Only those that change are needed."
            }
            Self::UnsupportedMediaType => {
                "Send Content-Type: application/json. A PATCH can also be application/merge-patch+json, and a single attribute text/plain."
            }
            Self::InvalidAttributes => {
                "Keys and values must be strings, and each key can appear once. `errors` lists each mistake."
            }
            Self::AttributesTooLarge => {
                "Shorten or clear some of the largest keys (listed), or store a reference instead of the data."
            }
            Self::Internal => {
                "Report the request id to the operator of the gateway. Look at `effect` before you repeat the request."
            }
            Self::UpstreamRejected => {
                "The message is Genesys Cloud's own. Look up its code, or give the correlation id to Genesys support."
            }
            Self::UpstreamForbidden => {
                "Give the OAuth client a role with the permission named, for the division of the conversation."
            }
            Self::UpstreamAuthFailed => {
                "The operator should check client id, secret and region (a wrong region looks like a wrong secret), and that the OAuth client is active."
            }
            Self::UpstreamInvalidResponse => {
                "Repeat the request. If the problem persists, check for a proxy between the gateway and Genesys Cloud."
            }
            Self::UpstreamRateLimited => "Repeat the request after Retry-After seconds.",
            Self::UpstreamUnavailable => {
                "Repeat the request after Retry-After seconds. `effect` says what may have happened."
            }
            Self::Overloaded => {
                "Repeat the request after Retry-After seconds. Spread writes over time, or send several keys in one request."
            }
            Self::AuditUnavailable => {
                "Repeat the request after Retry-After seconds. If the problem persists, tell the operator of the gateway; /readyz?verbose shows the cause."
            }
            Self::ShuttingDown => {
                "Repeat the request. Another instance, or this one after its restart, will accept it."
            }
            Self::DeadlineExceeded => {
                "If `effect` is unknown, read the attributes. Repeating the same write is safe. Prefer: wait=N allows more time."
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
            | Self::OperateNotAllowed
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
        let spellings: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(spellings.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| ErrorCode::parse(code.as_str()) == Some(*code)));
        assert_eq!(ErrorCode::parse("no-such-code"), None);
    }
}
