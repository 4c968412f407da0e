//! Writes that are accepted now and carried out later: `Prefer: respond-async`.
//!
//! The journal holds the request. The worker sends it through the router again, so that it is
//! authorised, audited and answered like any other write.

mod runner;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

pub use self::runner::RouterRunner;
use super::extract::{ClientIdentity, request_context};
use super::hidden;
use super::negotiate::json;
use super::paths;
use super::prefer::PREFERENCE_APPLIED;
use super::problem::{LoggedResult, Problem};
use super::request_context::X_REQUEST_ID;
use super::state::{AppState, OpsState};
use crate::app::{OperationQueue, operation_word};
use crate::clock;
use crate::domain::{Client, ClientRights, ConversationId, Patch};
use crate::error::{Effect, Error, ErrorCode};
use crate::ports::WriteNotes;
use crate::ports::store::{
    CancelOutcome, NewOperation, OperationResult, OperationState, PrivateBytes,
};

/// Version of the stored requests.
const VERSION: u8 = 1;

/// An accepted request, as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredRequest {
    version: u8,
    method: String,
    target: String,
    /// Conditions, and the id of the request.
    headers: Vec<(String, String)>,
    body: Option<Value>,
    /// Whether a read has to prove the write.
    verify: bool,
}

/// Marks a request that the worker makes. No client can set an extension.
#[derive(Clone, Debug)]
pub(super) struct OperationRun {
    /// The client, if it is still known.
    pub client: Option<Arc<Client>>,
    pub notes: Arc<dyn WriteNotes>,
}

/// A write to accept.
pub(super) struct AcceptedWrite<'a> {
    pub id: Uuid,
    pub conversation: ConversationId,
    pub patch: &'a Patch,
    pub verify: bool,
    pub parts: &'a StoredParts,
}

/// What is kept of the head of a request that may be accepted.
pub(super) struct StoredParts {
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    /// The key of a single attribute is in the path, so the body has only the value.
    has_key: bool,
    wait: Option<Duration>,
}

impl StoredParts {
    pub(super) fn new(parts: &Parts) -> Result<Self, Problem> {
        let kept = [IF_MATCH, IF_NONE_MATCH, X_REQUEST_ID];
        let values = |name: &HeaderName| {
            let values = parts.headers.get_all(name).iter();
            let name = name.to_string();
            values
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .map(move |value| (name.clone(), value))
                .collect::<Vec<_>>()
        };
        Ok(Self {
            method: parts.method.clone(),
            target: parts.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
            headers: kept.iter().flat_map(values).collect(),
            has_key: paths::key_of(parts.uri.path()).is_some(),
            wait: request_context(parts)?.prefer.long_wait(),
        })
    }

    fn stored(&self, patch: &Patch, verify: bool) -> StoredRequest {
        let value = |change: &crate::domain::KeyChange| Value::from(change.sent().expose());
        let body = if self.method == Method::DELETE {
            None
        } else if self.has_key {
            patch.iter().next().map(|(_, change)| serde_json::json!({ "value": value(change) }))
        } else {
            let entries =
                patch.iter().map(|(key, change)| (key.as_str().to_owned(), value(change)));
            let entries: serde_json::Map<_, _> = entries.collect();
            Some(serde_json::json!({ "attributes": entries }))
        };
        let (method, target, headers) =
            (self.method.to_string(), self.target.clone(), self.headers.clone());
        StoredRequest { version: VERSION, method, target, headers, body, verify }
    }
}

