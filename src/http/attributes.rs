//! Handlers for the attributes of a participant, and for one of them.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use super::extract::{ReadCall, WriteCall};
use super::flat::FlatResponse;
use super::idempotency::IdempotencyHeader;
use super::if_match::ConditionHeaders;
use super::operations::OperationBody;
use super::params::{
    AnyParticipantParam, ConversationParam, FormatParam, IfNoneMatchHeader, KeyParam, KeyParams,
    ParticipantParam, ViewParam, WriteParams,
};
use super::paths;
use super::problem::Problem;
use super::responses::{
    AllAttributesResponse, AttributeResponse, AttributesResponse, WriteResponse,
};

/// The attributes to write. Send exactly one of the two members.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `body_parser` reads without building it")]
pub(super) struct WriteRequestBody {
    /// The attributes to set; `""` clears one. Attributes that are not named stay unchanged.
    #[schema(required = false)]
    attributes: BTreeMap<String, String>,
    /// The same object as a JSON string, for clients that can only send strings.
    #[schema(required = false)]
    attributes_json: String,
}

/// Read attributes
///
/// Returns the attributes of one participant, or of all participants, as Genesys Cloud currently shows
/// them.
#[utoipa::path(get, path = paths::ATTRIBUTES, operation_id = "getAttributes", tag = "attributes",
    params(
        ConversationParam, AnyParticipantParam, KeyParams, ViewParam, FormatParam, IfNoneMatchHeader,
    ),
    responses(
        (status = 200, description = "The attributes",
            content((ReadResponse = "application/json"), (String = "text/plain")),
            links(("writeIfUnchanged" = (operation_id = "putAttributes",
                description = "Write, provided that the attributes are unchanged",
                parameters(("conversationId" = "$request.path.conversationId"), ("header.If-Match" = "$response.header.ETag")))))),
        (status = 304, description = "The `ETag` in `If-None-Match` still matches"),
    ))]
pub(super) async fn get_attributes(call: ReadCall) -> Result<Response, Problem> {
    call.answer().await
}

/// Write attributes
///
/// Sets these attributes and leaves all others unchanged. The gateway sends only values that differ. It
/// responds when a read has shown them, or at the deadline. Repeating the request is safe.
#[utoipa::path(put, path = paths::ATTRIBUTES, operation_id = "putAttributes", tag = "attributes",
    params(ConversationParam, ParticipantParam, WriteParams, KeyParams, ViewParam, ConditionHeaders, IdempotencyHeader),
    request_body(content = WriteRequestBody, example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": "gold"}})),
    responses(WriteResponses))]
pub(super) async fn put_attributes(call: WriteCall) -> Result<Response, Problem> {
    call.answer().await
}

/// Write and clear attributes
///
/// Works like `PUT`, except that `null` clears an attribute. The body is a JSON merge patch (RFC 7396) of
/// the document `{"attributes":{…}}`. Attributes that are not named stay unchanged.
#[utoipa::path(patch, path = paths::ATTRIBUTES, operation_id = "patchAttributes", tag = "attributes",
    params(ConversationParam, ParticipantParam, WriteParams, KeyParams, ViewParam, ConditionHeaders, IdempotencyHeader),
    request_body(content(
        (PatchRequestBody = "application/merge-patch+json", example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": null}})),
        (PatchRequestBody = "application/json", example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": null}})),
    )),
    responses(WriteResponses))]
pub(super) async fn patch_attributes(call: WriteCall) -> Result<Response, Problem> {
    call.answer().await
}

/// The attributes to set or clear. Send exactly one of the two members.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `body_parser` reads without building it")]
pub(super) struct PatchRequestBody {
    /// The attributes to set; `null` or `""` clears one. Attributes that are not named stay unchanged.
    #[schema(required = false)]
    attributes: BTreeMap<String, Option<String>>,
    /// The same object as a JSON string, for clients that can only send strings.
    #[schema(required = false)]
    attributes_json: String,
}

/// The attributes of one participant, or of all with `participant=all`; the flat form with `view=flat`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of one operation")]
pub(super) enum ReadResponse {
    One(AttributesResponse),
    All(AllAttributesResponse),
    Flat(FlatResponse),
}

/// The responses to a successful write.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes the responses of several operations")]
pub(super) enum WriteResponses {
    /// Every attribute has the requested value; with `view=flat`, also other results
    #[response(status = 200)]
    Complete(AnyWriteResponse),
    /// Genesys Cloud accepted the write, but no read has shown all of it yet; or, with `Prefer:
    /// respond-async`, the gateway has stored the write
    #[response(status = 202)]
    Unverified(AcceptedResponse),
    /// Every attribute has the requested value, and the client prefers `return=minimal`
    #[response(status = 204)]
    Minimal,
}

/// The result of a write, or an operation with a `Location`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of several operations")]
pub(super) enum AcceptedResponse {
    Unverified(WriteResponse),
    Stored(OperationBody),
}

/// The result of a write; with `view=flat`, the flat form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of several operations")]
pub(super) enum AnyWriteResponse {
    Plain(WriteResponse),
    Flat(FlatResponse),
}

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
#[utoipa::path(get, path = paths::ATTRIBUTE, operation_id = "getAttribute", tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, ViewParam, FormatParam, IfNoneMatchHeader),
    responses(
        (status = 200, description = "The attribute as JSON, or its bare value as text",
            content((AnyAttributeResponse = "application/json"), (String = "text/plain"))),
        (status = 304, description = "The `ETag` in `If-None-Match` still matches"),
    ))]
pub(super) async fn get_attribute(call: ReadCall) -> Result<Response, Problem> {
    call.answer().await
}

/// Write one attribute
///
/// Sets one attribute and leaves all others unchanged. The gateway sends the value only if it differs and
/// reads it back, as for a write of several attributes. An empty value clears the attribute.
#[utoipa::path(put, path = paths::ATTRIBUTE, operation_id = "putAttribute", tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, WriteParams, ViewParam, ConditionHeaders, IdempotencyHeader),
    request_body(content(
        (AttributeRequestBody = "application/json", example = json!({"key": "loyalty_tier", "value": "gold"})),
        (String = "text/plain", example = "gold"),
    )),
    responses(WriteResponses))]
pub(super) async fn put_attribute(call: WriteCall) -> Result<Response, Problem> {
    call.answer().await
}

/// Clear one attribute
///
/// Clears one attribute by writing an empty value; absent and empty are the same state. The outcome is
/// `cleared` once a read shows this state, and `unchanged` if the attribute was already absent or empty.
#[utoipa::path(delete, path = paths::ATTRIBUTE, operation_id = "deleteAttribute", tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, WriteParams, ViewParam, ConditionHeaders, IdempotencyHeader),
    responses(WriteResponses))]
pub(super) async fn delete_attribute(call: WriteCall) -> Result<Response, Problem> {
    call.answer().await
}
