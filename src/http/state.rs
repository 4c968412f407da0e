//! The state that handlers and the middleware receive. It is cheap to clone.
#![expect(missing_docs, reason = "the names of most parts say it")]

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::etag::EtagKey;
use super::live::LiveFeed;
use super::openapi_files::OpenApiFiles;
use super::peer::AddressLimiter;
use crate::app::{App, OperationQueue, RequestLimiter};
use crate::domain::ParticipantSelector;
use crate::ports::AuditPort;
use crate::ports::store::IdempotencyStore;
use crate::telemetry::{RecentRequests, ServiceMetrics, SpanExport};

/// The state of the router. It is cloned several times per request, so each part is one shared pointer.
#[derive(Clone)]
pub struct AppState {
    pub app: App,
    pub ops: Arc<OpsState>,
    pub settings: Arc<HttpSettings>,
}

#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Default deadline of a request, from the arrival of its head.
    pub deadline: Duration,
    pub body_limit: usize,
    /// Maximum time for a body to arrive.
    pub body_timeout: Duration,
    /// The participant if the request names none.
    pub default_participant: ParticipantSelector,
    /// Size limit of the attributes, shown in `size.limitBytes`.
    pub total_bytes: usize,
    /// Key for the `ETag`s.
    pub etag: EtagKey,
    /// Whether a write must have `If-Match`, or `If-None-Match: *`.
    pub require_if_match: bool,
}

/// What monitoring, logging and limits need.
pub struct OpsState {
    pub readiness: Arc<dyn ReadinessProvider>,
    pub metrics: ServiceMetrics,
    /// The exporter of spans, if configured.
    pub spans: Option<SpanExport>,
    /// The last requests about traced conversations.
    pub recent: RecentRequests,
    pub live: LiveFeed,
    pub documents: OpenApiFiles,
    pub audit: Option<Arc<dyn AuditPort>>,
    pub answers: Arc<dyn IdempotencyStore>,
    /// The accepted writes, if the store is durable.
    pub operations: Option<OperationQueue>,
    /// Limits the concurrent API requests of each client.
    pub requests: Arc<RequestLimiter>,
    /// Limits the concurrent requests of each address behind a proxy, if there are trusted proxies.
    pub address_limiter: Option<AddressLimiter>,
    /// Holds a token for each API request in progress. A drain waits until it is empty.
    pub in_flight: TaskTracker,
}

/// Reports whether the service is ready for requests.
pub trait ReadinessProvider: Send + Sync {
    fn report(&self) -> ReadinessReport;
    /// Whether the service is shutting down and refuses API requests.
    fn draining(&self) -> bool;
}

/// The content of `/readyz`.
#[derive(Clone, Debug)]
pub struct ReadinessReport {
    pub ready: bool,
    /// Whether the login host refuses the credentials.
    pub credentials_refused: bool,
    /// The checks. Some of them can fail while the service stays ready.
    pub checks: Vec<HealthCheck>,
}

/// The result of one check.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    pub name: &'static str,
    pub ok: bool,
    /// The result as text for a person; never a secret.
    pub detail: String,
}
