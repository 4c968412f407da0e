//! The catalogue of error codes: spelling, title, cause, hint and whether repeating can help.
//!
//! `docs/errors.md`, the pages at `/problems/{code}` and the examples in `openapi.yaml` are
//! generated from it.

/// Defines the codes and their catalogue, so that no code lacks a row. A row is: variant, spelling and
/// whether repeating the same request unchanged can succeed; title; cause; hint.
macro_rules! error_codes {
    ($($code:ident $spelling:literal $retryable:literal $title:literal $cause:literal $hint:literal)*) => {
        /// A stable, machine-readable name of an error. Codes are never renamed within v1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $(#[doc = $title] $code,)*
        }

        impl ErrorCode {
            /// Every code, ordered by status and then by meaning. Generated tables keep this order.
            pub const ALL: [Self; CATALOGUE.len()] = [$(Self::$code),*];
        }

        /// A row for each code, in the order of the variants.
        static CATALOGUE: [CodeEntry; [$(ErrorCode::$code),*].len()] = [$(CodeEntry {
            spelling: $spelling,
            title: $title,
            cause: $cause,
            hint: $hint,
            retryable: $retryable,
        }),*];
    };
}

/// A row of the catalogue.
struct CodeEntry {
    spelling: &'static str,
    title: &'static str,
    cause: &'static str,
    hint: &'static str,
    retryable: bool,
}

