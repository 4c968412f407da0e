//! One token for all requests: one task fetches it, and renews it before it expires.
//!
//! The task publishes its state. Callers take the token, or wait for the next state, so all of them
//! share one fetch and its result. Genesys warns against fetching many tokens. It throttles the
//! endpoint with a 400 that must not be mistaken for bad credentials.

pub(super) mod fetch;
mod refresh;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{RefreshFailure, TokenFailure, UpstreamError};
use super::layers::ApiService;
use super::random::JitterSource;
use crate::clock;
use crate::ports::MetricsRecorder;
use crate::ports::store::SharedToken;

pub struct ClientCredentials {
    pub client_id: String,
    pub client_secret: SecretString,
    /// Reads the secret again, if it came from a file.
    pub secret_source: Option<SecretSource>,
}

/// Reads the client secret again. Reading may block. An error never holds the secret.
pub type SecretSource = Arc<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// How long before it expires a token is renewed. A token with less than twice this lifetime is
    /// renewed at half of it.
    pub refresh_ahead: Duration,
    pub attempt_timeout: Duration,
    /// Host of the token endpoint, for messages.
    pub login_host: String,
}

/// A token, ready to be sent. The header is marked as sensitive, so `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct AccessToken {
    pub header: HeaderValue,
    /// The number of the fetch that brought the token.
    pub generation: u64,
    fetched: Instant,
    expires: Instant,
}

impl AccessToken {
    fn is_good(&self) -> bool {
        Instant::now() < self.expires
    }
}

/// The state that the task publishes.
#[derive(Clone, Debug, Default)]
struct TokenState {
    /// Whether the first fetch has ended.
    has_started: bool,
    /// The token, which may have expired. `None` while a refused token is replaced, too.
    token: Option<AccessToken>,
    trouble: Option<RefreshFailure>,
}

/// Whether there is a token, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    Starting,
    Good(Duration),
    Refused(String),
    Unavailable(String),
}

/// How many renewals 401s may force in quick succession. One more is allowed every
/// [`FORCED_REFRESH_INTERVAL`]. If the API answers every token with 401, we must not flood the token
/// endpoint.
const MAX_FORCED_REFRESHES: u32 = 5;
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(10);

const REJECTED: &str = "the API answers 401 even to a fresh token";

#[derive(Clone)]
pub struct TokenCache(Arc<TokenCacheInner>);

struct TokenCacheInner {
    updates: watch::Receiver<TokenState>,
    stale: watch::Sender<u64>,
    /// When the next forced renewal is due, if all of them come evenly spaced.
    forced_due: Mutex<Instant>,
    /// Whether the API answered 401 to a token that was fetched because of a 401.
    refused: AtomicBool,
    recorder: Arc<MetricsRecorder>,
}

impl TokenCache {
    /// Starts the task that fetches and renews tokens. It ends with `stop`.
    pub fn start(
        credentials: ClientCredentials,
        settings: TokenSettings,
        (stack, shared): (ApiService, Option<Arc<dyn SharedToken>>),
        (jitter, recorder): (JitterSource, Arc<MetricsRecorder>),
        stop: CancellationToken,
    ) -> Self {
        let (publish, updates) = watch::channel(TokenState::default());
        let (stale, stale_updates) = watch::channel(0);
        let task = refresh::TokenRefresher {
            fetch: fetch::TokenFetcher { credentials, settings, stack },
            shared,
            jitter,
            recorder: Arc::clone(&recorder),
            publish,
            stale: stale_updates,
        };
        tokio::spawn(stop.run_until_cancelled_owned(task.run()));
        Self(Arc::new(TokenCacheInner {
            updates,
            stale,
            forced_due: Mutex::new(Instant::now()),
            refused: AtomicBool::new(false),
            recorder,
        }))
    }

    pub fn current(&self) -> Option<AccessToken> {
        self.0.updates.borrow().token.clone().filter(AccessToken::is_good)
    }

    /// Waits for a valid token until `deadline`. Fails at once if the token endpoint refuses the
    /// credentials, or if no other try comes before the deadline.
    pub async fn get(&self, deadline: Instant) -> Result<AccessToken, UpstreamError> {
        self.newer_than(0, deadline).await
    }

