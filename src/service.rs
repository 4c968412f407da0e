//! The composition root: the only file that names every concrete type.

mod health;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use hyper_util::rt::TokioTimer;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{App, AppParts, AppSettings};
use crate::clock::Monotonic;
use crate::config::{self, Config, Route};
use crate::domain::Limits;
use crate::error::Error;
use crate::genesys::{
    Client, Credentials, Guard, Jitter, Paths, StackParts, StackSettings, TokenCache,
    TokenSettings, Transport, api_stack, token_stack,
};
use crate::http::{AppState, EtagKey, HttpSettings, Ops, paths, router};
use crate::policy::Backoff;
use crate::ports::{Conversations as _, Cycle, Meter, ReadCall};
use crate::shutdown::Shutdown;
use crate::telemetry::{AccessLog, Metrics};
use secrecy::ExposeSecret as _;

/// How long after a drain answers may still be on their way to their callers.
const GRACE: Duration = Duration::from_secs(1);

/// What differs between the real service and a test of it.
pub struct Parts {
    /// How requests reach upstream.
    pub transport: Transport,
    /// Where jitter comes from.
    pub jitter: Jitter,
    /// Where access lines go.
    pub access: AccessLog,
}

/// The service, ready to serve. Its token is fetched and renewed as long as it lives.
pub struct Service {
    router: Router,
    shutdown: Shutdown,
    tokens: TokenCache,
    metrics: Metrics,
    settings: config::Server,
    _tasks: DropGuard,
}

impl Service {
    /// Puts the service together and starts to fetch a token. Needs a runtime.
    pub fn build(config: &Config, credentials: &config::Credentials, parts: Parts) -> Self {
        let Parts {
            transport,
            jitter,
            access,
        } = parts;
        let metrics = Metrics::new(paths::ALL);
        let meter: Arc<dyn Meter> = Arc::new(metrics.clone());
        let (shutdown, stop) = (Shutdown::default(), CancellationToken::new());
        let upstream = Upstream::connect(
            config,
            credentials,
            UpstreamParts {
                transport,
                jitter: jitter.clone(),
                meter: Arc::clone(&meter),
                stop: stop.clone(),
            },
        );
        let app = App::new(AppParts {
            conversations: upstream.client,
            meter,
            settings: app_settings(config),
            shutdown: shutdown.clone(),
            random: Box::new(move || jitter.unit()),
        });
        let tokens = upstream.tokens;
        let health = health::Health {
            tokens: tokens.clone(),
            guards: upstream.guards,
            app: app.clone(),
            shutdown: shutdown.clone(),
        };
        let ops = Ops {
            readiness: Arc::new(health),
            metrics: metrics.clone(),
            access,
            in_flight: shutdown.tasks().clone(),
        };
        let etag = EtagKey::derive(credentials.client_secret.expose_secret());
        let settings = Arc::new(http_settings(config, etag));
        let router = router(AppState { app, ops, settings });
        let server = config.server.clone();
        Self {
            router,
            shutdown,
            tokens,
            metrics,
            settings: server,
            _tasks: stop.drop_guard(),
        }
    }

    /// The routes, for callers in this process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Going down.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The figures.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
        listener
            .set_nonblocking(true)
            .context("cannot use the listener")?;
        let handle = axum_server::Handle::<SocketAddr>::new();
        let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.header_timeout);
        let mut server = tokio::spawn(server.serve(self.router.clone().into_make_service()));
        tokio::select! {
            ended = &mut server => ended?.context("the server ended by itself")?,
            () = self.shutdown.draining() => {
                // The listener stays open meanwhile, so that /readyz can say what is going on and
                // late callers get an answer instead of a closed door.
                self.shutdown.finished(GRACE).await;
                handle.graceful_shutdown(Some(GRACE));
                server.await?.context("the server ended badly")?;
            }
        }
        Ok(())
    }
}

/// What the upstream side is made of.
struct UpstreamParts {
    transport: Transport,
    jitter: Jitter,
    meter: Arc<dyn Meter>,
    stop: CancellationToken,
}

