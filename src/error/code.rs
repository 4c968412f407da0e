//! The catalogue of error codes: spelling, title, cause, hint and whether repeating can help.
//!
//! `docs/errors.md`, the pages at `/problems/{code}` and the examples in `openapi.yaml` are
//! generated from it.

/// A stable, machine-readable name of an error. Codes are never renamed within v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`title` and `cause` in the catalogue describe each variant")]
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
    OperationNotFound,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    AmbiguousParticipant,
    ConversationEnded,
    WriteSuperseded,
    UpstreamConflict,
    OperationInProgress,
    PreconditionFailed,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidAttributes,
    AttributesTooLarge,
    IdempotencyKeyReused,
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
    StoreUnavailable,
    ShuttingDown,
    DeadlineExceeded,
}

/// A row of the catalogue.
struct CodeEntry {
    code: ErrorCode,
    spelling: &'static str,
    title: &'static str,
    cause: &'static str,
    hint: &'static str,
    retryable: bool,
}

impl ErrorCode {
    /// Every code, ordered by status and then by meaning. Generated tables keep this order.
    pub const ALL: [Self; CATALOGUE.len()] = {
        let mut all = [Self::Internal; CATALOGUE.len()];
        let mut row = 0;
        while row < all.len() {
            all[row] = CATALOGUE[row].code;
            row += 1;
        }
        all
    };

    /// The rows are in the order of the variants, which a test checks.
    const fn entry(self) -> &'static CodeEntry {
        &CATALOGUE[self as usize]
    }

    /// The spelling on the wire.
    pub const fn as_str(self) -> &'static str {
        self.entry().spelling
    }

    /// The code with this spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// A short name of the problem, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.entry().title
    }

    /// What happened when a request is answered with this code.
    pub const fn cause(self) -> &'static str {
        self.entry().cause
    }

    /// What the reader can do: the `hint` of every problem.
    pub const fn hint(self) -> &'static str {
        self.entry().hint
    }

    /// Whether repeating the same request unchanged can succeed.
    pub const fn retryable(self) -> bool {
        self.entry().retryable
    }
}