impl ErrorCode {
    /// The rows are in the order of the variants.
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

error_codes! {
    InvalidConversationId "invalid-conversation-id" false
        "The conversation id is not a UUID"
        "The conversation id in the path is not a UUID. Genesys Cloud was not called."
        "Use the conversation id as Genesys Cloud shows it: 8-4-4-4-12 hexadecimal digits."
    InvalidParticipant "invalid-participant" false
        "The participant selector is invalid"
        "`participant` is neither a UUID nor a word of letters, or it is a word that this request does not support."
        "Use a participant's UUID, or a purpose such as customer or agent, optionally with :first or :last."
    InvalidJson "invalid-json" false
        "The body is not the expected JSON"
        "The body is not UTF-8, is not JSON, is incomplete, or does not have the form that this request expects."
        "Send one JSON object. A write looks like this: {\"attributes\": {\"key\": \"value\"}}. `errors` names the position."
    InvalidQuery "invalid-query" false
        "The query string is invalid"
        "The query string contains parameters that are unknown, repeated, empty or contradictory, or values that are not valid. All of them are listed."
        "Correct the parameters listed in `errors`. Send each parameter once."
    InvalidHeader "invalid-header" false
        "A request header is invalid"
        "A header that changes what the request does is not valid. If the gateway ignored it, the result would not be what you asked for."
        "Correct the headers listed in `errors`."
    Unauthenticated "unauthenticated" false
        "The client is not authenticated"
        "The request has no credential, an unknown one, or credentials of two different clients. For security, the answer does not say which."
        "Send your key as Authorization: Bearer, as X-API-Key, or as the password of HTTP Basic. The operator of the gateway issues keys."
    AttributeNotAllowed "attribute-not-allowed" false
        "The client may not use these keys"
        "The request names keys that this client may neither read nor write: no `allow` pattern matches, or a `deny` or `hide` pattern does. The answer is the same whether the key exists or not. Nothing was sent."
        "Remove the keys listed in `errors`, or ask the operator of the gateway to allow them for this client."
    ParticipantNotAllowed "participant-not-allowed" false
        "The client may not use this participant"
        "The client may only use the selectors in its `participants`. This selector is not one of them, or it leads to a participant that none of them includes."
        "Use a participant that this client may use, or ask the operator of the gateway to extend its `participants`."
    ReadOnlyClient "read-only-client" false
        "The client may only read"
        "The client is configured with `access = \"read\"`. Nothing was sent."
        "Use the key of a client that may write, or ask the operator of the gateway for `access = \"write\"`."
    OperateNotAllowed "operate-not-allowed" false
        "The client may not operate the gateway"
        "The live view and the trace of a call are for operators. The client is not configured with `operate = true`, or no client is configured and the request came from another machine."
        "Use the key of a client with `operate = true`. Without configured clients, send the request from the machine of the gateway."
    NotFound "not-found" false
        "There is nothing at this path"
        "The path does not exist. It is misspelt, or it belongs to another version."
        "See /openapi.yaml for the paths of this service."
    ConversationNotFound "conversation-not-found" false
        "The conversation was not found"
        "Genesys Cloud answered 404. It also does so for conversations in another region, or in a division that the OAuth client may not see."
        "Check the id and the region. The role of the OAuth client must cover the division of the conversation."
    ParticipantNotFound "participant-not-found" false
        "The participant was not found"
        "The conversation exists, but no participant in it has the purpose or id of the request. `purposes` lists those that it has. Or Genesys Cloud answered 404 to the write, because the participant has left."
        "Use one of the purposes listed in `purposes`, or a participant's UUID, in `participant=`."
    AttributeNotFound "attribute-not-found" false
        "The attribute was not found"
        "The participant has no attribute with this name, or an empty one, which is the same. Names are case-sensitive."
        "Read all attributes to see which keys exist. Keys are case-sensitive, and an empty attribute counts as absent."
    OperationNotFound "operation-not-found" false
        "The operation was not found"
        "No operation of this client has this id. Finished operations are kept for an hour, and another client cannot see them."
        "Use the Location of the 202, with the key of the same client, within an hour."
    MethodNotAllowed "method-not-allowed" false
        "This path does not support the method"
        "The path exists, but not with the method of the request."
        "Use one of the methods in the Allow header."
    NotAcceptable "not-acceptable" false
        "No available format matches the Accept header"
        "The Accept header excludes every format in which the gateway could answer."
        "Accept application/json or */*. Some answers are also available as text/plain."
    RequestTimeout "request-timeout" true
        "The request arrived too slowly"
        "The body of the request did not arrive within server.body_timeout."
        "Send the whole request without long pauses, then repeat it."
    AmbiguousParticipant "ambiguous-participant" false
        "Several live participants match"
        "More than one live participant has this purpose, for example in a consultation or a conference. The gateway does not guess. `candidates` lists them."
        "Use the id of one of the `candidates` in `participant=`, or add :first or :last to the purpose."
    ConversationEnded "conversation-ended" false
        "The conversation has ended"
        "The conversation has ended. Genesys Cloud may still accept the write, but analytics will not keep it, so the gateway does not send it unless you ask for it."
        "Add allowEnded=true to write anyway. Analytics will not keep the value."
    WriteSuperseded "write-superseded" false
        "Another writer replaced the value"
        "Genesys Cloud accepted the write, and then another value replaced it: a flow, a script, an agent or another client wrote the same key. The gateway does not write again."
        "Look at `attributes` and `outcomes`, decide which value is right, and write again only if it is yours."
    UpstreamConflict "upstream-conflict" true
        "Genesys Cloud keeps reporting a conflict"
        "Genesys Cloud answered 409 to every attempt of the write, although the gateway read the attributes again before each one."
        "Repeat the request. If the problem persists, give the correlation id to Genesys support."
    OperationInProgress "operation-in-progress" true
        "The operation is in progress"
        "A request with the same idempotency key is still being carried out, or the operation to cancel was sent already."
        "Repeat the request with the same key after Retry-After seconds, or read the operation."
    PreconditionFailed "precondition-failed" false
        "The attributes do not match the condition"
        "The attributes have changed since the read whose ETag is in If-Match, or a key that had to be absent exists. Nothing was written."
        "Read the attributes again, decide again, and write with the ETag of that read."
    BodyTooLarge "body-too-large" false
        "The body is too large"
        "The body of the request is larger than limits.body_bytes allows."
        "Send fewer or shorter attributes. Only those that change are needed."
    UnsupportedMediaType "unsupported-media-type" false
        "The content type is not supported"
        "This request does not support the Content-Type, its charset, or the Content-Encoding."
        "Send Content-Type: application/json. A PATCH can also be application/merge-patch+json, and a single attribute text/plain."
    InvalidAttributes "invalid-attributes" false
        "The attributes are invalid"
        "The body is JSON, but not a map of strings: it has a value of another type, an empty key, a repeated key or an unknown member. All mistakes are listed."
        "Keys and values must be strings, and each key can appear once. `errors` lists each mistake."
    AttributesTooLarge "attributes-too-large" false
        "The attributes would be too large"
        "After the write, the attributes of the participant together would exceed the limit, or Genesys Cloud itself refused the write for its size."
        "Shorten or clear some of the largest keys (listed), or store a reference instead of the data."
    IdempotencyKeyReused "idempotency-key-reused" false
        "The idempotency key belongs to another body"
        "The client used this Idempotency-Key before, for the same method, path and query, but with other attributes. Nothing was sent."
        "Use a new key for each new write, and the same key only to repeat one."
    PreconditionRequired "precondition-required" false
        "The write needs a condition"
        "This gateway is configured to accept conditional writes only, so that no client overwrites a change that it has not seen."
        "Read the attributes first, and send the ETag of that read as If-Match."
    ClientRateLimited "client-rate-limited" true
        "The client exceeded its own rate"
        "The client has sent more requests than its `requests_per_minute` allows. A tenth of that number can arrive at once. Other clients are not affected."
        "Repeat the request after Retry-After seconds. Spread requests over time, or send several keys in one request."
    Internal "internal" false
        "The gateway has a defect"
        "An unexpected error occurred. The log of the gateway has the details under the request id."
        "Report the request id to the operator of the gateway. Look at `effect` before you repeat the request."
    UpstreamRejected "upstream-rejected" false
        "Genesys Cloud rejected the request"
        "Genesys Cloud rejected the request with a status that repeating does not change. `upstream` has its status, code and message."
        "The message is Genesys Cloud's own. Look up its code, or give the correlation id to Genesys support."
    UpstreamForbidden "upstream-forbidden" false
        "The OAuth client lacks a permission"
        "Genesys Cloud answered 403: the roles of the OAuth client do not cover this request, or not in the division of the conversation."
        "Give the OAuth client a role with the permission named, for the division of the conversation."
    UpstreamAuthFailed "upstream-auth-failed" false
        "Genesys Cloud refused the credentials"
        "The gateway could not fetch a token with its credentials, or the platform refused a token that it had just issued."
        "The operator should check client id, secret and region (a wrong region looks like a wrong secret), and that the OAuth client is active."
    UpstreamInvalidResponse "upstream-invalid-response" true
        "Genesys Cloud returned an unusable answer"
        "The answer did not come from the platform API or is not usable: an HTML page, broken JSON, a redirect, or an answer that is too large."
        "Repeat the request. If the problem persists, check for a proxy between the gateway and Genesys Cloud."
    UpstreamRateLimited "upstream-rate-limited" true
        "The call budget is spent"
        "Genesys Cloud throttles, or the call budget (genesys.requests_per_minute) has no room for this request before its deadline."
        "Repeat the request after Retry-After seconds."
    UpstreamUnavailable "upstream-unavailable" true
        "Genesys Cloud is unavailable"
        "Genesys Cloud cannot be reached, answers 5xx, or has failed so often recently that the gateway limits its calls."
        "Repeat the request after Retry-After seconds. `effect` says what may have happened."
    Overloaded "overloaded" true
        "Too many requests are in progress"
        "Too many writes are waiting, for this participant or in total, or too many requests are in progress. If `detail` says `for this caller`, the remaining room is reserved for other clients."
        "Repeat the request after Retry-After seconds. Spread writes over time, or send several keys in one request."
    AuditUnavailable "audit-unavailable" true
        "Writes cannot be recorded at the moment"
        "This gateway sends no write without an audit record, and the record could not be written, for example because the disk is full. Nothing was sent."
        "Repeat the request after Retry-After seconds. If the problem persists, tell the operator of the gateway; /readyz?verbose shows the cause."
    StoreUnavailable "store-unavailable" true
        "The store is unavailable"
        "The store of idempotency keys and accepted writes could not be read or written, for example because the disk is full. Nothing was sent. With `effect` `unknown`, a write with `respond-async` may have been stored; then it is carried out."
        "Repeat the request after Retry-After seconds. If the problem persists, tell the operator of the gateway; /readyz?verbose shows the cause."
    ShuttingDown "shutting-down" true
        "The gateway is shutting down"
        "This instance is stopping. It finishes the writes that it has sent and accepts nothing new."
        "Repeat the request. Another instance, or this one after its restart, will accept it."
    DeadlineExceeded "deadline-exceeded" true
        "The deadline has passed"
        "The time of the request (server.deadline, or Prefer: wait) ended before there was an answer. `detail` says what the gateway was waiting for."
        "If `effect` is unknown, read the attributes. Repeating the same write is safe. Prefer: wait=N allows more time."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_listed_once_and_reads_back() {
        let spellings: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(spellings.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().enumerate().all(|(row, code)| row == *code as usize));
        assert!(ErrorCode::ALL.iter().all(|code| ErrorCode::parse(code.as_str()) == Some(*code)));
        assert_eq!(ErrorCode::parse("no-such-code"), None);
    }
}
