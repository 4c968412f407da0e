//! Parameters that several operations have, described once for the `OpenAPI` document. What takes
//! them out of a request is in `extract`; nothing ever builds these.

#![expect(dead_code, reason = "describes what `extract` reads without building it")]

use utoipa::IntoParams;

/// The conversation that a path is about.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ConversationParam {
    /// Id of the conversation
    #[param(rename = "conversationId", format = "uuid")]
    conversation: String,
}

/// The key that a path is about.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyParam {
    /// The key, percent-encoded (a `/` as `%2F`); taken as it is, neither trimmed nor folded
    #[param(example = "loyalty_tier")]
    key: String,
}

/// Whom an operation is about, where that is one participant.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ParticipantParam {
    /// Whose attributes: a participant's UUID or a purpose (`customer`, `agent`, `first`, …), optionally
    /// with `:first` or `:last`; `customer` if absent
    #[param(example = "customer")]
    participant: Option<String>,
}

/// The flat form.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ViewParam {
    /// `flat`: an answer of one level without arrays, for data actions; keys that are named are members
    /// of it, and whatever a flow has to branch on is told with status 200 and `ok`
    #[param(example = "flat")]
    view: Option<String>,
}

/// The form of an answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FormatParam {
    /// `json` or `text`, whatever is accepted
    #[param(example = "text")]
    format: Option<String>,
}

/// How to go about a write.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct WriteParams {
    /// `none` does not wait for the read-back: keys that were sent are `unverified`
    #[param(example = "none")]
    verify: Option<String>,
    /// Only tell what would be sent
    dry_run: Option<bool>,
    /// Write to a conversation that has ended, too; analytics will not keep it
    allow_ended: Option<bool>,
}

/// Keys that a read is narrowed to.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyFilterParams {
    /// Only these keys, separated by commas
    #[param(example = "crm_customer_id,loyalty_tier")]
    keys: Option<String>,
    /// Only this key, taken as it is; may be repeated and stand beside `keys`
    key: Option<Vec<String>>,
}

/// Keys that are members of a flat answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FlatKeyParams {
    /// With `view=flat`: these keys, separated by commas, as members of their own. In a write also as in
    /// the read whose `ETag` is given in `If-Match`
    #[param(example = "crm_customer_id,loyalty_tier")]
    keys: Option<String>,
    /// The same, one key each
    key: Option<Vec<String>>,
}

/// What a client of a read knows already.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfNoneMatchHeader {
    /// `ETag`s that the client knows
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// What must be true for a write to be made.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct ConditionHeaders {
    /// `ETag`s of a read of the same resource, or `*`: the write is made only if it is still as one of
    /// them says (`*`: if it is there), else 412. A tag that a proxy has weakened (`W/"…"`) counts as the tag
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// `*`: the write is made only if none of its keys is there yet; `ETag`s: only if it is not as one of
    /// them says
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}
