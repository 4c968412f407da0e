//! The composition root: builds the service from its parts.

mod audit;
mod budget_heartbeat;
mod client_weights;
mod clients_file;
mod doctor;
mod file_watcher;
mod health;
mod live_stream;
mod readiness_probe;
mod replicas;
mod server;
mod spans;
mod store;
mod tls;
mod upstream;
mod upstream_transport;
mod watched_files;

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{App, AppParts, AppSettings, ClientRegistry, OperationQueue, WriteCoordinator};
use crate::audit::{AuditLog, LineOutput};
use crate::config::{self, BaseUrl, Config, IpNetwork};
use crate::domain::AttributeLimits;
use crate::genesys::{CallLimiter, JitterSource, TokenCache};
use crate::http::{
    AddressLimiter, AppState, EtagKey, HttpSettings, LiveFeed, OpenApiFiles, OpsState,
    RouterRunner, openapi, paths, router,
};
use crate::ports::MetricsRecorder;
use crate::shutdown::ShutdownSignal;
use crate::telemetry::{LogLosses, RecentRequests, ServiceMetrics, SpanExport};

pub use self::audit::LastRecords;
use self::client_weights::ClientWeightsPublisher;
pub use self::clients_file::{ClientSource, DEMO_KEY, FreshKey, demo_client, fresh_key};
pub use self::doctor::{DoctorCall, DoctorReport, doctor};
pub use self::live_stream::{LiveStream, live_events_url};
pub use self::readiness_probe::{ProbeTarget, ask, readiness_url};
pub use self::replicas::Replicas;
use self::server::{ConnectionLimits, HttpServer, ServerDeps};
pub use self::spans::span_export;
pub use self::store::StoreParts;
pub use self::tls::ServerTls;
use self::upstream::{UpstreamParts, UpstreamSide, backoff};
pub use self::upstream_transport::transport;
pub use self::watched_files::WatchedFiles;
pub use crate::genesys::HttpTransport;
use secrecy::ExposeSecret as _;

/// The parts that differ between the real service and a test of it.
pub struct ServiceParts {
    /// The transport to upstream.
    pub transport: HttpTransport,
    /// The source of jitter.
    pub jitter: JitterSource,
    /// The lines that the log has lost.
    pub log: LogLosses,
    /// The output of the audit log, if any.
    pub audit: Option<Box<dyn LineOutput>>,
    /// TLS of the listening side; `None` for plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// The clients.
    pub client_registry: ClientSource,
    /// The export of spans, if any.
    pub spans: Option<SpanExport>,
    /// The store that replicas share, if there are several.
    pub replicas: Option<Replicas>,
    /// What outlives a request.
    pub store: StoreParts,
}

impl ServiceParts {
    /// The parts of the real service: network transport and random jitter.
    ///
    /// # Errors
    /// If TLS cannot be set up, the audit file or the store cannot be opened, or the clients file is
    /// invalid.
    pub fn over_http(
        config: &Config,
        credentials: &config::OauthCredentials,
        log: LogLosses,
    ) -> anyhow::Result<Self> {
        let store = StoreParts::open(&config.store, credentials)?;
        let tls = config.server.tls.as_ref().map(ServerTls::load).transpose()?.map(Arc::new);
        let (transport, audit) = (transport(config)?, audit::output(&config.audit)?);
        let client_registry = ClientSource::from_config(config)?;
        let spans = spans::export(&config.tracing)?;
        Ok(Self {
            transport,
            jitter: JitterSource::random(),
            log,
            audit,
            tls,
            client_registry,
            spans,
            replicas: None,
            store,
        })
    }
}

/// The service, ready to serve. It fetches and renews its token until it is dropped.
pub struct Service {
    router: Router,
    shutdown: ShutdownSignal,
    tokens: TokenCache,
    metrics: ServiceMetrics,
    limits: ConnectionLimits,
    audit: Option<AuditLog>,
    spans: Option<SpanExport>,
    trusted_proxies: Arc<[IpNetwork]>,
    files: WatchedFiles,
    weights: ClientWeightsPublisher,
    /// The shared store, and the budget whose credits are given back at the end.
    replicas: Option<(Replicas, CallLimiter)>,
    tasks: DropGuard,
}