/// Accepts a write, and answers 202 once it is durable. `None`: the store can keep no writes.
pub(super) async fn accept(
    write: AcceptedWrite<'_>,
    client: &Client,
    queue: &OperationQueue,
    public_url: &str,
) -> Result<Option<Response>, Problem> {
    let stored = write.parts.stored(write.patch, write.verify);
    let request =
        serde_json::to_vec(&stored).map_err(|error| Problem::internal(error.to_string()))?;
    let accepted_at = clock::now();
    let operation = NewOperation {
        id: write.id,
        client: client.name.as_str().to_owned(),
        conversation: Uuid::from_bytes(*write.conversation.as_bytes()),
        request: PrivateBytes(request),
        accepted_at,
        not_after: accepted_at + write.parts.wait.unwrap_or(queue.not_after()),
    };
    let shown = OperationBody::new(&operation, OperationState::Queued, None, &client.rights);
    if !queue.accept(operation).await? {
        return Ok(None);
    }
    let mut response = json(&shown);
    *response.status_mut() = StatusCode::ACCEPTED;
    let location = format!("{public_url}/v1/operations/{}", write.id);
    let applied = match write.parts.wait {
        Some(wait) => format!("respond-async, wait={}", wait.as_secs()),
        None => "respond-async".to_owned(),
    };
    for (name, value) in [(LOCATION, location), (PREFERENCE_APPLIED, applied)] {
        response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    let result =
        LoggedResult { status: StatusCode::ACCEPTED, effect: Effect::NotApplied, code: None };
    response.extensions_mut().insert(result);
    Ok(Some(response))
}

/// An accepted write.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Operation)]
pub(super) struct OperationBody {
    /// Its id.
    id: String,
    /// `queued`, `running` (sent, not proved yet), `done`, `failed`, `expired` (not sent in time) or
    /// `cancelled`.
    state: &'static str,
    /// The conversation.
    conversation_id: String,
    /// When it was accepted.
    #[schema(format = "date-time")]
    accepted_at: String,
    /// It is not sent after this time.
    #[schema(format = "date-time")]
    not_after: String,
    /// The answer, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    result: Option<OperationResultBody>,
}

/// The answer that the write would have had without `respond-async`.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationResult)]
struct OperationResultBody {
    /// Its HTTP status.
    status: u16,
    /// Its body: a write response or a problem.
    body: Value,
}

impl OperationBody {
    fn new(
        operation: &NewOperation,
        state: OperationState,
        result: Option<&OperationResult>,
        rights: &ClientRights,
    ) -> Self {
        let stamp = |moment: OffsetDateTime| {
            let moment = moment.replace_millisecond(moment.millisecond()).unwrap_or(moment);
            moment.format(&Rfc3339).unwrap_or_default()
        };
        let result = result.map(|result| {
            let mut body = serde_json::from_slice(&result.body.0).unwrap_or(Value::Null);
            hidden::hide(&mut body, rights);
            OperationResultBody { status: result.status, body }
        });
        Self {
            id: operation.id.to_string(),
            state: operation_word(state),
            conversation_id: operation.conversation.to_string(),
            accepted_at: stamp(operation.accepted_at),
            not_after: stamp(operation.not_after),
            result,
        }
    }
}

/// The operation in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes what `addressed` reads")]
pub(super) struct OperationParam {
    /// Id of the operation
    #[param(rename = "operationId", value_type = String, format = "uuid")]
    operation: Uuid,
}

/// The queue, and the operation that the path names.
fn addressed<'a>(ops: &'a OpsState, uri: &Uri) -> Result<(&'a OperationQueue, Uuid), Problem> {
    let id = uri.path().strip_prefix("/v1/operations/").and_then(|id| id.parse().ok());
    ops.operations.as_ref().zip(id).ok_or_else(not_found)
}

/// Read an accepted write
///
/// Shows the state of a write that this client sent with `Prefer: respond-async`.
#[utoipa::path(get, path = paths::OPERATION, operation_id = "getOperation", tag = "attributes",
    params(OperationParam),
    responses((status = 200, body = OperationBody, description = "The operation")))]
pub(super) async fn get_operation(
    State(AppState { ops, .. }): State<AppState>,
    ClientIdentity(client): ClientIdentity,
    uri: Uri,
) -> Result<Response, Problem> {
    let (queue, id) = addressed(&ops, &uri)?;
    let found = queue.journal().find(id, client.name.as_str()).await.map_err(Error::from)?;
    let found = found.ok_or_else(not_found)?;
    let result = found.result.as_ref();
    Ok(json(&OperationBody::new(&found.operation, found.state, result, &client.rights)))
}

/// Cancel an accepted write
///
/// Cancels a write that was not sent yet.
#[utoipa::path(delete, path = paths::OPERATION, operation_id = "cancelOperation", tag = "attributes",
    params(OperationParam),
    responses((status = 204, description = "It will not be sent")))]
pub(super) async fn cancel_operation(
    State(AppState { ops, .. }): State<AppState>,
    ClientIdentity(client): ClientIdentity,
    uri: Uri,
) -> Result<Response, Problem> {
    let (queue, id) = addressed(&ops, &uri)?;
    let cancelled = queue.journal().cancel(id, client.name.as_str()).await.map_err(Error::from)?;
    match cancelled {
        CancelOutcome::Cancelled => Ok(StatusCode::NO_CONTENT.into_response()),
        CancelOutcome::NotFound => Err(not_found()),
        CancelOutcome::TooLate => {
            let detail = "the operation was sent or has ended";
            Err(Error::OperationInProgress(detail).into())
        }
    }
}

fn not_found() -> Problem {
    Problem::new(ErrorCode::OperationNotFound, "this client has no operation with this id")
}
