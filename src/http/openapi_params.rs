//! Parameters that several operations share, described once for the `OpenAPI` document. The module
//! `extract` parses them; no code builds these types.

#![expect(dead_code, reason = "describes what `extract` parses")]

use utoipa::IntoParams;

/// The conversation in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ConversationParam {
    /// Id of the conversation
    #[param(rename = "conversationId", format = "uuid")]
    conversation: String,
}

/// The attribute key in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyParam {
    /// The key, percent-encoded (`/` as `%2F`). Keys are compared exactly: case and spaces count
    #[param(example = "loyalty_tier")]
    key: String,
}

/// The participant of an operation on one participant.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ParticipantParam {
    /// The participant: its UUID, or a purpose (`customer`, `agent`, `first`, …), optionally with
    /// `:first` or `:last`. Default: `customer`
    #[param(example = "customer")]
    participant: Option<String>,
}

/// The flat form of a response.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ViewParam {
    /// `flat`: a response of one level without arrays, for data actions. Each named key is a member of
    /// it. Every outcome that a flow handles has status 200, with `ok` and `code`
    #[param(example = "flat")]
    view: Option<String>,
}

/// The format of a response.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FormatParam {
    /// `json` or `text`. Overrides the `Accept` header
    #[param(example = "text")]
    format: Option<String>,
}

/// Options of a write.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(super) struct WriteParams {
    /// `none`: do not wait for the read-back. The outcome of keys that were sent is then `unverified`
    #[param(example = "none")]
    verify: Option<String>,
    /// Only report what would be sent
    dry_run: Option<bool>,
    /// Also write if the conversation has ended. Analytics does not keep such a write
    allow_ended: Option<bool>,
}

/// Keys that limit a read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyFilterParams {
    /// Return only these keys, separated by commas
    #[param(example = "crm_customer_id,loyalty_tier")]
    keys: Option<String>,
    /// Return only this key, which may contain commas. Can be repeated, and combined with `keys`
    key: Option<Vec<String>>,
}

/// Keys that are members of a flat response.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FlatKeyParams {
    /// With `view=flat`: include these keys, separated by commas, as members. In a write with `If-Match`:
    /// the keys of the read that returned the `ETag`
    #[param(example = "crm_customer_id,loyalty_tier")]
    keys: Option<String>,
    /// As `keys`, but a single key, which may contain commas. Can be repeated
    key: Option<Vec<String>>,
}

/// Entity tags of responses that a client has stored.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfNoneMatchHeader {
    /// `ETag`s of responses that the client has stored. If one still matches, the response is 304
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// Preconditions of a write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct ConditionHeaders {
    /// `ETag`s of earlier reads of the same resource, or `*`. The gateway writes only if one of them
    /// still matches (`*`: if an attribute exists), and returns 412 otherwise. A tag that a proxy
    /// weakened (`W/"…"`) counts as the original tag
    #[param(rename = "If-Match")]
    if_match: Option<String>,
    /// `*`: write only if none of the keys exists yet. `ETag`s: write only if none of them matches
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}
