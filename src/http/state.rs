//! What handlers and the edge are given. Everything is cheap to clone.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use tokio_util::task::TaskTracker;

use super::etag::EtagKey;
use super::openapi_files::OpenApiFiles;
use super::peer::AddressLimiter;
use crate::app::{App, RequestLimiter};
use crate::domain::ParticipantSelector;
use crate::ports::AuditPort;
use crate::telemetry::{AccessLog, RecentRequests, ServiceMetrics, SpanExport};

/// The state of the router; handlers take the part they need. It is cloned several times a request,
/// so each part is one shared pointer.
#[derive(Clone)]
pub struct AppState {
    /// The use cases.
    pub app: App,
    /// What operations need.
    pub ops: Arc<OpsState>,
    /// The settings of this layer.
    pub settings: Arc<HttpSettings>,
}

/// Settings of the HTTP layer.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Deadline of a request that asks for none, from the arrival of its head.
    pub deadline: Duration,
    /// Longest body in bytes.
    pub body_limit: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The participant of a request that names none.
    pub default_participant: ParticipantSelector,
    /// The limit told in `size.limitBytes`.
    pub total_bytes: usize,
    /// Key of the `ETag`s.
    pub etag: EtagKey,
    /// Whether a write needs `If-Match`, or `If-None-Match: *`.
    pub require_if_match: bool,
}

/// What operations need.
pub struct OpsState {
    /// Tells whether the service wants requests.
    pub readiness: Arc<dyn ReadinessProvider>,
    /// The metrics.
    pub metrics: ServiceMetrics,
    /// Where access lines go.
    pub access: AccessLog,
    /// Where spans go, if they are exported.
    pub spans: Option<SpanExport>,
    /// The last requests, if debugging is on; there are no paths for that otherwise.
    pub recent: Option<RecentRequests>,
    /// The description of the API.
    pub documents: OpenApiFiles,
    /// Where writes are recorded, if they are.
    pub audit: Option<Arc<dyn AuditPort>>,
    /// The places for API requests.
    pub requests: Arc<RequestLimiter>,
    /// How many requests each address behind a proxy has, where there are proxies.
    pub address_limiter: Option<AddressLimiter>,
    /// Holds a token for each API request under way: a drain waits for it to be empty.
    pub in_flight: TaskTracker,
}

/// Whether the service wants requests.
pub trait ReadinessProvider: Send + Sync {
    /// What `/readyz` tells.
    fn report(&self) -> ReadinessReport;
    /// Whether the service is going down: API requests are then refused at once.
    fn draining(&self) -> bool;
}

/// What `/readyz` tells.
#[derive(Clone, Debug)]
pub struct ReadinessReport {
    /// Whether requests are wanted.
    pub ready: bool,
    /// What was looked at; a failed check need not make the service unready.
    pub checks: Vec<HealthCheck>,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// A short stable name.
    pub name: &'static str,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, for a person; never a secret.
    pub detail: String,
}

impl FromRef<AppState> for App {
    fn from_ref(state: &AppState) -> Self {
        state.app.clone()
    }
}

impl FromRef<AppState> for Arc<OpsState> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.ops)
    }
}

impl FromRef<AppState> for Arc<HttpSettings> {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.settings)
    }
}
