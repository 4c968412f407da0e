//! What lies behind each code, for the pages that explain them.

use super::Code;

impl Code {
    /// What has happened when a request is answered with this code, for a person.
    #[expect(clippy::too_many_lines, reason = "one sentence a code")]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::InvalidConversationId => {
                "The path names a conversation by something that is not a UUID. Nothing was asked of Genesys Cloud."
            }
            Self::InvalidParticipant => {
                "`participant` holds something that names nobody: no UUID, no word of letters, or a word that this request cannot use."
            }
            Self::InvalidJson => {
                "The body is not UTF-8, not JSON, breaks off before its end, or is not of the form that the request takes."
            }
            Self::InvalidQuery => {
                "The query string has parameters that are unknown, doubled, empty or contradicting, or values that cannot be used. All of them are listed."
            }
            Self::InvalidHeader => {
                "A header that decides what the request does cannot be understood; ignoring it would do something else than was asked for."
            }
            Self::Unauthenticated => {
                "The gateway answers known callers only, and the request shows no credential, one that is nobody's, or two that are not one caller's. Which of them was wrong is not told."
            }
            Self::AttributeNotAllowed => {
                "The request names keys that this caller may neither read nor write: none of its `allow` patterns fits, or one in `deny` or `hide` does. It is the same whether there is such a key or not. Nothing was sent."
            }
            Self::ParticipantNotAllowed => {
                "The caller may use only the selectors in its `participants`, and this is none of them, or names somebody whom none of them means."
            }
            Self::ReadOnlyClient => {
                "The caller is configured with `access = \"read\"`. Nothing was sent."
            }
            Self::NotFound => {
                "The path leads nowhere: it is misspelt, or belongs to another version."
            }
            Self::ConversationNotFound => {
                "Genesys Cloud answered 404. It does so too for conversations that exist in another region, or in a division that the OAuth client may not see."
            }
            Self::ParticipantNotFound => {
                "The conversation exists, but no participant in it has the purpose or id of the request. `purposes` lists those that it has. Or Genesys Cloud answered 404 to the write, because the participant has left."
            }
            Self::AttributeNotFound => {
                "The participant is there, but has no attribute of this name, or an empty one, which is the same. Names are case-sensitive."
            }
            Self::MethodNotAllowed => "The path exists, but not with the method of the request.",
            Self::NotAcceptable => {
                "The Accept header excludes every form in which the answer could be given."
            }
            Self::RequestTimeout => {
                "The body of the request did not arrive in the time that is allowed for it."
            }
            Self::AmbiguousParticipant => {
                "More than one participant who is live bears this purpose, as in a consultation or a conference. The gateway never guesses; `candidates` lists them."
            }
            Self::ConversationEnded => {
                "The call is over. Genesys Cloud may still accept the write, but analytics will not keep it, so it is not made unasked."
            }
            Self::WriteSuperseded => {
                "The write was accepted, and then another value stood in its place: a flow, a script, an agent or another caller wrote the same key. The gateway does not fight over values."
            }
            Self::UpstreamConflict => {
                "Genesys Cloud answered 409 to the write again and again, although the gateway read anew before each try."
            }
            Self::PreconditionFailed => {
                "The attributes have changed since the read whose ETag stands in If-Match, or a key that had to be absent is there. Nothing was written."
            }
            Self::PreconditionRequired => {
                "This gateway is configured to take no write without a condition, so that nobody overwrites what they have not seen."
            }
            Self::ClientRateLimited => {
                "The caller has made more requests than its `requests_per_minute` allows; a tenth of that number may come at once. Other callers are not affected."
            }
            Self::BodyTooLarge => {
                "The body of the request is longer than limits.body_bytes allows."
            }
            Self::UnsupportedMediaType => {
                "The Content-Type, its charset or a Content-Encoding is none that this request takes."
            }
            Self::InvalidAttributes => {
                "The body is JSON, but not a map of strings: a value of another type, an empty key, a key that stands twice, or an unknown member. All mistakes are listed."
            }
            Self::AttributesTooLarge => {
                "All attributes of the participant together, as they would be after the write, exceed the limit; or Genesys Cloud itself refused the write for its size."
            }
            Self::Internal => {
                "Something happened that the gateway was not written for. What it was stands in its log, under the request id."
            }
            Self::UpstreamRejected => {
                "Genesys Cloud refused the request with a status that repeating does not change. `upstream` has its status, code and words."
            }
            Self::UpstreamForbidden => {
                "Genesys Cloud answered 403: the roles of the OAuth client do not cover this, or not in the division of the conversation."
            }
            Self::UpstreamAuthFailed => {
                "No token could be fetched with the configured credentials, or the API refused a token that was just issued."
            }
            Self::UpstreamInvalidResponse => {
                "What came back is not the platform speaking: a page of HTML, broken JSON, a redirect, or an answer that is too large."
            }
            Self::UpstreamRateLimited => {
                "Genesys Cloud throttles, or the budget of calls (genesys.requests_per_minute) has no room for this request before its deadline. Nothing was sent in vain."
            }
            Self::UpstreamUnavailable => {
                "Genesys Cloud cannot be reached, answers 5xx, or has failed so often lately that calls are held back for a moment."
            }
            Self::Overloaded => {
                "More writes wait than the gateway keeps waiting, for this participant or altogether, or more requests are under way than it takes. `for this caller` in `detail`: there is room, but what is left is for other callers."
            }
            Self::AuditUnavailable => {
                "This gateway sends no write that it has not recorded, and the record could not be written: the disk is full, say. Nothing was sent."
            }
            Self::ShuttingDown => {
                "This instance was told to stop. It finishes what was sent, and takes nothing new."
            }
            Self::DeadlineExceeded => {
                "The time of the request (server.deadline, or Prefer: wait) was over before there was an answer; `detail` says what was waited for."
            }
        }
    }
}
