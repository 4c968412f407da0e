//! Handlers for one attribute of a participant: `GET`, `PUT` and `DELETE`.

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::attributes::WriteResponses;
use super::extract::{ReadCall, WriteCall};
use super::flat::FlatResponse;
use super::idempotency::IdempotencyHeader;
use super::if_match::ConditionHeaders;
use super::params::{
    ConversationParam, FormatParam, IfNoneMatchHeader, KeyParam, ParticipantParam, ViewParam,
    WriteParams,
};
use super::paths;
use super::problem::Problem;
use super::responses::AttributeResponse;

/// The value to write. The path names the key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `body_parser` reads without building it")]
pub(super) struct AttributeRequestBody {
    /// Optional; if present, it must be the key in the path.
    #[schema(required = false)]
    key: String,
    /// The value; `""` clears the attribute.
    value: String,
}

/// The attribute; with `view=flat`, the flat form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of one operation")]
enum AnyAttributeResponse {
    Plain(AttributeResponse),
    Flat(FlatResponse),
}

/// Read one attribute
///
/// Returns one attribute of one participant as Genesys Cloud currently shows it. If the attribute is
/// absent or empty, the response is 404. The `ETag` covers only this key.
#[utoipa::path(
    get,
    path = paths::ATTRIBUTE,
    operation_id = "getAttribute",
    tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, ViewParam, FormatParam, IfNoneMatchHeader),
    responses(
        (status = 200, description = "The attribute as JSON, or its bare value as text",
            content((AnyAttributeResponse = "application/json"), (String = "text/plain"))),
        (status = 304, description = "The `ETag` in `If-None-Match` still matches"),
    )
)]
pub(super) async fn get_attribute(call: ReadCall) -> Result<Response, Problem> {
    call.answer().await
}

/// Write one attribute
///
/// Sets one attribute and leaves all others unchanged. The gateway sends the value only if it differs and
/// reads it back, as for a write of several attributes. An empty value clears the attribute.
#[utoipa::path(
    put,
    path = paths::ATTRIBUTE,
    operation_id = "putAttribute",
    tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, WriteParams, ViewParam, ConditionHeaders, IdempotencyHeader),
    request_body(content(
        (AttributeRequestBody = "application/json", example = json!({"key": "loyalty_tier", "value": "gold"})),
        (String = "text/plain", example = "gold"),
    )),
    responses(WriteResponses)
)]
pub(super) async fn put_attribute(call: WriteCall) -> Result<Response, Problem> {
    call.answer().await
}

/// Clear one attribute
///
/// Clears one attribute by writing an empty value; absent and empty are the same state. The outcome is
/// `cleared` once a read shows this state, and `unchanged` if the attribute was already absent or empty.
#[utoipa::path(
    delete,
    path = paths::ATTRIBUTE,
    operation_id = "deleteAttribute",
    tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, WriteParams, ViewParam, ConditionHeaders, IdempotencyHeader),
    responses(WriteResponses)
)]
pub(super) async fn delete_attribute(call: WriteCall) -> Result<Response, Problem> {
    call.answer().await
}
