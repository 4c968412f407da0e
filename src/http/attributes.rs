//! Handlers for the attributes of a participant: `GET`, `PUT` and `PATCH`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{ReadArgs, WriteArgs};
use super::flat::FlatResponse;
use super::openapi_params::{
    ConditionHeaders, ConversationParam, FlatKeyParams, FormatParam, IfNoneMatchHeader,
    KeyFilterParams, ParticipantParam, ViewParam, WriteParams,
};
use super::paths;
use super::problem::Problem;
use super::responses::{AllAttributesResponse, AttributesResponse, WriteResponse};
use super::state::HttpSettings;
use crate::app::App;

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
#[utoipa::path(
    get,
    path = paths::ATTRIBUTES,
    operation_id = "getAttributes",
    tag = "attributes",
    params(
        ConversationParam,
        ("participant" = Option<String>, Query, example = "customer",
            description = "The participant: a UUID, `all`, `first`, or a purpose such as `customer` or `agent`, optionally with `:first` or `:last`; default `customer`"),
        KeyFilterParams, ViewParam, FormatParam, IfNoneMatchHeader,
    ),
    responses(
        (status = 200, description = "The attributes", content(
            (ReadResponse = "application/json"), (String = "text/plain"),
        )),
        (status = 304, description = "The attributes still match the `ETag` in `If-None-Match`"),
    )
)]
pub(super) async fn get_attributes(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: ReadArgs,
) -> Result<Response, Problem> {
    let reading = app.read(call.request).await?;
    call.view.respond(reading, &settings)
}

/// Write attributes
///
/// Sets these attributes and leaves all others unchanged. The gateway sends only values that differ. It
/// responds when a read has shown them, or at the deadline. Repeating the request is safe.
#[utoipa::path(
    put,
    path = paths::ATTRIBUTES,
    operation_id = "putAttributes",
    tag = "attributes",
    params(ConversationParam, ParticipantParam, WriteParams, FlatKeyParams, ViewParam, ConditionHeaders),
    request_body(content = WriteRequestBody, example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": "gold"}})),
    responses(
        (status = 200, body = AnyWriteResponse, description = "Every attribute has the requested value; with `view=flat`, also other results"),
        (status = 202, body = WriteResponse, description = "Genesys Cloud accepted the write, but no read has shown all of it yet"),
        (status = 204, description = "Every attribute has the requested value, and the client prefers `return=minimal`"),
    )
)]
pub(super) async fn put_attributes(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: WriteArgs,
) -> Result<Response, Problem> {
    write(&app, call, &settings).await
}

/// Write and clear attributes
///
/// Works like `PUT`, except that `null` clears an attribute. The body is a JSON merge patch (RFC 7396) of
/// the document `{"attributes":{…}}`. Attributes that are not named stay unchanged.
#[utoipa::path(
    patch,
    path = paths::ATTRIBUTES,
    operation_id = "patchAttributes",
    tag = "attributes",
    params(ConversationParam, ParticipantParam, WriteParams, FlatKeyParams, ViewParam, ConditionHeaders),
    request_body(content(
        (PatchRequestBody = "application/merge-patch+json", example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": null}})),
        (PatchRequestBody = "application/json", example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": null}})),
    )),
    responses(
        (status = 200, body = AnyWriteResponse, description = "Every attribute has the requested value; with `view=flat`, also other results"),
        (status = 202, body = WriteResponse, description = "Genesys Cloud accepted the write, but no read has shown all of it yet"),
        (status = 204, description = "Every attribute has the requested value, and the client prefers `return=minimal`"),
    )
)]
pub(super) async fn patch_attributes(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: WriteArgs,
) -> Result<Response, Problem> {
    write(&app, call, &settings).await
}

/// Carries out a write; all write handlers call it.
pub(super) async fn write(
    app: &App,
    call: WriteArgs,
    settings: &HttpSettings,
) -> Result<Response, Problem> {
    let context = call.request.context.clone();
    let report = app.write(call.request).await?;
    call.view.respond(report, context.calls(), settings)
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

/// The result of a write; with `view=flat`, the flat form.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the responses of one operation")]
pub(super) enum AnyWriteResponse {
    Plain(WriteResponse),
    Flat(FlatResponse),
}
