//! One token for all requests: one task fetches it, and renews it before it expires.
//!
//! The task publishes its state. Callers take the token, or wait for the next state, so all of them
//! share one fetch and its result. Genesys warns against fetching many tokens. It throttles the
//! endpoint with a 400 that must not be mistaken for bad credentials.

pub(super) mod fetch;
mod refresh;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::{TokenFailure, UpstreamError};
use super::random::JitterSource;
use super::transport::HttpTransport;
use crate::ports::MetricsRecorder;

/// Credentials of an OAuth client for the client-credentials grant.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretString,
    /// Reads the secret again, if it came from a file.
    pub secret_source: Option<SecretSource>,
}

/// The secret, or why it could not be read. The reason never holds the secret.
pub type SecretResult = Result<SecretString, String>;

/// Reads the client secret again. Reading may block.
#[derive(Clone)]
pub struct SecretSource(Arc<dyn Fn() -> SecretResult + Send + Sync>);

impl SecretSource {
    /// A source that calls `read`.
    pub fn new(read: impl Fn() -> SecretResult + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    fn read(&self) -> SecretResult {
        (self.0)()
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSource")
    }
}

/// Settings of the cache.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// How long before it expires a token is renewed. A token with less than twice this lifetime is
    /// renewed at half of it.
    pub refresh_ahead: Duration,
    /// Timeout of one request to the endpoint.
    pub attempt_timeout: Duration,
    /// Host of the token endpoint, for messages.
    pub login_host: String,
}

/// A token, ready to be sent.
#[derive(Clone)]
pub struct AccessToken {
    header: HeaderValue,
    generation: u64,
    expires: Instant,
}

impl AccessToken {
    /// The `Authorization` header, marked as sensitive.
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// The number of the fetch that brought the token.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn is_good(&self) -> bool {
        Instant::now() < self.expires
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The state that the task publishes.
#[derive(Clone, Debug)]
enum TokenState {
    /// The first fetch is in progress.
    Fetching,
    /// The API has refused the token, and the task fetches a new one.
    Replacing,
    /// There is a token. `trouble` is the failure of its last renewal, if it failed.
    Ready { token: AccessToken, trouble: Option<RefreshFailure> },
    /// There is no token. The next try comes at `next_try` of the failure.
    Failed { trouble: RefreshFailure },
}

/// Whether there is a token, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// The first fetch has not ended.
    Starting,
    /// There is a token, valid for this time.
    Good(Duration),
    /// The token endpoint refuses the credentials.
    Refused(String),
    /// There is no token for another reason.
    Unavailable(String),
}

/// How many renewals 401s may force in quick succession. One more is allowed every
/// [`FORCED_REFRESH_INTERVAL`]. If the API answers every token with 401, we must not flood the token
/// endpoint.
const MAX_FORCED_REFRESHES: u32 = 5;
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// The shared token. Cheap to clone.
#[derive(Clone)]
pub struct TokenCache(Arc<TokenCacheInner>);

struct TokenCacheInner {
    updates: watch::Receiver<TokenState>,
    stale: watch::Sender<u64>,
    forced: Mutex<ForcedRefreshQuota>,
    /// Whether the API answered 401 to a token that was fetched because of a 401.
    refused: AtomicBool,
    recorder: Arc<dyn MetricsRecorder>,
}

struct ForcedRefreshQuota {
    left: u32,
    since: Instant,
}

impl TokenCache {
    /// Starts the task that fetches and renews tokens. It ends with `stop`.
    pub fn start(
        credentials: ClientCredentials,
        settings: TokenSettings,
        stack: HttpTransport,
        (jitter, recorder): (JitterSource, Arc<dyn MetricsRecorder>),
        stop: CancellationToken,
    ) -> Self {
        let (publish, updates) = watch::channel(TokenState::Fetching);
        let (stale, stale_updates) = watch::channel(0);
        let (timeout, host) = (settings.attempt_timeout, settings.login_host.clone());
        let fetch = fetch::TokenFetcher { credentials, stack, timeout, host };
        let (task_recorder, task_stale) = (Arc::clone(&recorder), stale_updates);
        let task = refresh::TokenRefresher {
            fetch,
            settings,
            jitter,
            recorder: task_recorder,
            publish,
            stale: task_stale,
        };
        tokio::spawn(stop.run_until_cancelled_owned(task.run()));
        let forced = ForcedRefreshQuota { left: MAX_FORCED_REFRESHES, since: Instant::now() };
        Self(Arc::new(TokenCacheInner {
            updates,
            stale,
            forced: Mutex::new(forced),
            refused: AtomicBool::new(false),
            recorder,
        }))
    }

    /// The token, if there is a valid one.
    pub fn current(&self) -> Option<AccessToken> {
        match &*self.0.updates.borrow() {
            TokenState::Ready { token, .. } if token.is_good() => Some(token.clone()),
            TokenState::Ready { .. }
            | TokenState::Fetching
            | TokenState::Replacing
            | TokenState::Failed { .. } => None,
        }
    }

    /// Waits for a valid token until `deadline`.
    ///
    /// # Errors
    /// At once if the token endpoint refuses the credentials, or if no other try comes before the
    /// deadline.
    pub async fn get(&self, deadline: Instant) -> Result<AccessToken, UpstreamError> {
        self.newer_than(0, deadline).await
    }

