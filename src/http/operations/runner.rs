//! Carries accepted writes out: each goes through the router again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tower::ServiceExt as _;

use super::{OperationRun, StoredRequest, VERSION};
use crate::app::{ClientRegistry, OperationAnswer, OperationEnding, OperationRunner};
use crate::domain::Client;
use crate::error::ErrorCode;
use crate::http::negotiate::JSON;
use crate::http::params::KeyParam;
use crate::http::problem::LoggedResult;
use crate::http::request_context::X_REQUEST_ID;
use crate::ports::store::{OperationResult, PrivateBytes, StoredOperation};
use crate::ports::{BoxFuture, WriteNotes};

/// Sends accepted writes through the router.
pub struct RouterRunner {
    router: Router,
    client_registry: ClientRegistry,
}

impl RouterRunner {
    /// A runner with the routes and the clients of the service.
    pub fn new(router: Router, client_registry: ClientRegistry) -> Self {
        Self { router, client_registry }
    }

    /// The client with this name; `None` if it is not known any more.
    fn client(&self, name: &str) -> Option<Arc<Client>> {
        if self.client_registry.table().is_none() {
            return Some(Client::anonymous());
        }
        self.client_registry.clients().into_iter().find(|client| client.name.as_str() == name)
    }
}

impl OperationRunner for RouterRunner {
    fn together(&self, operations: &[&StoredOperation]) -> usize {
        let mut all = BTreeMap::new();
        let agrees = |operation: &&&StoredOperation| {
            let Some(own) = changes_of(operation) else { return false };
            let agrees =
                own.iter().all(|(key, value)| all.get(key).is_none_or(|other| other == value));
            all.extend(own);
            agrees
        };
        operations.iter().take_while(agrees).count()
    }

    fn run<'a>(
        &'a self,
        operation: &'a StoredOperation,
        notes: Arc<dyn WriteNotes>,
        time: Duration,
    ) -> BoxFuture<'a, OperationAnswer> {
        Box::pin(async move {
            let client = self.client(&operation.operation.client);
            let Some((request, verify)) =
                request_of(operation, OperationRun { client, notes }, time)
            else {
                let body = PrivateBytes(b"null".to_vec());
                let result = OperationResult { status: 500, body };
                return OperationAnswer { result, ending: OperationEnding::Failed };
            };
            let response = match self.router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let logged = response.extensions().get::<LoggedResult>().copied();
            let pause = retry_after(response.headers());
            let status = response.status().as_u16();
            let ending = ending(logged, pause, verify);
            let body = to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
            let result = OperationResult { status, body: PrivateBytes(body.to_vec()) };
            OperationAnswer { result, ending }
        })
    }
}

fn stored_request(operation: &StoredOperation) -> Option<StoredRequest> {
    let stored: StoredRequest = serde_json::from_slice(&operation.operation.request.0).ok()?;
    (stored.version == VERSION).then_some(stored)
}

/// The keys of an accepted write, with their new values; `None` if it has a condition.
fn changes_of(operation: &StoredOperation) -> Option<BTreeMap<String, Value>> {
    let StoredRequest { target, headers, body, .. } = stored_request(operation)?;
    if headers.iter().any(|(name, _)| name.as_str() != X_REQUEST_ID) {
        return None;
    }
    let value =
        |body: Option<Value>| body.map_or_else(|| "".into(), |mut body| body["value"].take());
    if let Some(KeyParam { key }) = KeyParam::from_uri(&target.parse().ok()?).ok()? {
        return Some([(key, value(body))].into());
    }
    serde_json::from_value(body?["attributes"].take()).ok()
}

fn request_of(
    operation: &StoredOperation,
    run: OperationRun,
    time: Duration,
) -> Option<(Request, bool)> {
    let stored = stored_request(operation)?;
    let mut request = Request::builder()
        .method(stored.method.as_str())
        .uri(stored.target)
        .header(CONTENT_TYPE, JSON)
        .header("prefer", format!("wait={}", time.as_secs()))
        .extension(run);
    for (name, value) in stored.headers {
        request = request.header(name, value);
    }
    let body = stored.body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    Some((request.body(body).ok()?, stored.verify))
}

fn ending(logged: Option<LoggedResult>, pause: Option<Duration>, verify: bool) -> OperationEnding {
    let Some(logged) = logged else { return OperationEnding::Failed };
    match logged.code {
        None if logged.status == StatusCode::ACCEPTED && verify => OperationEnding::Unproved,
        None => OperationEnding::Done,
        // A secret that is being replaced comes back.
        Some(ErrorCode::UpstreamAuthFailed) => OperationEnding::Again(pause),
        Some(code) if code.retryable() => OperationEnding::Again(pause),
        Some(_) => OperationEnding::Failed,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
