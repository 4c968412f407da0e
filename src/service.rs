//! The composition root: builds the service from its parts.

mod audit;
mod budget_heartbeat;
mod clients_file;
mod doctor;
mod health;
mod reloaded;
mod replicas;
mod running_service;
mod server;
mod settings;
mod spans;
mod store;
mod tls;
mod upstream;

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{App, AppParts, OperationQueue};
use crate::audit::{AuditLog, LineOutput};
use crate::config::{self, Config};
use crate::genesys::{CallLimiter, JitterSource, TokenCache};
use crate::http::{AppState, LiveFeed, OpsState, RouterRunner, paths, router};
use crate::shutdown::ShutdownSignal;
use crate::telemetry::{LogLosses, RecentRequests, ServiceMetrics, SpanExport};

pub use self::audit::LastRecords;
pub use self::clients_file::{
    ClientSource, ClientWeightsPublisher, DEMO_KEY, FreshKey, demo_client, fresh_key,
};
pub use self::doctor::{DoctorCall, DoctorReport, doctor};
pub use self::reloaded::WatchedFiles;
pub use self::replicas::Replicas;
pub use self::running_service::{LiveStream, ask, live_events_url, readiness_url};
use self::server::{ConnectionHandler, HttpServer};
pub use self::spans::span_export;
pub use self::store::StoreParts;
pub use self::tls::ServerTls;
pub use self::upstream::transport;
use self::upstream::{UpstreamParts, UpstreamSide};
pub use crate::genesys::HttpTransport;

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
    pub tls: Option<ServerTls>,
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
        Ok(Self {
            store: StoreParts::open(&config.store, credentials)?,
            tls: config.server.tls.as_ref().map(ServerTls::load).transpose()?,
            transport: transport(config)?,
            audit: audit::output(&config.audit)?,
            client_registry: ClientSource::from_config(config)?,
            spans: spans::export(&config.tracing)?,
            jitter: JitterSource::random(),
            log,
            replicas: None,
        })
    }
}

/// What signals act on.
pub struct ServiceHandle {
    /// Begins the drain.
    pub shutdown: ShutdownSignal,
    /// The files that can be reloaded.
    pub files: WatchedFiles,
    /// The audit records to write before the process ends.
    pub records: LastRecords,
}

/// The service, ready to serve. It fetches and renews its token until it is dropped.
pub struct Service {
    connections: ConnectionHandler,
    shutdown: ShutdownSignal,
    tokens: TokenCache,
    audit: Option<AuditLog>,
    spans: Option<SpanExport>,
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
        let ServiceParts { transport, jitter, log, tls, client_registry, spans, replicas, .. } =
            parts;
        let metrics = ServiceMetrics::with_log(paths::ALL, log.clone());
        let recorder = Arc::clone(metrics.recorder());
        let (shutdown, stop) = (ShutdownSignal::default(), CancellationToken::new());
        let upstream = UpstreamParts {
            transport,
            jitter: jitter.clone(),
            recorder: Arc::clone(&recorder),
            stop: stop.clone(),
        };
        let shared_token = replicas.as_ref().map(Replicas::token);
        let upstream = UpstreamSide::connect(config, credentials, shared_token, upstream);
        if let Some(replicas) = &replicas {
            replicas.lease_budget(config, &upstream.limiter, &metrics, &stop);
        }
        let audit = audit::log(&config.audit, credentials, parts.audit, &recorder);
        let store = replicas.as_ref().map_or(parts.store, Replicas::store);
        let operations = store.journal.map(|journal| {
            OperationQueue::new(journal, Arc::clone(&recorder), config.store.not_after.get())
        });
        let app = App::new(AppParts {
            client_registry: client_registry.client_registry.clone(),
            conversations: Arc::clone(&upstream.client) as Arc<_>,
            call_budget: Arc::new(upstream.limiter.clone()),
            recorder,
            settings: settings::app(config),
            shutdown: shutdown.clone(),
            replicas: replicas.as_ref().map(|replicas| replicas.writes(config)),
            random: Box::new(move || jitter.unit()),
        });
        let weights =
            ClientWeightsPublisher::new(&app, &upstream.limiter, config.limits.requests, &metrics);
        client_registry.watch(&metrics, stop.clone(), weights.clone());
        if let Some(tls) = tls.clone() {
            tokio::spawn(stop.clone().run_until_cancelled_owned(tls.watch(metrics.clone())));
        }
        metrics.refreshed_by(upstream.limiter.reporter());
        let tls_files = tls.as_ref().map(|tls| ("server.tls", tls.requests()));
        let files = client_registry.requests().into_iter().chain(tls_files);
        let files = WatchedFiles(files.collect());
        let (leased, tokens) = (upstream.limiter.clone(), upstream.tokens.clone());
        let health = Arc::new(health::HealthChecks {
            client_registry,
            upstream,
            app: app.clone(),
            shutdown: shutdown.clone(),
            audit: audit.clone(),
            tls: tls.clone(),
            log,
            metrics: metrics.clone(),
            replicas: replicas.clone(),
            operations: operations.clone(),
        });
        let ops = Arc::new(OpsState {
            documents: settings::documents(config),
            requests: Arc::clone(&weights.requests),
            live: live_feed(&health, &shutdown, &stop),
            readiness: health,
            metrics: metrics.clone(),
            spans: spans.clone(),
            recent: RecentRequests::new(config.debug.enabled),
            audit: audit.clone().map(|audit| Arc::new(audit) as _),
            answers: store.answers,
            operations: operations.clone(),
            address_limiter: settings::address_limiter(config),
            in_flight: shutdown.tasks().clone(),
        });
        let callers = app.callers().clone();
        let settings = settings::http(config, credentials);
        let router = router(AppState { app, ops, settings });
        if let Some(operations) = operations {
            let runner = Arc::new(RouterRunner::new(router.clone(), callers));
            tokio::spawn(operations.work(runner, shutdown.clone()));
        }
        Self {
            connections: ConnectionHandler {
                router,
                tls,
                trusted_proxies: config.server.trusted_proxies.clone().into(),
                limits: settings::connections(config),
                metrics,
            },
            shutdown,
            tokens,
            audit,
            spans,
            files,
            weights,
            replicas: replicas.map(|replicas| (replicas, leased)),
            tasks: stop.drop_guard(),
        }
    }

    /// The routes, for use within this process.
    pub fn router(&self) -> Router {
        self.connections.router.clone()
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
        &self.connections.metrics
    }

    /// What signals act on.
    pub fn handle(&self) -> ServiceHandle {
        ServiceHandle {
            shutdown: self.shutdown.clone(),
            files: self.files.clone(),
            records: LastRecords(self.audit.clone()),
        }
    }

    /// Waits until the first fetch of a token has succeeded or failed.
    pub async fn started(&self) {
        self.tokens.started().await;
    }

    /// Serves on `listener` until a drain has ended.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let served = HttpServer::new(self.connections, self.shutdown).run(listener).await;
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
