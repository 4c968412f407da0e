//! One attribute of a participant: `GET`, `PUT` and `DELETE`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::attributes::{AnyWriteResponse, write};
use super::extract::{ReadArgs, WriteArgs};
use super::flat::FlatResponse;
use super::openapi_params::{
    ConditionHeaders, ConversationParam, FormatParam, IfNoneMatchHeader, KeyParam,
    ParticipantParam, ViewParam, WriteParams,
};
use super::paths;
use super::problem::Problem;
use super::responses::{AttributeResponse, WriteResponse};
use super::state::HttpSettings;
use crate::app::App;

/// What a key should hold.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `wire` reads without building it")]
pub(super) struct AttributeRequestBody {
    /// The key that the path names, if it is to be said again.
    #[schema(required = false)]
    key: String,
    /// The value; `""` clears the key.
    value: String,
}

/// What a read of one key can answer with.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the answers of one operation")]
pub(super) enum AnyAttributeResponse {
    Plain(AttributeResponse),
    Flat(FlatResponse),
}

/// Read one attribute
///
/// Reads one attribute of one participant, fresh from Genesys Cloud. One that is absent or empty is
/// a 404. Its `ETag` covers this key alone.
#[utoipa::path(
    get,
    path = paths::ATTRIBUTE,
    operation_id = "getAttribute",
    tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, ViewParam, FormatParam, IfNoneMatchHeader),
    responses(
        (status = 200, description = "The attribute, as JSON or as its bare value",
            content((AnyAttributeResponse = "application/json"), (String = "text/plain"))),
        (status = 304, description = "It is as the caller knows it"),
    )
)]
pub(super) async fn get_attribute(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: ReadArgs,
) -> Result<Response, Problem> {
    let reading = app.read(call.request).await?;
    call.view.respond(reading, &settings)
}

/// Write one attribute
///
/// Makes sure that this key holds this value; other keys stay. Sent and read back as in a write of
/// several. An empty value clears the key.
#[utoipa::path(
    put,
    path = paths::ATTRIBUTE,
    operation_id = "putAttribute",
    tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, WriteParams, ViewParam, ConditionHeaders),
    request_body(content(
        (AttributeRequestBody = "application/json", example = json!({"key": "loyalty_tier", "value": "gold"})),
        (String = "text/plain", example = "gold"),
    )),
    responses(
        (status = 200, body = AnyWriteResponse, description = "The key holds its value; or, with `view=flat`, whatever became of it"),
        (status = 202, body = WriteResponse, description = "Genesys Cloud accepted the write; no read showed it yet"),
        (status = 204, description = "The key holds its value, and the caller prefers `return=minimal`"),
    )
)]
pub(super) async fn put_attribute(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: WriteArgs,
) -> Result<Response, Problem> {
    write(&app, call, &settings).await
}

/// Clear one attribute
///
/// Makes sure that this key is absent or empty, which is one state. It is `cleared` when a read
/// has shown it so, and `unchanged` if it was so before.
#[utoipa::path(
    delete,
    path = paths::ATTRIBUTE,
    operation_id = "deleteAttribute",
    tag = "attributes",
    params(ConversationParam, KeyParam, ParticipantParam, WriteParams, ViewParam, ConditionHeaders),
    responses(
        (status = 200, body = AnyWriteResponse, description = "The key is absent or empty; or, with `view=flat`, whatever became of it"),
        (status = 202, body = WriteResponse, description = "Genesys Cloud accepted the write; no read showed it yet"),
        (status = 204, description = "The key is absent or empty, and the caller prefers `return=minimal`"),
    )
)]
pub(super) async fn delete_attribute(
    State(app): State<App>,
    State(settings): State<Arc<HttpSettings>>,
    call: WriteArgs,
) -> Result<Response, Problem> {
    write(&app, call, &settings).await
}
