//! The attributes of a participant: `GET`, `PUT` and `PATCH`.

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

/// What a write wants. One of the two members has to be there.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `wire` reads without building it")]
pub(super) struct WriteRequestBody {
    /// The keys to write; `""` clears one. Keys that are not named stay as they are.
    #[schema(required = false)]
    attributes: BTreeMap<String, String>,
    /// The same object as text, for clients that can only send strings.
    #[schema(required = false)]
    attributes_json: String,
}

/// Read attributes
///
/// Reads the attributes of one participant, fresh from Genesys Cloud, or those of all.
#[utoipa::path(
    get,
    path = paths::ATTRIBUTES,
    operation_id = "getAttributes",
    tag = "attributes",
    params(
        ConversationParam,
        ("participant" = Option<String>, Query, example = "customer",
            description = "Whose attributes: a participant's UUID, `all`, or a purpose (`customer`, `agent`, `first`, …), optionally with `:first` or `:last`; `customer` if absent"),
        KeyFilterParams, ViewParam, FormatParam, IfNoneMatchHeader,
    ),
    responses(
        (status = 200, description = "The attributes", content(
            (ReadResponse = "application/json"), (String = "text/plain"),
        )),
        (status = 304, description = "They are as the caller knows them"),
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
/// Makes sure that these keys hold these values; other keys stay. Only keys that differ are sent,
/// and the answer comes after they were read back, or at the deadline. Repeating it is safe.
#[utoipa::path(
    put,
    path = paths::ATTRIBUTES,
    operation_id = "putAttributes",
    tag = "attributes",
    params(ConversationParam, ParticipantParam, WriteParams, FlatKeyParams, ViewParam, ConditionHeaders),
    request_body(content = WriteRequestBody, example = json!({"attributes": {"crm_customer_id": "CRM-998877", "loyalty_tier": "gold"}})),
    responses(
        (status = 200, body = AnyWriteResponse, description = "Every key holds its value; or, with `view=flat`, whatever became of it"),
        (status = 202, body = WriteResponse, description = "Genesys Cloud accepted the write; no read showed all of it yet"),
        (status = 204, description = "Every key holds its value, and the caller prefers `return=minimal`"),
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
/// As `PUT`, and `null` clears a key: a merge patch (RFC 7396) of the document
/// `{"attributes":{…}}`. A key that is not named stays as it is.
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
        (status = 200, body = AnyWriteResponse, description = "Every key holds its value; or, with `view=flat`, whatever became of it"),
        (status = 202, body = WriteResponse, description = "Genesys Cloud accepted the write; no read showed all of it yet"),
        (status = 204, description = "Every key holds its value, and the caller prefers `return=minimal`"),
    )
)]
pub(super) async fn patch_attributes(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: WriteArgs,
) -> Result<Response, Problem> {
    write(&app, call, &settings).await
}

/// What all writes come to.
pub(super) async fn write(
    app: &App,
    call: WriteArgs,
    settings: &HttpSettings,
) -> Result<Response, Problem> {
    let context = call.request.context.clone();
    let report = app.write(call.request).await?;
    call.view.respond(report, context.calls(), settings)
}

/// What a merge patch wants. One of the two members has to be there.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what `wire` reads without building it")]
pub(super) struct PatchRequestBody {
    /// The keys to write; `null` or `""` clears one. Keys that are not named stay as they are.
    #[schema(required = false)]
    attributes: BTreeMap<String, Option<String>>,
    /// The same object as text, for clients that can only send strings.
    #[schema(required = false)]
    attributes_json: String,
}

/// What a read can answer with.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of one operation")]
pub(super) enum ReadResponse {
    One(AttributesResponse),
    All(AllAttributesResponse),
    Flat(FlatResponse),
}

/// What a write can answer with.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of one operation")]
pub(super) enum AnyWriteResponse {
    Plain(WriteResponse),
    Flat(FlatResponse),
}
