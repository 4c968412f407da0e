//! The composition root: the only file that names every concrete type.

mod audit;
mod client_weights;
mod clients_file;
mod file_watcher;
mod health;
mod online_check;
mod readiness_probe;
mod server;
mod spans;
mod tls;
mod upstream;
mod upstream_transport;
mod watched_files;

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{App, AppParts, AppSettings, Callers};
use crate::audit::{AuditLog, Output};
use crate::config::{self, BaseUrl, Config, Network};
use crate::domain::Limits;
use crate::genesys::{Jitter, TokenCache, Transport};
use crate::http::{AppState, Crowd, Documents, EtagKey, HttpSettings, Ops, paths, router};
use crate::ports::Meter;
use crate::shutdown::Shutdown;
use crate::telemetry::{AccessLog, LogLosses, Metrics, RecentRequests, SpanExport};

pub use self::audit::LastRecords;
use self::client_weights::Shares;
pub use self::clients_file::{DEMO_KEY, FreshKey, KnownCallers, demo_client, fresh_key};
pub use self::online_check::{CheckFailure, OnlineCheck, online_check};
pub use self::readiness_probe::{Asked, ask, readiness_url};
use self::server::{ConnectionLimits, Server, ServerDeps};
pub use self::spans::span_export;
pub use self::tls::Tls;
use self::upstream::{Upstream, UpstreamParts, backoff};
pub use self::upstream_transport::transport;
pub use self::watched_files::WatchedFiles;
use secrecy::ExposeSecret as _;

/// What differs between the real service and a test of it.
pub struct Parts {
    /// How requests reach upstream.
    pub transport: Transport,
    /// Where jitter comes from.
    pub jitter: Jitter,
    /// Where access lines go.
    pub access: AccessLog,
    /// Where writes are recorded, if they are.
    pub audit: Option<Box<dyn Output>>,
    /// TLS of the listening side; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Who may call.
    pub callers: KnownCallers,
    /// Where spans go, if they go anywhere.
    pub spans: Option<SpanExport>,
}

impl Parts {
    /// The parts of the real service: over the network, with true jitter.
    ///
    /// # Errors
    /// If TLS cannot be set up, the audit file cannot be opened, or the file of callers cannot be used.
    pub fn over_http(config: &Config, access: AccessLog) -> anyhow::Result<Self> {
        let tls = config.server.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let (transport, audit) = (transport(config)?, audit::output(&config.audit)?);
        let callers = KnownCallers::of_service(config)?;
        let spans = spans::export(&config.tracing)?;
        Ok(Self { transport, jitter: Jitter::random(), access, audit, tls, callers, spans })
    }
}

/// The service, ready to serve. Its token is fetched and renewed as long as it lives.
pub struct Service {
    router: Router,
    shutdown: Shutdown,
    tokens: TokenCache,
    metrics: Metrics,
    limits: ConnectionLimits,
    audit: Option<AuditLog>,
    spans: Option<SpanExport>,
    trusted: Arc<[Network]>,
    files: WatchedFiles,
    shares: Shares,
    _tasks: DropGuard,
}

impl Service {
    /// Puts the service together and starts to fetch a token. Needs a runtime.
    pub fn build(
        config: &Config,
        credentials: &config::Credentials,
        Parts { transport, jitter, access, audit, tls, callers, spans }: Parts,
    ) -> Self {
        let metrics = Metrics::new(paths::ALL).watching(access.losses());
        let meter: Arc<dyn Meter> = Arc::new(metrics.clone());
        let (shutdown, stop) = (Shutdown::default(), CancellationToken::new());
        let (jitters, meters, stops) = (jitter.clone(), Arc::clone(&meter), stop.clone());
        let parts = UpstreamParts { transport, jitter: jitters, meter: meters, stop: stops };
        let upstream = Upstream::connect(config, credentials, parts);
        let audit = audit::log(&config.audit, credentials, audit, &meter);
        let (who, tokens) = (callers.callers.clone(), upstream.tokens.clone());
        let app = app(config, &upstream, (who, meter), &shutdown, jitter);
        let shares = Shares::of(&app, &upstream.limiter, config.limits.requests, &metrics);
        callers.watch(&metrics, stop.clone(), shares.clone());
        metrics.refreshed_by(upstream.limiter.reporter());
        let files = WatchedFiles { callers: callers.clone(), tls: tls.clone() };
        let checked = (callers, audit.clone(), tls, access.losses().cloned());
        let ops = Arc::new(Ops {
            documents: documents(config),
            requests: Arc::clone(&shares.requests),
            readiness: Arc::new(health(upstream, &app, &shutdown, checked)),
            metrics: metrics.clone(),
            access,
            spans: spans.clone(),
            recent: config.debug.enabled.then(RecentRequests::default),
            audit: audit.clone().map(|audit| Arc::new(audit) as _),
            crowd: crowd(config),
            in_flight: shutdown.tasks().clone(),
        });
        let settings = Arc::new(http_settings(config, credentials));
        Self {
            router: router(AppState { app, ops, settings }),
            shutdown,
            tokens,
            metrics,
            limits: connection_limits(config),
            audit,
            spans,
            trusted: config.server.trusted_proxies.clone().into(),
            files,
            shares,
            _tasks: stop.drop_guard(),
        }
    }