    /// A token newer than `generation`, which the API has refused. All requests that saw this refusal
    /// share one fetch. `None` if too many renewals were forced lately.
    pub async fn renewed(
        &self,
        generation: u64,
        deadline: Instant,
    ) -> Result<Option<AccessToken>, UpstreamError> {
        let is_newest = self.current().is_none_or(|token| token.generation <= generation);
        let mut granted = true;
        // Under the lock of the channel: requests that saw the same 401 use up one renewal.
        self.0.stale.send_if_modified(|stale| {
            let first = is_newest && *stale < generation;
            granted = !first || self.may_force();
            if first && granted {
                *stale = generation;
            }
            first && granted
        });
        if !granted {
            return Ok(None);
        }
        self.newer_than(generation, deadline).await.map(Some)
    }

    async fn newer_than(
        &self,
        generation: u64,
        deadline: Instant,
    ) -> Result<AccessToken, UpstreamError> {
        let mut updates = self.0.updates.clone();
        loop {
            let TokenState { token, trouble, .. } = updates.borrow_and_update().clone();
            let is_wanted = |token: &AccessToken| token.is_good() && token.generation > generation;
            if let Some(token) = token.filter(is_wanted) {
                return Ok(token);
            }
            // An expired token that could not be renewed counts as none.
            if let Some(trouble) = trouble.filter(|trouble| trouble.is_final(deadline)) {
                return Err(UpstreamError::NoToken(trouble));
            }
            match tokio::time::timeout_at(deadline, updates.changed()).await {
                Ok(Ok(())) => {}
                // The task has ended: the service shuts down.
                Ok(Err(_)) => return Err(UpstreamError::NotSentInTime),
                // The last failure says more than "too late".
                Err(_) => {
                    let trouble = self.0.updates.borrow().trouble.clone();
                    return Err(
                        trouble.map_or(UpstreamError::NotSentInTime, UpstreamError::NoToken)
                    );
                }
            }
        }
    }

    /// Records that the API refuses even a fresh token. The log shows it once. Requests continue,
    /// because the reason may be a single conversation.
    pub fn mark_rejected(&self) {
        self.0.recorder.budget.token_failed(clock::now());
        if !self.0.refused.swap(true, Ordering::Relaxed) {
            tracing::error!("{REJECTED}");
        }
    }

    pub fn mark_accepted(&self) {
        if self.0.refused.load(Ordering::Relaxed) {
            self.0.refused.store(false, Ordering::Relaxed);
        }
    }

    /// The state of the token, for `/readyz`.
    pub fn status(&self) -> TokenStatus {
        let state = self.0.updates.borrow();
        let unavailable = |reason: &str| TokenStatus::Unavailable(reason.to_owned());
        match (&state.token, &state.trouble) {
            _ if !state.has_started => TokenStatus::Starting,
            (_, Some(RefreshFailure { failure: TokenFailure::Refused(reason), .. })) => {
                TokenStatus::Refused(reason.clone())
            }
            (Some(_), _) if self.0.refused.load(Ordering::Relaxed) => unavailable(REJECTED),
            (Some(token), _) => {
                TokenStatus::Good(token.expires.saturating_duration_since(Instant::now()))
            }
            (None, Some(trouble)) => unavailable(&trouble.failure.to_string()),
            (None, None) => unavailable("the API refused the token; the gateway fetches a new one"),
        }
    }

    /// Time since the token was fetched.
    pub fn age(&self) -> Option<Duration> {
        self.0.updates.borrow().token.as_ref().map(|token| token.fetched.elapsed())
    }

    /// Waits until the first fetch has succeeded or failed.
    pub async fn started(&self) {
        let mut updates = self.0.updates.clone();
        // An error means that the task has ended.
        let _ = updates.wait_for(|state| state.has_started).await;
    }

    /// Charges a forced renewal.
    fn may_force(&self) -> bool {
        let (mut forced_due, now) = (self.0.forced_due.lock(), Instant::now());
        let due = (*forced_due).max(now);
        let granted = due <= now + FORCED_REFRESH_INTERVAL * (MAX_FORCED_REFRESHES - 1);
        if granted {
            *forced_due = due + FORCED_REFRESH_INTERVAL;
        }
        granted
    }
}

impl RefreshFailure {
    /// Whether no token can arrive before `deadline`.
    fn is_final(&self, deadline: Instant) -> bool {
        match self.failure {
            TokenFailure::Refused(_) | TokenFailure::Invalid(_) => true,
            TokenFailure::Throttled | TokenFailure::Unavailable(_) => self.next_try >= deadline,
        }
    }
}
