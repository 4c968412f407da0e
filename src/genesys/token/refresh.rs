//! The task that fetches and renews the token.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::fetch::{FetchFailure, TokenFetcher};
use super::{AccessToken, TokenState};
use crate::clock;
use crate::genesys::error::{RefreshFailure, TokenFailure};
use crate::genesys::random::JitterSource;
use crate::policy::Backoff;
use crate::ports::MetricsRecorder;
use crate::ports::store::SharedToken;

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
    /// The token of all replicas; `None` for a token of its own.
    pub shared: Option<Arc<dyn SharedToken>>,
    pub jitter: JitterSource,
    pub recorder: Arc<MetricsRecorder>,
    pub publish: watch::Sender<TokenState>,
    pub stale: watch::Receiver<u64>,
}

impl TokenRefresher {
    pub async fn run(mut self) {
        let (mut token, mut generation, mut failures) = (None::<AccessToken>, 0, 0);
        let mut held = None;
        loop {
            let obtained = match &self.shared {
                Some(shared) => self.shared_token(&**shared, held, token.as_ref()).await,
                None => self.fetch.run().await.map(|grant| (grant, None)),
            };
            let wait = match obtained {
                Ok(((header, lifetime), shared_generation)) => {
                    held = shared_generation;
                    (failures, generation) = (0, generation + 1);
                    let fetched = Instant::now();
                    let expires = fetched + lifetime;
                    token = Some(AccessToken { header, generation, fetched, expires });
                    self.publish(token.clone(), None);
                    self.renewal_wait(lifetime, generation)
                }
                Err(failure) => {
                    failures += 1;
                    let wait = self.retry_wait(&failure, failures);
                    token = token.filter(AccessToken::is_good);
                    let (failure, next_try) = (failure.0, Instant::now() + wait);
                    self.publish(token.clone(), Some(RefreshFailure { failure, next_try }));
                    wait
                }
            };
            if self.is_refused_within(wait, token.as_ref()).await {
                // Requests wait for the next token from now on.
                token = None;
                self.publish(None, None);
                if let (Some(shared), Some(generation)) = (&self.shared, held) {
                    // Of another generation, it is not the one that was refused.
                    let _ = shared.drop_token(generation).await;
                }
            }
            self.fetch.reload_secret().await;
        }
    }

    fn publish(&self, token: Option<AccessToken>, trouble: Option<RefreshFailure>) {
        self.publish.send_replace(TokenState { has_started: true, token, trouble });
    }

    /// Records a fetch, and returns the wait before the renewal.
    fn renewal_wait(&self, lifetime: Duration, generation: u64) -> Duration {
        self.recorder.budget.token_fetched(clock::now(), lifetime);
        tracing::info!(
            token.lifetime_s = lifetime.as_secs(),
            token.generation = generation,
            "token fetched"
        );
        let ahead = self.fetch.settings.refresh_ahead.min(lifetime / 2);
        let spread = ahead.mul_f64(SPREAD * self.jitter.unit());
        lifetime.saturating_sub(ahead + spread)
    }

    /// Records a failure, and returns the wait before the next try.
    fn retry_wait(&self, (failure, retry_after): &FetchFailure, failures: u32) -> Duration {
        self.recorder.budget.token_failed(clock::now());
        let (backoff, asked) = match failure {
            TokenFailure::Refused(_) | TokenFailure::Invalid(_) => (REFUSED_BACKOFF, None),
            TokenFailure::Throttled | TokenFailure::Unavailable(_) => {
                (TRANSIENT_BACKOFF, *retry_after)
            }
        };
        // Only half of the wait is random: full jitter could mean no wait at all.
        let half = backoff.ceiling(failures) / 2;
        let wait = asked.map_or_else(
            || half + half.mul_f64(self.jitter.unit()),
            |asked| asked.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER),
        );
        tracing::error!(
            genesys.login = self.fetch.settings.login_host,
            %failure,
            next_try_s = wait.as_secs_f64(),
            "no token"
        );
        wait
    }

    /// Waits. Returns early with `true` if the API refuses the current token. Without a token there is
    /// nothing to refuse, and an earlier report must not end the wait.
    async fn is_refused_within(&mut self, wait: Duration, token: Option<&AccessToken>) -> bool {
        let Some(AccessToken { generation, .. }) = token else {
            tokio::time::sleep(wait).await;
            return false;
        };
        let refused = async {
            if self.stale.wait_for(|stale| stale >= generation).await.is_err() {
                // All users of the token are gone. The task fetches nothing until it is stopped.
                std::future::pending::<()>().await;
            }
        };
        tokio::time::timeout(wait, refused).await.is_ok()
    }
}
