//! The upstream side of the service: transport, stacks, token cache and client, put together.

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::clock::Monotonic;
use crate::config::{self, Config, Route};
use crate::genesys::{
    ApiThrottles, CallLimiters, Clearing, Client, Credentials, Jitter, Limiter, Paths, Retries,
    SecretSource, StackParts, StackSettings, TokenCache, TokenSettings, Transport,
    UpstreamThrottle, api_stack, token_stack,
};
use crate::policy::{Backoff, BudgetSettings, Ceilings};
use crate::ports::Meter;

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
    pub throttles: [(&'static str, Arc<UpstreamThrottle>); 3],
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
        let (login, login_throttle) = token_stack(&stack);
        let (credentials, settings) = (token_credentials(credentials), token_settings(config));
        let reporting = (jitter, Arc::clone(&stack.meter));
        let tokens = TokenCache::start(credentials, settings, login, reporting, stop);
        let rates = budget_settings(&config.genesys);
        let limiter = Limiter::new(rates, Arc::clone(&stack.meter), stack.clock);
        let analytics = Limiter::lane(rates, Arc::clone(&stack.meter), stack.clock);
        let limits = CallLimiters { budget: limiter.clone(), analytics };
        let api = api_stack(&stack, tokens.clone(), limits);
        let ApiThrottles { conversations, analytics } = api.throttles;
        let clearing = match config.genesys.clear_with {
            config::ClearWith::Empty => Clearing::Empty,
            config::ClearWith::Null => Clearing::Null,
        };
        Self {
            client: Client::new(api.transport, upstream_paths(&config.genesys.route), clearing),
            tokens,
            limiter,
            retries: api.retries,
            throttles: [
                ("upstream.conversations", conversations),
                ("upstream.analytics", analytics),
                ("upstream.token", login_throttle),
            ],
        }
    }
}

fn stack_settings(config: &Config) -> StackSettings {
    StackSettings {
        attempt_timeout: config.genesys.attempt_timeout,
        deadline: config.server.deadline,
        backoff: backoff(config),
        api_base: config.genesys.api_base().as_str().to_owned(),
        login_base: config.genesys.login_base().as_str().to_owned(),
    }
}

fn token_credentials(credentials: &config::Credentials) -> Credentials {
    let file = credentials.client_secret_file.clone();
    Credentials {
        client_id: credentials.client_id.clone(),
        client_secret: credentials.client_secret.clone(),
        secret_source: file.map(|path| {
            SecretSource::new(move || config::read_secret(&path).map(SecretString::from))
        }),
    }
}

fn token_settings(config: &Config) -> TokenSettings {
    TokenSettings {
        refresh_ahead: config.genesys.token_refresh_ahead,
        attempt_timeout: config.genesys.attempt_timeout,
        login_host: host(config.genesys.login_base().as_str()),
    }
}

/// The host of a base URL, with its port if it has one.
fn host(base: &str) -> String {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

fn budget_settings(genesys: &config::Genesys) -> BudgetSettings {
    let config::RateCeilings { committed, writes, reads, read_backs } = genesys.ceilings;
    let ceilings = Ceilings { committed, writes, reads, read_backs };
    BudgetSettings::per_minute(genesys.requests_per_minute, genesys.rate_window, ceilings)
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
