//! The task that fetches and renews the token.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::fetch::{FetchFailure, TokenFetcher, TokenGrant};
use super::{AccessToken, RefreshFailure, TokenSettings, TokenState};
use crate::genesys::error::TokenFailure;
use crate::genesys::random::JitterSource;
use crate::policy::Backoff;
use crate::ports::MetricsRecorder;

/// Waits after transient failures: an outage, or throttling. The vendor's Terraform provider retries
/// a throttled endpoint for a minute.
const TRANSIENT_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// Waits after refusals. A repaired OAuth client works again without a restart of the gateway.
const REFUSED_BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
/// Longer `Retry-After` values of the endpoint are cut to this. Nothing works without a token, so a
/// try every few minutes is worth it.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(3);
/// Shorter `Retry-After` values are raised to this: a value of 0 must not cause a busy loop.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Renewals are spread over this part of the time ahead, so that replicas that started together do
/// not renew together.
const SPREAD: f64 = 0.25;

/// Fetches a token, publishes it, waits, and starts again.
pub struct TokenRefresher {
    pub fetch: TokenFetcher,
    pub settings: TokenSettings,
    pub jitter: JitterSource,
    pub recorder: Arc<dyn MetricsRecorder>,
    pub publish: watch::Sender<TokenState>,
    pub stale: watch::Receiver<u64>,
}

impl TokenRefresher {
    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let (mut token, mut generation, mut failures) = (None::<AccessToken>, 0, 0);
        loop {
            let wait = match self.fetch.run().await {
                Ok(fetched) => {
                    (failures, generation) = (0, generation + 1);
                    let (fresh, wait) = self.accept(fetched, generation);
                    token = Some(fresh);
                    wait
                }
                Err(failure) => {
                    failures += 1;
                    self.report(failure, failures, token.as_ref())
                }
            };
            if self.is_refused_within(wait, generation).await {
                // Requests wait for the next token from now on.
                token = None;
                self.publish.send_replace(TokenState::Replacing);
            }
            self.fetch.reload_secret().await;
        }
    }

    fn accept(&self, fetched: TokenGrant, generation: u64) -> (AccessToken, Duration) {
        let TokenGrant { header, lifetime } = fetched;
        self.recorder.token_fetched(lifetime);
        let token = AccessToken { header, generation, expires: Instant::now() + lifetime };
        tracing::info!(
            token.lifetime_s = lifetime.as_secs(),
            token.generation = generation,
            "token fetched"
        );
        self.publish.send_replace(TokenState::Ready { token: token.clone(), trouble: None });
        let ahead = self.settings.refresh_ahead.min(lifetime / 2);
        let spread = ahead.mul_f64(SPREAD * self.jitter.unit());
        (token, lifetime.saturating_sub(ahead + spread))
    }

    /// Publishes a failure, and returns the wait before the next try. A token that is still valid
    /// stays in use.
    fn report(
        &self,
        failure: FetchFailure,
        failures: u32,
        token: Option<&AccessToken>,
    ) -> Duration {
        let FetchFailure { failure, retry_after } = failure;
        self.recorder.token_failed();
        let (backoff, may_ask) = match failure {
            TokenFailure::Refused(_) | TokenFailure::Invalid(_) => (REFUSED_BACKOFF, false),
            TokenFailure::Throttled { .. } | TokenFailure::Unavailable { .. } => {
                (TRANSIENT_BACKOFF, true)
            }
        };
        // Only half of the wait is random: full jitter could mean no wait at all.
        let half = backoff.ceiling(failures) / 2;
        let asked = retry_after
            .filter(|_| may_ask)
            .map(|asked| asked.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER));
        let wait = asked.unwrap_or_else(|| half + half.mul_f64(self.jitter.unit()));
        tracing::error!(
            genesys.login = self.fetch.host,
            failure = %failure,
            next_try_s = wait.as_secs_f64(),
            "no token"
        );
        let trouble = RefreshFailure { failure, next_try: Instant::now() + wait };
        self.publish.send_replace(match token.filter(|token| token.is_good()) {
            Some(token) => TokenState::Ready { token: token.clone(), trouble: Some(trouble) },
            None => TokenState::Failed { trouble },
        });
        wait
    }

    /// Waits. Returns early with `true` if the API refuses the current token.
    async fn is_refused_within(&mut self, wait: Duration, generation: u64) -> bool {
        // Without a token there is nothing to refuse. An earlier report must not end the wait.
        if self.publish.borrow().is_without_token() {
            tokio::time::sleep(wait).await;
            return false;
        }
        let refused = self.stale.wait_for(|stale| *stale >= generation && generation > 0);
        matches!(tokio::time::timeout(wait, refused).await, Ok(Ok(_)))
    }
}

impl TokenState {
    fn is_without_token(&self) -> bool {
        !matches!(self, Self::Ready { .. })
    }
}