impl Service {
    /// Builds the service and starts to fetch a token. Needs a tokio runtime.
    #[expect(clippy::too_many_lines, reason = "the composition root: one part after the other")]
    pub fn build(
        config: &Config,
        credentials: &config::OauthCredentials,
        parts: ServiceParts,
    ) -> Self {
        let ServiceParts {
            transport,
            jitter,
            log,
            audit,
            tls,
            client_registry,
            spans,
            replicas,
            store,
        } = parts;
        let metrics = ServiceMetrics::with_log(paths::ALL, log.clone());
        let recorder = Arc::clone(metrics.recorder());
        let (shutdown, stop) = (ShutdownSignal::default(), CancellationToken::new());
        let parts = upstream_parts(transport, &jitter, &recorder, &stop);
        let shared_token = replicas.as_ref().map(Replicas::token);
        let upstream = UpstreamSide::connect(config, credentials, shared_token, parts);
        if let Some(replicas) = &replicas {
            replicas.lease_budget(config, &upstream.limiter, &metrics, &stop);
        }
        let audit = audit::log(&config.audit, credentials, audit, &recorder);
        let store = replicas.as_ref().map_or(store, Replicas::store);
        let operations = store.journal.map(|journal| {
            OperationQueue::new(journal, Arc::clone(&recorder), config.store.not_after)
        });
        let (registry, tokens) = (client_registry.client_registry.clone(), upstream.tokens.clone());
        let writes = replicas.as_ref().map(|replicas| replicas.writes(config));
        let app = app(config, &upstream, (registry, recorder, writes), &shutdown, jitter);
        let weights =
            ClientWeightsPublisher::new(&app, &upstream.limiter, config.limits.requests, &metrics);
        client_registry.watch(&metrics, stop.clone(), weights.clone());
        metrics.refreshed_by(upstream.limiter.reporter());
        let files = WatchedFiles { client_registry: client_registry.clone(), tls: tls.clone() };
        let leased = replicas.clone().map(|replicas| (replicas, upstream.limiter.clone()));
        let store_checks = (operations.clone(), replicas);
        let checks = (client_registry, audit.clone(), tls, log, metrics.clone(), store_checks);
        let health = Arc::new(health(upstream, &app, &shutdown, checks));
        let ops = Arc::new(OpsState {
            documents: documents(config),
            requests: Arc::clone(&weights.requests),
            live: live_feed(&health, &shutdown, &stop),
            readiness: health,
            metrics: metrics.clone(),
            spans: spans.clone(),
            recent: RecentRequests::new(config.debug.enabled),
            audit: audit.clone().map(|audit| Arc::new(audit) as _),
            answers: store.answers,
            operations: operations.clone(),
            address_limiter: address_limiter(config),
            in_flight: shutdown.tasks().clone(),
        });
        let callers = app.callers().clone();
        let router = router(AppState { app, ops, settings: http_settings(config, credentials) });
        if let Some(operations) = operations {
            let runner = Arc::new(RouterRunner::new(router.clone(), callers));
            tokio::spawn(operations.work(runner, shutdown.clone()));
        }
        Self {
            router,
            shutdown,
            tokens,
            metrics,
            limits: connection_limits(config),
            audit,
            spans,
            trusted_proxies: config.server.trusted_proxies.clone().into(),
            files,
            weights,
            replicas: leased,
            tasks: stop.drop_guard(),
        }
    }

    /// The routes, for use within this process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The use cases, for use within this process.
    pub fn app(&self) -> &App {
        &self.weights.app
    }

    /// The shutdown signal.
    pub fn shutdown(&self) -> &ShutdownSignal {
        &self.shutdown
    }

    /// The metrics.
    pub fn metrics(&self) -> &ServiceMetrics {
        &self.metrics
    }

    /// The files that can be reloaded.
    pub fn watched_files(&self) -> WatchedFiles {
        self.files.clone()
    }

    /// The audit records to write before the process ends.
    pub fn last_records(&self) -> LastRecords {
        LastRecords(self.audit.clone())
    }

    /// Waits until the first fetch of a token has succeeded or failed.
    pub async fn started(&self) {
        self.tokens.started().await;
    }

    /// Serves on `listener` until a drain has ended.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let deps = ServerDeps {
            router: self.router,
            tls: self.files.tls,
            shutdown: self.shutdown,
            metrics: self.metrics,
            trusted_proxies: self.trusted_proxies,
        };
        let served = HttpServer::new(deps, self.limits).run(listener).await;
        if let Some((replicas, limiter)) = &self.replicas {
            drop(self.tasks);
            replicas.leave(limiter).await;
        }
        LastRecords(self.audit).written(audit::FLUSH_TIMEOUT).await;
        if let Some(spans) = &self.spans {
            spans.finish().await;
        }
        served
    }
}