/// A row for each code, in the order of the variants.
static CATALOGUE: [CodeEntry; 43] = [
    CodeEntry {
        code: ErrorCode::InvalidConversationId,
        spelling: "invalid-conversation-id",
        title: "The conversation id is not a UUID",
        cause: "The conversation id in the path is not a UUID. Genesys Cloud was not called.",
        hint: "Use the conversation id as Genesys Cloud shows it: 8-4-4-4-12 hexadecimal digits.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::InvalidParticipant,
        spelling: "invalid-participant",
        title: "The participant selector is invalid",
        cause: "`participant` is neither a UUID nor a word of letters, or it is a word that this request does not support.",
        hint: "Use a participant's UUID, or a purpose such as customer or agent, optionally with :first or :last.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::InvalidJson,
        spelling: "invalid-json",
        title: "The body is not the expected JSON",
        cause: "The body is not UTF-8, is not JSON, is incomplete, or does not have the form that this request expects.",
        hint: "Send one JSON object. A write looks like this: {\"attributes\": {\"key\": \"value\"}}. `errors` names the position.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::InvalidQuery,
        spelling: "invalid-query",
        title: "The query string is invalid",
        cause: "The query string contains parameters that are unknown, repeated, empty or contradictory, or values that are not valid. All of them are listed.",
        hint: "Correct the parameters listed in `errors`. Send each parameter once.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::InvalidHeader,
        spelling: "invalid-header",
        title: "A request header is invalid",
        cause: "A header that changes what the request does is not valid. If the gateway ignored it, the result would not be what you asked for.",
        hint: "Correct the headers listed in `errors`.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::Unauthenticated,
        spelling: "unauthenticated",
        title: "The client is not authenticated",
        cause: "The request has no credential, an unknown one, or credentials of two different clients. For security, the answer does not say which.",
        hint: "Send your key as Authorization: Bearer, as X-API-Key, or as the password of HTTP Basic. The operator of the gateway issues keys.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::AttributeNotAllowed,
        spelling: "attribute-not-allowed",
        title: "The client may not use these keys",
        cause: "The request names keys that this client may neither read nor write: no `allow` pattern matches, or a `deny` or `hide` pattern does. The answer is the same whether the key exists or not. Nothing was sent.",
        hint: "Remove the keys listed in `errors`, or ask the operator of the gateway to allow them for this client.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::ParticipantNotAllowed,
        spelling: "participant-not-allowed",
        title: "The client may not use this participant",
        cause: "The client may only use the selectors in its `participants`. This selector is not one of them, or it leads to a participant that none of them includes.",
        hint: "Use a participant that this client may use, or ask the operator of the gateway to extend its `participants`.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::ReadOnlyClient,
        spelling: "read-only-client",
        title: "The client may only read",
        cause: "The client is configured with `access = \"read\"`. Nothing was sent.",
        hint: "Use the key of a client that may write, or ask the operator of the gateway for `access = \"write\"`.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::OperateNotAllowed,
        spelling: "operate-not-allowed",
        title: "The client may not operate the gateway",
        cause: "The live view and the trace of a call are for operators. The client is not configured with `operate = true`, or no client is configured and the request came from another machine.",
        hint: "Use the key of a client with `operate = true`. Without configured clients, send the request from the machine of the gateway.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::NotFound,
        spelling: "not-found",
        title: "There is nothing at this path",
        cause: "The path does not exist. It is misspelt, or it belongs to another version.",
        hint: "See /openapi.yaml for the paths of this service.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::ConversationNotFound,
        spelling: "conversation-not-found",
        title: "The conversation was not found",
        cause: "Genesys Cloud answered 404. It also does so for conversations in another region, or in a division that the OAuth client may not see.",
        hint: "Check the id and the region. The role of the OAuth client must cover the division of the conversation.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::ParticipantNotFound,
        spelling: "participant-not-found",
        title: "The participant was not found",
        cause: "The conversation exists, but no participant in it has the purpose or id of the request. `purposes` lists those that it has. Or Genesys Cloud answered 404 to the write, because the participant has left.",
        hint: "Use one of the purposes listed in `purposes`, or a participant's UUID, in `participant=`.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::AttributeNotFound,
        spelling: "attribute-not-found",
        title: "The attribute was not found",
        cause: "The participant has no attribute with this name, or an empty one, which is the same. Names are case-sensitive.",
        hint: "Read all attributes to see which keys exist. Keys are case-sensitive, and an empty attribute counts as absent.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::OperationNotFound,
        spelling: "operation-not-found",
        title: "The operation was not found",
        cause: "No operation of this client has this id. Finished operations are kept for an hour, and another client cannot see them.",
        hint: "Use the Location of the 202, with the key of the same client, within an hour.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::MethodNotAllowed,
        spelling: "method-not-allowed",
        title: "This path does not support the method",
        cause: "The path exists, but not with the method of the request.",
        hint: "Use one of the methods in the Allow header.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::NotAcceptable,
        spelling: "not-acceptable",
        title: "No available format matches the Accept header",
        cause: "The Accept header excludes every format in which the gateway could answer.",
        hint: "Accept application/json or */*. Some answers are also available as text/plain.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::RequestTimeout,
        spelling: "request-timeout",
        title: "The request arrived too slowly",
        cause: "The body of the request did not arrive within server.body_timeout.",
        hint: "Send the whole request without long pauses, then repeat it.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::AmbiguousParticipant,
        spelling: "ambiguous-participant",
        title: "Several live participants match",
        cause: "More than one live participant has this purpose, for example in a consultation or a conference. The gateway does not guess. `candidates` lists them.",
        hint: "Use the id of one of the `candidates` in `participant=`, or add :first or :last to the purpose.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::ConversationEnded,
        spelling: "conversation-ended",
        title: "The conversation has ended",
        cause: "The conversation has ended. Genesys Cloud may still accept the write, but analytics will not keep it, so the gateway does not send it unless you ask for it.",
        hint: "Add allowEnded=true to write anyway. Analytics will not keep the value.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::WriteSuperseded,
        spelling: "write-superseded",
        title: "Another writer replaced the value",
        cause: "Genesys Cloud accepted the write, and then another value replaced it: a flow, a script, an agent or another client wrote the same key. The gateway does not write again.",
        hint: "Look at `attributes` and `outcomes`, decide which value is right, and write again only if it is yours.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::UpstreamConflict,
        spelling: "upstream-conflict",
        title: "Genesys Cloud keeps reporting a conflict",
        cause: "Genesys Cloud answered 409 to every attempt of the write, although the gateway read the attributes again before each one.",
        hint: "Repeat the request. If the problem persists, give the correlation id to Genesys support.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::OperationInProgress,
        spelling: "operation-in-progress",
        title: "The operation is in progress",
        cause: "A request with the same idempotency key is still being carried out, or the operation to cancel was sent already.",
        hint: "Repeat the request with the same key after Retry-After seconds, or read the operation.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::PreconditionFailed,
        spelling: "precondition-failed",
        title: "The attributes do not match the condition",
        cause: "The attributes have changed since the read whose ETag is in If-Match, or a key that had to be absent exists. Nothing was written.",
        hint: "Read the attributes again, decide again, and write with the ETag of that read.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::BodyTooLarge,
        spelling: "body-too-large",
        title: "The body is too large",
        cause: "The body of the request is larger than limits.body_bytes allows.",
        hint: "Send fewer or shorter attributes. Only those that change are needed.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::UnsupportedMediaType,
        spelling: "unsupported-media-type",
        title: "The content type is not supported",
        cause: "This request does not support the Content-Type, its charset, or the Content-Encoding.",
        hint: "Send Content-Type: application/json. A PATCH can also be application/merge-patch+json, and a single attribute text/plain.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::InvalidAttributes,
        spelling: "invalid-attributes",
        title: "The attributes are invalid",
        cause: "The body is JSON, but not a map of strings: it has a value of another type, an empty key, a repeated key or an unknown member. All mistakes are listed.",
        hint: "Keys and values must be strings, and each key can appear once. `errors` lists each mistake.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::AttributesTooLarge,
        spelling: "attributes-too-large",
        title: "The attributes would be too large",
        cause: "After the write, the attributes of the participant together would exceed the limit, or Genesys Cloud itself refused the write for its size.",
        hint: "Shorten or clear some of the largest keys (listed), or store a reference instead of the data.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::IdempotencyKeyReused,
        spelling: "idempotency-key-reused",
        title: "The idempotency key belongs to another body",
        cause: "The client used this Idempotency-Key before, for the same method, path and query, but with other attributes. Nothing was sent.",
        hint: "Use a new key for each new write, and the same key only to repeat one.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::PreconditionRequired,
        spelling: "precondition-required",
        title: "The write needs a condition",
        cause: "This gateway is configured to accept conditional writes only, so that no client overwrites a change that it has not seen.",
        hint: "Read the attributes first, and send the ETag of that read as If-Match.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::ClientRateLimited,
        spelling: "client-rate-limited",
        title: "The client exceeded its own rate",
        cause: "The client has sent more requests than its `requests_per_minute` allows. A tenth of that number can arrive at once. Other clients are not affected.",
        hint: "Repeat the request after Retry-After seconds. Spread requests over time, or send several keys in one request.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::Internal,
        spelling: "internal",
        title: "The gateway has a defect",
        cause: "An unexpected error occurred. The log of the gateway has the details under the request id.",
        hint: "Report the request id to the operator of the gateway. Look at `effect` before you repeat the request.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::UpstreamRejected,
        spelling: "upstream-rejected",
        title: "Genesys Cloud rejected the request",
        cause: "Genesys Cloud rejected the request with a status that repeating does not change. `upstream` has its status, code and message.",
        hint: "The message is Genesys Cloud's own. Look up its code, or give the correlation id to Genesys support.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::UpstreamForbidden,
        spelling: "upstream-forbidden",
        title: "The OAuth client lacks a permission",
        cause: "Genesys Cloud answered 403: the roles of the OAuth client do not cover this request, or not in the division of the conversation.",
        hint: "Give the OAuth client a role with the permission named, for the division of the conversation.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::UpstreamAuthFailed,
        spelling: "upstream-auth-failed",
        title: "Genesys Cloud refused the credentials",
        cause: "The gateway could not fetch a token with its credentials, or the platform refused a token that it had just issued.",
        hint: "The operator should check client id, secret and region (a wrong region looks like a wrong secret), and that the OAuth client is active.",
        retryable: false,
    },
    CodeEntry {
        code: ErrorCode::UpstreamInvalidResponse,
        spelling: "upstream-invalid-response",
        title: "Genesys Cloud returned an unusable answer",
        cause: "The answer did not come from the platform API or is not usable: an HTML page, broken JSON, a redirect, or an answer that is too large.",
        hint: "Repeat the request. If the problem persists, check for a proxy between the gateway and Genesys Cloud.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::UpstreamRateLimited,
        spelling: "upstream-rate-limited",
        title: "The call budget is spent",
        cause: "Genesys Cloud throttles, or the call budget (genesys.requests_per_minute) has no room for this request before its deadline.",
        hint: "Repeat the request after Retry-After seconds.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::UpstreamUnavailable,
        spelling: "upstream-unavailable",
        title: "Genesys Cloud is unavailable",
        cause: "Genesys Cloud cannot be reached, answers 5xx, or has failed so often recently that the gateway limits its calls.",
        hint: "Repeat the request after Retry-After seconds. `effect` says what may have happened.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::Overloaded,
        spelling: "overloaded",
        title: "Too many requests are in progress",
        cause: "Too many writes are waiting, for this participant or in total, or too many requests are in progress. If `detail` says `for this caller`, the remaining room is reserved for other clients.",
        hint: "Repeat the request after Retry-After seconds. Spread writes over time, or send several keys in one request.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::AuditUnavailable,
        spelling: "audit-unavailable",
        title: "Writes cannot be recorded at the moment",
        cause: "This gateway sends no write without an audit record, and the record could not be written, for example because the disk is full. Nothing was sent.",
        hint: "Repeat the request after Retry-After seconds. If the problem persists, tell the operator of the gateway; /readyz?verbose shows the cause.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::StoreUnavailable,
        spelling: "store-unavailable",
        title: "The store is unavailable",
        cause: "The store of idempotency keys and accepted writes could not be read or written, for example because the disk is full. Nothing was sent. With `effect` `unknown`, a write with `respond-async` may have been stored; then it is carried out.",
        hint: "Repeat the request after Retry-After seconds. If the problem persists, tell the operator of the gateway; /readyz?verbose shows the cause.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::ShuttingDown,
        spelling: "shutting-down",
        title: "The gateway is shutting down",
        cause: "This instance is stopping. It finishes the writes that it has sent and accepts nothing new.",
        hint: "Repeat the request. Another instance, or this one after its restart, will accept it.",
        retryable: true,
    },
    CodeEntry {
        code: ErrorCode::DeadlineExceeded,
        spelling: "deadline-exceeded",
        title: "The deadline has passed",
        cause: "The time of the request (server.deadline, or Prefer: wait) ended before there was an answer. `detail` says what the gateway was waiting for.",
        hint: "If `effect` is unknown, read the attributes. Repeating the same write is safe. Prefer: wait=N allows more time.",
        retryable: true,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_listed_once_and_reads_back() {
        let spellings: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(spellings.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| code.entry().code == *code));
        assert!(ErrorCode::ALL.iter().all(|code| ErrorCode::parse(code.as_str()) == Some(*code)));
        assert_eq!(ErrorCode::parse("no-such-code"), None);
    }
}