/// The upstream side: the client, and what stands behind it.
struct Upstream {
    client: Arc<Client>,
    tokens: TokenCache,
    guards: [(&'static str, Arc<Guard>); 2],
}

impl Upstream {
    fn connect(config: &Config, credentials: &config::Credentials, parts: UpstreamParts) -> Self {
        let UpstreamParts {
            transport,
            jitter,
            meter,
            stop,
        } = parts;
        let stack = StackParts {
            settings: stack_settings(config),
            transport,
            meter,
            jitter: jitter.clone(),
            clock: Monotonic::start(),
        };
        let (login, login_guard) = token_stack(&stack);
        let credentials = Credentials {
            client_id: credentials.client_id.clone(),
            client_secret: credentials.client_secret.clone(),
        };
        let settings = TokenSettings {
            refresh_ahead: config.genesys.token_refresh_ahead,
            attempt_timeout: config.genesys.attempt_timeout,
        };
        let tokens = TokenCache::start(credentials, settings, login, jitter, stop);
        let (api, api_guard) = api_stack(&stack, tokens.clone());
        Self {
            client: Client::new(api, upstream_paths(&config.genesys.route)),
            tokens,
            guards: [
                ("upstream.conversations", api_guard),
                ("upstream.token", login_guard),
            ],
        }
    }
}

/// What a set of credentials is good for, found out by a token and one read.
pub struct Probe {
    /// Whether a token could be fetched.
    pub token: Result<(), Error>,
    /// Whether conversations can be read: asked for one that does not exist.
    pub read: Result<(), Error>,
}

/// Fetches a token, and reads a conversation that does not exist.
pub async fn probe(
    config: &Config,
    credentials: &config::Credentials,
    transport: Transport,
) -> Probe {
    let (jitter, stop) = (Jitter::random(), CancellationToken::new());
    let meter: Arc<dyn Meter> = Arc::new(Metrics::new(paths::ALL));
    let _ends = stop.clone().drop_guard();
    let parts = UpstreamParts {
        transport,
        jitter,
        meter,
        stop,
    };
    let upstream = Upstream::connect(config, credentials, parts);
    let deadline = Instant::now() + config.server.deadline;
    let token = upstream.tokens.get(deadline).await;
    let token = token.map(drop).map_err(|error| error.into_error(false));
    let call = ReadCall {
        conversation: NO_CONVERSATION.parse().expect("a UUID"),
        participant: NO_CONVERSATION.parse().ok(),
        retries: true,
    };
    let read = match upstream.client.read(call, &Cycle::new(deadline)).await {
        Ok(_) | Err(Error::ConversationNotFound(_)) => Ok(()),
        Err(error) => Err(error),
    };
    Probe { token, read }
}

/// The id of no conversation.
const NO_CONVERSATION: &str = "00000000-0000-4000-8000-000000000000";

fn stack_settings(config: &Config) -> StackSettings {
    StackSettings {
        attempt_timeout: config.genesys.attempt_timeout,
        backoff: backoff(config),
        api_base: config.genesys.api_base().as_str().to_owned(),
        login_base: config.genesys.login_base().as_str().to_owned(),
    }
}

fn backoff(config: &Config) -> Backoff {
    Backoff::new(config.genesys.backoff_base, config.genesys.backoff_cap)
}

fn upstream_paths(route: &Route) -> Paths {
    match route {
        Route::Conversations => Paths::Conversations,
        Route::Calls => Paths::Calls,
        Route::Custom(custom) => Paths::Custom {
            participant: custom.participant.as_str().to_owned(),
            attributes: custom.attributes.as_str().to_owned(),
            conversation: custom
                .conversation
                .as_ref()
                .map(|path| path.as_str().to_owned()),
        },
    }
}

fn app_settings(config: &Config) -> AppSettings {
    AppSettings {
        limits: Limits {
            total_bytes: config.limits.total_bytes.as_usize(),
        },
        patch_full: config.genesys.patch_body == config::PatchBody::Full,
        max_reads: config.verify.max_reads,
        settle: config.verify.settle,
        outstanding: config.verify.outstanding,
        conflict_retries: config.writes.conflict_retries,
        survival_watch: config.writes.survival_watch,
        backoff: backoff(config),
        waiting: config.limits.waiting.get(),
        waiting_per_participant: config.limits.waiting_per_participant.get(),
    }
}

fn http_settings(config: &Config, etag: EtagKey) -> HttpSettings {
    let word = &config.participants.default;
    HttpSettings {
        deadline: config.server.deadline,
        body_limit: config.limits.body_bytes.as_usize(),
        body_timeout: config.server.body_timeout,
        default_participant: word.parse().expect("the configuration accepts words only"),
        total_bytes: config.limits.total_bytes.as_usize(),
        etag,
    }
}