fn app(
    config: &Config,
    upstream: &UpstreamSide,
    (client_registry, recorder, replicas): (
        ClientRegistry,
        Arc<MetricsRecorder>,
        Option<Arc<WriteCoordinator>>,
    ),
    shutdown: &ShutdownSignal,
    jitter: JitterSource,
) -> App {
    App::new(AppParts {
        client_registry,
        conversations: Arc::clone(&upstream.client) as Arc<_>,
        call_budget: Arc::new(upstream.limiter.clone()),
        recorder,
        settings: app_settings(config),
        shutdown: shutdown.clone(),
        replicas,
        random: Box::new(move || jitter.unit()),
    })
}

/// The limit of concurrent requests per address, which replaces that of connections behind a proxy.
fn address_limiter(config: &Config) -> Option<AddressLimiter> {
    let max = config.limits.connections_per_address.get();
    (!config.server.trusted_proxies.is_empty()).then(|| AddressLimiter::new(max))
}

/// The parts that `/readyz` checks in addition to upstream.
type ReadinessChecks = (
    ClientSource,
    Option<AuditLog>,
    Option<Arc<ServerTls>>,
    LogLosses,
    ServiceMetrics,
    StoreChecks,
);

/// What the store is used for.
type StoreChecks = (Option<OperationQueue>, Option<Replicas>);

fn health(
    upstream: UpstreamSide,
    app: &App,
    shutdown: &ShutdownSignal,
    (client_registry, audit, tls, log, metrics, (operations, replicas)): ReadinessChecks,
) -> health::HealthChecks {
    health::HealthChecks {
        client_registry,
        tokens: upstream.tokens,
        throttles: upstream.throttles,
        limiter: upstream.limiter,
        retries: upstream.retries,
        app: app.clone(),
        shutdown: shutdown.clone(),
        audit,
        tls,
        log,
        metrics,
        replicas,
        operations,
    }
}

/// The live view of these parts. Its streams end with the drain.
fn live_feed(
    health: &Arc<health::HealthChecks>,
    shutdown: &ShutdownSignal,
    stop: &CancellationToken,
) -> LiveFeed {
    let (source, shutdown) = (Arc::clone(health), shutdown.clone());
    let live = LiveFeed::new(move || source.live());
    let feed = live.clone();
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        shutdown.draining().await;
        feed.close();
    }));
    live
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let handshake = config.server.tls.as_ref().map(|tls| tls.handshake_timeout);
    ConnectionLimits {
        connections: config.limits.connections.get(),
        per_address: config.limits.connections_per_address.get(),
        header_bytes: config.limits.header_bytes,
        header_timeout: config.server.header_timeout,
        idle_timeout: config.server.idle_timeout,
        handshake_timeout: handshake.unwrap_or(config.server.header_timeout),
        answer_timeout: config.server.body_timeout,
    }
}

fn app_settings(config: &Config) -> AppSettings {
    AppSettings {
        limits: AttributeLimits { total_bytes: config.limits.total_bytes },
        patch_full: config.genesys.patch_body == config::PatchBody::Full,
        max_reads: config.verify.max_reads,
        settle: config.verify.settle,
        outstanding: config.verify.outstanding,
        conflict_retries: config.writes.conflict_retries,
        backoff: backoff(config),
        warm_for: config.writes.warm_for,
        memory: config.writes.remember_bytes,
        max_age: config.reads.max_age,
        waiting: config.limits.waiting.get(),
        waiting_per_participant: config.limits.waiting_per_participant.get(),
    }
}

fn upstream_parts(
    transport: HttpTransport,
    jitter: &JitterSource,
    recorder: &Arc<MetricsRecorder>,
    stop: &CancellationToken,
) -> UpstreamParts {
    let (jitter, recorder) = (jitter.clone(), Arc::clone(recorder));
    UpstreamParts { transport, jitter, recorder, stop: stop.clone() }
}

/// The `OpenAPI` document of the API as it is configured.
fn documents(config: &Config) -> OpenApiFiles {
    let public_url = config.server.public_url.as_ref().map_or("", BaseUrl::as_str);
    let (for_yaml, for_json, debug) =
        (public_url.to_owned(), public_url.to_owned(), config.debug.enabled);
    OpenApiFiles::new(
        public_url,
        move || openapi::yaml(&for_yaml, debug),
        move || openapi::json(&for_json, debug),
    )
}

fn http_settings(config: &Config, credentials: &config::OauthCredentials) -> Arc<HttpSettings> {
    Arc::new(HttpSettings {
        deadline: config.server.deadline,
        body_limit: config.limits.body_bytes,
        body_timeout: config.server.body_timeout,
        default_participant: config.participants.default.clone(),
        total_bytes: config.limits.total_bytes,
        etag: EtagKey::derive(credentials.client_secret.expose_secret()),
        require_if_match: config.writes.require_if_match,
    })
}
