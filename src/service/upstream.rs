//! Builds the upstream side of the service: transport, stacks, token cache and client.

use std::sync::Arc;

use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::store::replica_name;
use crate::clock::MonotonicClock;
use crate::config::{self, Config, UpstreamRoute};
use crate::genesys::{
    CallLimiter, CallLimiters, ClientCredentials, GenesysClient, HttpTransport, JitterSource,
    RetryPolicy, RoutePaths, SecretSource, StackParts, TokenCache, TokenSettings, UpstreamThrottle,
    api_stack, token_stack, user_agent,
};
use crate::policy::{Backoff, BudgetSettings, PriorityCeilings};
use crate::ports::MetricsRecorder;
use crate::ports::store::SharedToken;

/// The parts of the upstream side.
pub struct UpstreamParts {
    pub transport: HttpTransport,
    pub jitter: JitterSource,
    pub recorder: Arc<MetricsRecorder>,
    pub stop: CancellationToken,
}

/// The upstream side: the client and the parts behind it.
pub struct UpstreamSide {
    pub client: Arc<GenesysClient>,
    pub tokens: TokenCache,
    pub limiter: CallLimiter,
    pub retries: Arc<RetryPolicy>,
    pub throttles: [(&'static str, Arc<UpstreamThrottle>); 3],
}

impl UpstreamSide {
    /// Builds the upstream side and starts to fetch a token.
    pub fn connect(
        config: &Config,
        credentials: &config::OauthCredentials,
        shared_token: Option<Arc<dyn SharedToken>>,
        parts: UpstreamParts,
    ) -> Self {
        let UpstreamParts { transport, jitter, recorder, stop } = parts;
        let stack = StackParts {
            attempt_timeout: config.genesys.attempt_timeout,
            deadline: config.server.deadline,
            backoff: backoff(config),
            transport,
            user_agent: user_agent(replica_name(&config.store).as_deref()),
            recorder,
            jitter: jitter.clone(),
            clock: MonotonicClock::start(),
        };
        let (throttles, retries) = (stack.throttles(), stack.retries());
        let login_base = config.genesys.login_base();
        let login = token_stack(&stack, login_base.as_str(), throttles.clone());
        let (credentials, settings) = (token_credentials(credentials), token_settings(config));
        let reporting = (jitter, Arc::clone(&stack.recorder));
        let tokens =
            TokenCache::start(credentials, settings, (login, shared_token), reporting, stop);
        let rates = budget_settings(&config.genesys);
        let limiter = CallLimiter::new(rates, Arc::clone(&stack.recorder), stack.clock);
        let analytics = CallLimiter::lane(rates, Arc::clone(&stack.recorder), stack.clock);
        let limits = CallLimiters { budget: limiter.clone(), analytics };
        let api = api_stack(
            &stack,
            config.genesys.api_base().as_str(),
            (Arc::clone(&retries), throttles.clone(), tokens.clone(), limits),
        );
        let clears_with_null = matches!(config.genesys.clear_with, config::ClearWith::Null);
        let paths = upstream_paths(&config.genesys);
        Self {
            client: GenesysClient::new(api, paths, clears_with_null),
            tokens,
            limiter,
            retries,
            throttles: [
                ("upstream.conversations", throttles.conversations),
                ("upstream.analytics", throttles.analytics),
                ("upstream.token", throttles.token),
            ],
        }
    }
}

fn token_credentials(credentials: &config::OauthCredentials) -> ClientCredentials {
    let file = credentials.client_secret_file.clone();
    ClientCredentials {
        client_id: credentials.client_id.clone(),
        client_secret: credentials.client_secret.clone(),
        secret_source: file.map(|path| {
            let read = move || config::read_secret(&path).map(SecretString::from);
            Arc::new(read) as SecretSource
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

pub fn budget_settings(genesys: &config::GenesysConfig) -> BudgetSettings {
    let config::RateCeilings { committed, writes, reads, read_backs } = genesys.ceilings;
    let ceilings = PriorityCeilings { committed, writes, reads, read_backs };
    BudgetSettings::per_minute(genesys.requests_per_minute.get(), genesys.rate_window, ceilings)
}

fn upstream_paths(genesys: &config::GenesysConfig) -> RoutePaths {
    match &genesys.custom {
        Some(custom) => RoutePaths {
            conversation: custom.conversation.as_ref().map(|path| path.as_str().to_owned()),
            participant: custom.participant.as_str().to_owned(),
            attributes: custom.attributes.as_str().to_owned(),
        },
        None if genesys.route == UpstreamRoute::Calls => {
            RoutePaths::platform("/api/v2/conversations/calls")
        }
        None => RoutePaths::platform("/api/v2/conversations"),
    }
}

/// The delays between attempts, for calls and for writes.
pub fn backoff(config: &Config) -> Backoff {
    Backoff::new(config.genesys.backoff_base, config.genesys.backoff_cap)
}
