//! Builds the upstream side of the service: transport, stacks, token cache and client.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::store::replica_name;
use super::tls::certificates;
use crate::clock::MonotonicClock;
use crate::config::{self, Config, UpstreamRoute};
use crate::genesys::{
    CallLimiter, CallLimiters, ClientCredentials, GenesysClient, HttpClientSettings, HttpTransport,
    JitterSource, RetryPolicy, RoutePaths, SecretSource, StackParts, TokenCache, TokenSettings,
    UpstreamThrottle, api_stack, token_stack, user_agent,
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
            attempt_timeout: config.genesys.attempt_timeout.get(),
            deadline: config.server.deadline.get(),
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
        let (credentials, settings) = token_settings(config, credentials);
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

fn token_settings(
    config: &Config,
    credentials: &config::OauthCredentials,
) -> (ClientCredentials, TokenSettings) {
    let settings = TokenSettings {
        refresh_ahead: config.genesys.token_refresh_ahead.get(),
        attempt_timeout: config.genesys.attempt_timeout.get(),
        login_host: config.genesys.login_base().host_and_port().to_owned(),
    };
    let config::OauthCredentials { client_id, client_secret, client_secret_file } =
        credentials.clone();
    let secret_source = client_secret_file.map(|path| {
        let read = move || config::read_secret(&path).map(SecretString::from);
        Arc::new(read) as SecretSource
    });
    (ClientCredentials { client_id, client_secret, secret_source }, settings)
}

pub fn budget_settings(genesys: &config::GenesysConfig) -> BudgetSettings {
    let config::RateCeilings { committed, writes, reads, read_backs } = genesys.ceilings;
    let percents = [committed, writes, reads, read_backs];
    let [committed, writes, reads, read_backs] =
        percents.map(|percent| u8::try_from(percent.get()).expect("it is at most 100"));
    let ceilings = PriorityCeilings { committed, writes, reads, read_backs };
    let window = genesys.rate_window.get();
    BudgetSettings::per_minute(genesys.requests_per_minute.get(), window, ceilings)
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
    Backoff::new(config.genesys.backoff_base.get(), config.genesys.backoff_cap.get())
}

/// The configured transport to upstream.
pub fn transport(config: &Config) -> anyhow::Result<HttpTransport> {
    let genesys = &config.genesys;
    let body_limit = genesys.max_response_bytes.get();
    let mut settings = HttpClientSettings::new(genesys.connect_timeout.get(), body_limit);
    if let Some(file) = &genesys.ca_file {
        settings.authorities = certificates(file).context("cannot use genesys.ca_file")?;
    }
    if let Some(proxy) = &genesys.proxy {
        let proxy = reqwest::Proxy::https(proxy.expose_url().clone());
        settings.proxy = Some(proxy.context("cannot use genesys.proxy")?);
    }
    settings.transport().context("cannot set up TLS; are CA certificates installed?")
}