    /// A token newer than `generation`, which the API has refused. All requests that saw this refusal
    /// share one fetch. `None` if too many renewals were forced lately.
    ///
    /// # Errors
    /// See [`TokenCache::get`].
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
            granted = !first || self.forced_quota().take();
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
            match &*updates.borrow_and_update() {
                TokenState::Ready { token, .. }
                    if token.is_good() && token.generation > generation =>
                {
                    return Ok(token.clone());
                }
                // An expired token that could not be renewed counts as none.
                TokenState::Failed { trouble }
                | TokenState::Ready { trouble: Some(trouble), .. }
                    if trouble.is_final(deadline) =>
                {
                    return Err(UpstreamError::NoToken(trouble.now()));
                }
                TokenState::Ready { .. }
                | TokenState::Failed { .. }
                | TokenState::Fetching
                | TokenState::Replacing => {}
            }
            match tokio::time::timeout_at(deadline, updates.changed()).await {
                Ok(Ok(())) => {}
                // The task has ended: the service shuts down.
                Ok(Err(_)) => return Err(UpstreamError::NotSentInTime),
                Err(_) => return Err(self.reason_at_deadline()),
            }
        }
    }

    /// The last failure, if there is one. It says more than "too late".
    fn reason_at_deadline(&self) -> UpstreamError {
        match &*self.0.updates.borrow() {
            TokenState::Failed { trouble } | TokenState::Ready { trouble: Some(trouble), .. } => {
                UpstreamError::NoToken(trouble.now())
            }
            TokenState::Ready { trouble: None, .. }
            | TokenState::Fetching
            | TokenState::Replacing => UpstreamError::NotSentInTime,
        }
    }

    /// Records that the API refuses even a fresh token. The log shows it once. Requests continue,
    /// because the reason may be a single conversation.
    pub fn mark_rejected(&self) {
        self.0.recorder.token_failed();
        if !self.0.refused.swap(true, Ordering::Relaxed) {
            tracing::error!("the API answers 401 even to a fresh token");
        }
    }

    /// Records that the API has accepted a token.
    pub fn mark_accepted(&self) {
        if self.0.refused.load(Ordering::Relaxed) {
            self.0.refused.store(false, Ordering::Relaxed);
        }
    }

    /// The state of the token, for `/readyz`.
    pub fn status(&self) -> TokenStatus {
        match &*self.0.updates.borrow() {
            TokenState::Fetching => TokenStatus::Starting,
            TokenState::Replacing => TokenStatus::Unavailable(
                "the API refused the token; the gateway fetches a new one".to_owned(),
            ),
            TokenState::Ready { trouble: Some(RefreshFailure { failure, .. }), .. }
            | TokenState::Failed { trouble: RefreshFailure { failure, .. } }
                if let TokenFailure::Refused(reason) = failure =>
            {
                TokenStatus::Refused(reason.clone())
            }
            TokenState::Ready { .. } if self.0.refused.load(Ordering::Relaxed) => {
                TokenStatus::Unavailable("the API answers 401 even to a fresh token".to_owned())
            }
            TokenState::Ready { token, .. } => {
                TokenStatus::Good(token.expires.saturating_duration_since(Instant::now()))
            }
            TokenState::Failed { trouble } => TokenStatus::Unavailable(trouble.failure.to_string()),
        }
    }

    /// Waits until the first fetch has succeeded or failed.
    pub async fn started(&self) {
        let mut updates = self.0.updates.clone();
        // An error means that the task has ended.
        let _ = updates.wait_for(|updates| !matches!(updates, TokenState::Fetching)).await;
    }

    fn forced_quota(&self) -> std::sync::MutexGuard<'_, ForcedRefreshQuota> {
        self.0.forced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ForcedRefreshQuota {
    fn take(&mut self) -> bool {
        let elapsed = self.since.elapsed();
        let earned = elapsed.as_secs() / FORCED_REFRESH_INTERVAL.as_secs();
        if earned > 0 {
            self.since = Instant::now();
            let earned = u32::try_from(earned).unwrap_or(MAX_FORCED_REFRESHES);
            self.left = self.left.saturating_add(earned).min(MAX_FORCED_REFRESHES);
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

/// A failed fetch, and when the next one starts.
#[derive(Clone, Debug)]
struct RefreshFailure {
    failure: TokenFailure,
    next_try: Instant,
}

impl RefreshFailure {
    /// Whether no token can arrive before `deadline`.
    fn is_final(&self, deadline: Instant) -> bool {
        match self.failure {
            TokenFailure::Refused(_) | TokenFailure::Invalid(_) => true,
            TokenFailure::Throttled { .. } | TokenFailure::Unavailable { .. } => {
                self.next_try >= deadline
            }
        }
    }

    /// The failure, with the wait that remains from now on.
    fn now(&self) -> TokenFailure {
        let left = self.next_try.saturating_duration_since(Instant::now());
        match self.failure.clone() {
            TokenFailure::Throttled { .. } => TokenFailure::Throttled { retry_after: left },
            TokenFailure::Unavailable { reason, .. } => {
                TokenFailure::Unavailable { reason, retry_after: left }
            }
            same @ (TokenFailure::Refused(_) | TokenFailure::Invalid(_)) => same,
        }
    }
}

impl fmt::Display for TokenFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Throttled { .. } => f.write_str("the token endpoint throttles"),
            Self::Unavailable { reason, .. } => write!(f, "the token endpoint fails: {reason}"),
            Self::Invalid(reason) => write!(f, "no token: {reason}"),
        }
    }
}