    /// The routes, for callers in this process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The use cases, for callers in this process.
    pub fn app(&self) -> &App {
        &self.shares.app
    }

    /// Going down.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The files that can be reloaded.
    pub fn watched_files(&self) -> WatchedFiles {
        self.files.clone()
    }

    /// What has to be written yet, for whoever ends the process.
    pub fn last_records(&self) -> LastRecords {
        LastRecords(self.audit.clone())
    }

    /// Waits until the first token was fetched, or could not be.
    pub async fn started(&self) {
        self.tokens.started().await;
    }

    /// Serves on `listener` until a drain has begun and ended.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub async fn serve(self, listener: TcpListener) -> anyhow::Result<()> {
        let deps = ServerDeps {
            router: self.router,
            tls: self.files.tls,
            shutdown: self.shutdown,
            metrics: self.metrics,
            trusted_proxies: self.trusted,
        };
        let served = Server::new(deps, self.limits).run(listener).await;
        LastRecords(self.audit).written(audit::PATIENCE).await;
        if let Some(spans) = &self.spans {
            spans.finish().await;
        }
        served
    }
}

fn app(
    config: &Config,
    upstream: &Upstream,
    (callers, meter): (Callers, Arc<dyn Meter>),
    shutdown: &Shutdown,
    jitter: Jitter,
) -> App {
    App::new(AppParts {
        callers,
        conversations: Arc::clone(&upstream.client) as Arc<_>,
        pacing: Arc::new(upstream.limiter.clone()),
        meter,
        settings: app_settings(config),
        shutdown: shutdown.clone(),
        random: Box::new(move || jitter.unit()),
    })
}

/// Who connects himself is bounded by connections; behind a proxy, requests take their place.
fn crowd(config: &Config) -> Option<Crowd> {
    let most = config.limits.connections_per_address.get();
    (!config.server.trusted_proxies.is_empty()).then(|| Crowd::at_most(most))
}

/// What `/readyz` tells of beside upstream.
type Checked = (KnownCallers, Option<AuditLog>, Option<Arc<Tls>>, Option<LogLosses>);

fn health(
    upstream: Upstream,
    app: &App,
    shutdown: &Shutdown,
    (callers, audit, tls, log): Checked,
) -> health::Health {
    health::Health {
        callers,
        tokens: upstream.tokens,
        throttles: upstream.throttles,
        limiter: upstream.limiter,
        retries: upstream.retries,
        app: app.clone(),
        shutdown: shutdown.clone(),
        audit,
        tls,
        log,
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let handshake = config.server.tls.as_ref().map(|tls| tls.handshake_timeout);
    ConnectionLimits {
        connections: config.limits.connections.get(),
        per_address: config.limits.connections_per_address.get(),
        header_bytes: config.limits.header_bytes.as_usize(),
        header_timeout: config.server.header_timeout,
        idle_timeout: config.server.idle_timeout,
        handshake_timeout: handshake.unwrap_or(config.server.header_timeout),
        answer_timeout: config.server.body_timeout,
    }
}

fn app_settings(config: &Config) -> AppSettings {
    AppSettings {
        limits: Limits { total_bytes: config.limits.total_bytes.as_usize() },
        patch_full: config.genesys.patch_body == config::PatchBody::Full,
        max_reads: config.verify.max_reads,
        settle: config.verify.settle,
        outstanding: config.verify.outstanding,
        conflict_retries: config.writes.conflict_retries,
        backoff: backoff(config),
        warm_for: config.writes.warm_for,
        memory: config.writes.remember_bytes.as_usize(),
        max_age: config.reads.max_age,
        waiting: config.limits.waiting.get(),
        waiting_per_participant: config.limits.waiting_per_participant.get(),
    }
}

/// The description of the API as it is configured.
fn documents(config: &Config) -> Documents {
    let public_url = config.server.public_url.as_ref().map_or("", BaseUrl::as_str);
    Documents::at(public_url, config.debug.enabled)
}

fn http_settings(config: &Config, credentials: &config::Credentials) -> HttpSettings {
    let word = &config.participants.default;
    HttpSettings {
        deadline: config.server.deadline,
        body_limit: config.limits.body_bytes.as_usize(),
        body_timeout: config.server.body_timeout,
        default_participant: word.parse().expect("the configuration accepts words only"),
        total_bytes: config.limits.total_bytes.as_usize(),
        etag: EtagKey::derive(credentials.client_secret.expose_secret()),
        require_if_match: config.writes.require_if_match,
    }
}
