//! The documented parameters of requests, as they are parsed.

use std::collections::HashSet;

use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, Uri};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use super::etag::EtagScope;
use super::if_match::EntityTags;
use super::negotiate::ResponseFormat;
use super::paths::{self, decoded_step};
use super::problem::Problem;
use super::query::contradiction;
use super::violations::shortened;
use crate::domain::{ConversationId, ParticipantSelector, Violation};
use crate::error::ErrorCode;

/// The conversation in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ConversationParam {
    /// Id of the conversation
    #[param(rename = "conversationId", value_type = String, format = "uuid")]
    pub conversation: ConversationId,
}

/// The attribute key in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct KeyParam {
    /// The key, percent-encoded (`/` as `%2F`). Keys are compared exactly: case and spaces count
    #[param(example = "loyalty_tier", pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
    pub key: String,
}

/// The participant of an operation on one participant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct ParticipantParam {
    /// The participant: its UUID, or a purpose (`customer`, `agent`, `first`, …), optionally with
    /// `:first` or `:last`. Default: `customer`
    #[serde(deserialize_with = "one_participant")]
    #[param(value_type = Option<String>, example = "customer", pattern = r"^(?![aA][lL]{2}(:|$)|[fF][iI][rR][sS][tT]:)([A-Za-z]{1,40}(:(first|last))?|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$")]
    pub participant: Option<ParticipantSelector>,
}

/// The participant of a read, or all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct AnyParticipantParam {
    /// The participant: a UUID, `all`, `first`, or a purpose such as `customer` or `agent`, optionally with
    /// `:first` or `:last`; default `customer`
    #[serde(deserialize_with = "any_participant")]
    #[param(value_type = Option<String>, example = "customer", pattern = r"^(?!([aA][lL]{2}|[fF][iI][rR][sS][tT]):)([A-Za-z]{1,40}(:(first|last))?|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$")]
    pub participant: Option<ParticipantSelector>,
}

/// The flat form of a response.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct ViewParam {
    /// `flat`: a response of one level without arrays, for data actions. Each named key is a member of
    /// it. Every outcome that a flow handles has status 200, with `ok` and `code`
    #[param(inline)]
    pub view: Option<ViewName>,
}

/// The views besides the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ViewName {
    Flat,
}

/// The format of a response.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct FormatParam {
    /// `json` or `text`. Overrides the `Accept` header
    #[param(inline)]
    pub format: Option<ResponseFormat>,
}

/// Options of a write.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct WriteParams {
    /// `none`: do not wait for the read-back. The outcome of keys that were sent is then `unverified`
    #[param(inline)]
    pub verify: Option<VerifyName>,
    /// Only report what would be sent
    #[param(required = false)]
    pub dry_run: bool,
    /// Also write if the conversation has ended. Analytics does not keep such a write
    #[param(required = false)]
    pub allow_ended: bool,
}

/// The ways to verify a write besides the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum VerifyName {
    None,
}

/// Keys of a read or a write.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct KeyParams {
    /// Keys, separated by commas. A read returns only these. With `view=flat`, they are members of the
    /// response. In a write with `If-Match`: the keys of the read that returned the `ETag`
    #[serde(deserialize_with = "key_list")]
    #[param(value_type = Option<String>, pattern = "^[^,]+(,[^,]+)*$")]
    keys: Vec<String>,
    /// As `keys`, but a single key, which may contain commas. Can be repeated, and combined with `keys`
    #[param(inline, value_type = Option<Vec<KeyName>>)]
    key: Vec<String>,
}

/// An attribute key.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1)]
#[expect(dead_code, reason = "a length that `Vec<String>` cannot express")]
pub(super) struct KeyName(String);

/// Entity tags of responses that a client has stored.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct IfNoneMatchHeader {
    /// `ETag`s of responses that the client has stored. If one still matches, the response is 304
    #[param(rename = "If-None-Match", required = false, value_type = String)]
    pub if_none_match: Option<EntityTags>,
}

impl ConversationParam {
    pub(super) fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let conversation = paths::conversation_of(uri.path()).ok_or_else(|| {
            let mistake = Violation::new("conversationId", "is not a UUID of the form 8-4-4-4-12");
            Problem::listing(ErrorCode::InvalidConversationId, mistake)
        })?;
        Ok(Self { conversation })
    }
}

impl KeyParam {
    /// The key, if the path has one. No route matches an empty key.
    pub(super) fn from_uri(uri: &Uri) -> Result<Option<Self>, Problem> {
        let Some(step) = paths::key_of(uri.path()) else { return Ok(None) };
        let key = decoded_step(step).ok_or_else(|| {
            let mistake = Violation::new("key", "is not percent-encoded UTF-8");
            Problem::listing(ErrorCode::InvalidAttributes, mistake)
        })?;
        Ok(Some(Self { key }))
    }
}

impl ViewParam {
    pub(super) fn is_flat(&self) -> bool {
        self.view == Some(ViewName::Flat)
    }

    /// Refuses a text format for the flat form, which is JSON.
    pub(super) fn check_format(&self, format: &FormatParam) -> Result<(), Problem> {
        if self.is_flat() && format.format == Some(ResponseFormat::Text) {
            return Err(contradiction("format", "`text` contradicts view=flat, which is JSON"));
        }
        Ok(())
    }
}

impl KeyParams {
    /// The keys, without duplicates; `None` if there are none.
    pub(super) fn named(mut self) -> Option<Vec<String>> {
        self.key.append(&mut self.keys);
        if self.key.len() > 1 {
            let mut named = HashSet::with_capacity(self.key.len());
            self.key.retain(|key| named.insert(key.clone()));
        }
        (!self.key.is_empty()).then_some(self.key)
    }

    pub(super) fn scope(self) -> EtagScope {
        self.named().map_or(EtagScope::Whole, EtagScope::Narrowed)
    }
}

impl IfNoneMatchHeader {
    /// The header of a read. An invalid one matches nothing.
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let tags = EntityTags::from_headers(headers, &IF_NONE_MATCH);
        Self { if_none_match: tags.unwrap_or_default() }
    }

    /// Whether the client has stored the response with this tag.
    pub(super) fn matches(&self, tag: &str) -> bool {
        self.if_none_match.as_ref().is_some_and(|tags| tags.name(tag))
    }
}

type MaybeSelector = Option<ParticipantSelector>;

fn any_participant<'de, D: Deserializer<'de>>(value: D) -> Result<MaybeSelector, D::Error> {
    let value = String::deserialize(value)?;
    let parsed = value.parse().map(Some);
    parsed.map_err(|invalid| D::Error::custom(format!("`{}` is {invalid}", shortened(&value))))
}

fn one_participant<'de, D: Deserializer<'de>>(value: D) -> Result<MaybeSelector, D::Error> {
    let selector = any_participant(value)?;
    if selector.as_ref().is_some_and(ParticipantSelector::is_all) {
        let detail = "`all` does not name one participant; this request needs one";
        return Err(D::Error::custom(detail));
    }
    Ok(selector)
}

fn key_list<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let keys: Vec<_> = String::deserialize(value)?.split(',').map(str::to_owned).collect();
    if keys.iter().any(String::is_empty) {
        return Err(D::Error::custom("names an empty key"));
    }
    Ok(keys)
}
