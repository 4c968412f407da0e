//! The cause of each error, for `/problems/{code}` and `docs/errors.md`.

use super::ErrorCode;

impl ErrorCode {
    /// What happened when a request is answered with this code.
    #[expect(clippy::too_many_lines, reason = "one text for each code")]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::InvalidConversationId => {
                "The conversation id in the path is not a UUID. Genesys Cloud was not called."
            }
            Self::InvalidParticipant => {
                "`participant` is neither a UUID nor a word of letters, or it is a word that this request does not support."
            }
            Self::InvalidJson => {
                "The body is not UTF-8, is not JSON, is incomplete, or does not have the form that this request expects."
            }
            Self::InvalidQuery => {
                "The query string contains parameters that are unknown, repeated, empty or contradictory, or values that are not valid. All of them are listed."
            }
            Self::InvalidHeader => {
                "A header that changes what the request does is not valid. If the gateway ignored it, the result would not be what you asked for."
            }
            Self::Unauthenticated => {
                "The request has no credential, an unknown one, or credentials of two different clients. For security, the answer does not say which."
            }
            Self::AttributeNotAllowed => {
                "The request names keys that this client may neither read nor write: no `allow` pattern matches, or a `deny` or `hide` pattern does. The answer is the same whether the key exists or not. Nothing was sent."
            }
            Self::ParticipantNotAllowed => {
                "The client may only use the selectors in its `participants`. This selector is not one of them, or it leads to a participant that none of them includes."
            }
            Self::ReadOnlyClient => {
                "The client is configured with `access = \"read\"`. Nothing was sent."
            }
            Self::OperateNotAllowed => {
                "The live view and the trace of a call are for operators. The client is not configured with `operate = true`, or no client is configured and the request came from another machine."
            }
            Self::NotFound => {
                "The path does not exist. It is misspelt, or it belongs to another version."
            }
            Self::ConversationNotFound => {
                "Genesys Cloud answered 404. It also does so for conversations in another region, or in a division that the OAuth client may not see."
            }
            Self::ParticipantNotFound => {
                "The conversation exists, but no participant in it has the purpose or id of the request. `purposes` lists those that it has. Or Genesys Cloud answered 404 to the write, because the participant has left."
            }
            Self::AttributeNotFound => {
                "The participant has no attribute with this name, or an empty one, which is the same. Names are case-sensitive."
            }
            Self::MethodNotAllowed => "The path exists, but not with the method of the request.",
            Self::NotAcceptable => {
                "The Accept header excludes every format in which the gateway could answer."
            }
            Self::RequestTimeout => {
                "The body of the request did not arrive within server.body_timeout."
            }
            Self::AmbiguousParticipant => {
                "More than one live participant has this purpose, for example in a consultation or a conference. The gateway does not guess. `candidates` lists them."
            }
            Self::ConversationEnded => {
                "The conversation has ended. Genesys Cloud may still accept the write, but analytics will not keep it, so the gateway does not send it unless you ask for it."
            }
            Self::WriteSuperseded => {
                "Genesys Cloud accepted the write, and then another value replaced it: a flow, a script, an agent or another client wrote the same key. The gateway does not write again."
            }
            Self::UpstreamConflict => {
                "Genesys Cloud answered 409 to every attempt of the write, although the gateway read the attributes again before each one."
            }
            Self::PreconditionFailed => {
                "The attributes have changed since the read whose ETag is in If-Match, or a key that had to be absent exists. Nothing was written."
            }
            Self::PreconditionRequired => {
                "This gateway is configured to accept conditional writes only, so that no client overwrites a change that it has not seen."
            }
            Self::ClientRateLimited => {
                "The client has sent more requests than its `requests_per_minute` allows. A tenth of that number can arrive at once. Other clients are not affected."
            }
            Self::BodyTooLarge => {
                "The body of the request is larger than limits.body_bytes allows."
            }
            Self::UnsupportedMediaType => {
                "This request does not support the Content-Type, its charset, or the Content-Encoding."
            }
            Self::InvalidAttributes => {
                "The body is JSON, but not a map of strings: it has a value of another type, an empty key, a repeated key or an unknown member. All mistakes are listed."
            }
            Self::AttributesTooLarge => {
                "After the write, the attributes of the participant together would exceed the limit, or Genesys Cloud itself refused the write for its size."
            }
            Self::Internal => {
                "An unexpected error occurred. The log of the gateway has the details under the request id."
            }
            Self::UpstreamRejected => {
                "Genesys Cloud rejected the request with a status that repeating does not change. `upstream` has its status, code and message."
            }
            Self::UpstreamForbidden => {
                "Genesys Cloud answered 403: the roles of the OAuth client do not cover this request, or not in the division of the conversation."
            }
            Self::UpstreamAuthFailed => {
                "The gateway could not fetch a token with its credentials, or the platform refused a token that it had just issued."
            }
            Self::UpstreamInvalidResponse => {
                "The answer did not come from the platform API or is not usable: an HTML page, broken JSON, a redirect, or an answer that is too large."
            }
            Self::UpstreamRateLimited => {
                "Genesys Cloud throttles, or the call budget (genesys.requests_per_minute) has no room for this request before its deadline."
            }
            Self::UpstreamUnavailable => {
                "Genesys Cloud cannot be reached, answers 5xx, or has failed so often recently that the gateway limits its calls."
            }
            Self::Overloaded => {
                "Too many writes are waiting, for this participant or in total, or too many requests are in progress. If `detail` says `for this caller`, the remaining room is reserved for other clients."
            }
            Self::AuditUnavailable => {
                "This gateway sends no write without an audit record, and the record could not be written, for example because the disk is full. Nothing was sent."
            }
            Self::ShuttingDown => {
                "This instance is stopping. It finishes the writes that it has sent and accepts nothing new."
            }
            Self::DeadlineExceeded => {
                "The time of the request (server.deadline, or Prefer: wait) ended before there was an answer. `detail` says what the gateway was waiting for."
            }
        }
    }
}
