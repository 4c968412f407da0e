//! The upstream side of the service: transport, stacks, token cache and client, put together.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Monotonic;
use crate::config::{self, Config, Route};
use crate::error::Error;
use crate::genesys::{
    ApiGuards, Clearing, Client, Credentials, Guard, Jitter, Limiter, Limits, Paths, Retries,
    StackParts, StackSettings, TokenCache, TokenSettings, Transport, api_stack, token_stack,
};
use crate::http::paths;
use crate::policy::{Backoff, RateSettings};
use crate::ports::{Class, Conversations as _, Cycle, Meter, ReadCall};
use crate::telemetry::Metrics;

/// What the upstream side is made of.
pub struct UpstreamParts {
    pub transport: Transport,
    pub jitter: Jitter,
    pub meter: Arc<dyn Meter>,
    pub stop: CancellationToken,
}

/// The upstream side: the client, and what stands behind it.
pub struct Upstream {
    pub client: Arc<Client>,
    pub tokens: TokenCache,
    pub limiter: Limiter,
    pub retries: Arc<Retries>,
    pub guards: [(&'static str, Arc<Guard>); 3],
}

impl Upstream {
    /// Connects, and starts to fetch a token.
    pub fn connect(
        config: &Config,
        credentials: &config::Credentials,
        parts: UpstreamParts,
    ) -> Self {
        let UpstreamParts { transport, jitter, meter, stop } = parts;
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
        let rates = rate_settings(&config.genesys);
        let limiter = Limiter::new(rates, Arc::clone(&stack.meter), stack.clock);
        let analytics = Limiter::lane(rates, Arc::clone(&stack.meter), stack.clock);
        let limits = Limits { budget: limiter.clone(), analytics };
        let api = api_stack(&stack, tokens.clone(), limits);
        let ApiGuards { conversations, analytics } = api.guards;
        let clearing = match config.genesys.clear_with {
            config::ClearWith::Empty => Clearing::Empty,
            config::ClearWith::Null => Clearing::Null,
        };
        Self {
            client: Client::new(api.transport, upstream_paths(&config.genesys.route), clearing),
            tokens,
            limiter,
            retries: api.retries,
            guards: [
                ("upstream.conversations", conversations),
                ("upstream.analytics", analytics),
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
///
/// # Errors
/// If TLS cannot be set up.
///
/// # Panics
/// Never: the id of that conversation is a UUID.
pub async fn probe(config: &Config, credentials: &config::Credentials) -> anyhow::Result<Probe> {
    let transport = super::transport(config)?;
    let (jitter, stop) = (Jitter::random(), CancellationToken::new());
    let meter: Arc<dyn Meter> = Arc::new(Metrics::new(paths::ALL));
    let _ends = stop.clone().drop_guard();
    let parts = UpstreamParts { transport, jitter, meter, stop };
    let upstream = Upstream::connect(config, credentials, parts);
    let deadline = Instant::now() + config.server.deadline;
    let token = upstream.tokens.get(deadline).await;
    let token = token.map(drop).map_err(|error| error.into_error(false));
    let call = ReadCall {
        conversation: NO_CONVERSATION.parse().expect("a UUID"),
        participant: NO_CONVERSATION.parse().ok(),
        retries: true,
        permit: None,
        class: Class::Read,
    };
    let read = match upstream.client.read(call, &Cycle::new(deadline)).await {
        Ok(_) | Err(Error::ConversationNotFound(_)) => Ok(()),
        Err(error) => Err(error),
    };
    Ok(Probe { token, read })
}

/// The id of no conversation.
const NO_CONVERSATION: &str = "00000000-0000-4000-8000-000000000000";

fn stack_settings(config: &Config) -> StackSettings {
    StackSettings {
        attempt_timeout: config.genesys.attempt_timeout,
        deadline: config.server.deadline,
        backoff: backoff(config),
        api_base: config.genesys.api_base().as_str().to_owned(),
        login_base: config.genesys.login_base().as_str().to_owned(),
    }
}

fn rate_settings(genesys: &config::Genesys) -> RateSettings {
    RateSettings::per_minute(genesys.requests_per_minute, genesys.rate_window, genesys.rate_reserve)
}

fn upstream_paths(route: &Route) -> Paths {
    match route {
        Route::Conversations => Paths::Conversations,
        Route::Calls => Paths::Calls,
        Route::Custom(custom) => Paths::Custom {
            participant: custom.participant.as_str().to_owned(),
            attributes: custom.attributes.as_str().to_owned(),
            conversation: custom.conversation.as_ref().map(|path| path.as_str().to_owned()),
        },
    }
}

/// Waits between tries, of calls and of writes alike.
pub fn backoff(config: &Config) -> Backoff {
    Backoff::new(config.genesys.backoff_base, config.genesys.backoff_cap)
}
