//! One token for all requests: fetched once, renewed before it dies, by one task.
//!
//! The task publishes what it has; callers take it, or wait for the next news, so that a crowd
//! shares one fetch and its result. Genesys warns against fetching many tokens, and throttles the
//! endpoint with a 400 that must not be taken for bad credentials.

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

/// Credentials of an OAuth client with the client-credentials grant.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: SecretString,
    /// Where the secret can be read again, if it came from a file.
    pub secret_source: Option<SecretSource>,
}

/// Why a secret could not be read again. It never holds the secret.
pub type SecretResult = Result<SecretString, String>;

/// Reads the client secret again. It may block.
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

/// Numbers of the cache.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// How long before its end a token is renewed. Tokens that live shorter than twice this are
    /// renewed at half of their life.
    pub refresh_ahead: Duration,
    /// The longest wait for one answer of the endpoint.
    pub attempt_timeout: Duration,
    /// Host of the token endpoint, for messages.
    pub login_host: String,
}

/// A token that can be sent.
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

    /// Which fetch it came from.
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

/// What the task last published.
#[derive(Clone, Debug)]
enum TokenState {
    /// The first fetch is under way.
    Fetching,
    /// The API has refused the token, and a new one is being fetched.
    Replacing,
    /// There is a token. `trouble` is what kept it from being renewed since.
    Ready { token: AccessToken, trouble: Option<RefreshFailure> },
    /// There is none, and there will be no other try before `next_try`.
    Failed { trouble: RefreshFailure },
}

/// Whether a token is at hand; for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// The first fetch is not through yet.
    Starting,
    /// A token is at hand, for so much longer.
    Good(Duration),
    /// The credentials are refused.
    Refused(String),
    /// There is no token for another reason.
    Unavailable(String),
}

/// Renewals that 401s may force in quick succession; one comes back every
/// [`FORCED_REFRESH_INTERVAL`]. An API that answers every token with 401 must not make us flood the
/// token endpoint.
const MAX_FORCED_REFRESHES: u32 = 5;
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// The shared token. Cheap to clone.
#[derive(Clone)]
pub struct TokenCache(Arc<TokenCacheInner>);

struct TokenCacheInner {
    news: watch::Receiver<TokenState>,
    stale: watch::Sender<u64>,
    forced: Mutex<ForcedRefreshQuota>,
    /// The API has answered 401 to a token that was fetched because of a 401.
    refused: AtomicBool,
    recorder: Arc<dyn MetricsRecorder>,
}

struct ForcedRefreshQuota {
    left: u32,
    since: Instant,
}

impl TokenCache {
    /// Starts the task that fetches and renews, and ends with `stop`.
    pub fn start(
        credentials: ClientCredentials,
        settings: TokenSettings,
        stack: HttpTransport,
        (jitter, recorder): (JitterSource, Arc<dyn MetricsRecorder>),
        stop: CancellationToken,
    ) -> Self {
        let (publish, news) = watch::channel(TokenState::Fetching);
        let (stale, stale_news) = watch::channel(0);
        let (timeout, host) = (settings.attempt_timeout, settings.login_host.clone());
        let fetch = fetch::TokenFetcher { credentials, stack, timeout, host };
        let (meters, stale_seen) = (Arc::clone(&recorder), stale_news);
        let task = refresh::TokenRefresher {
            fetch,
            settings,
            jitter,
            recorder: meters,
            publish,
            stale: stale_seen,
        };
        tokio::spawn(stop.run_until_cancelled_owned(task.run()));
        let forced = ForcedRefreshQuota { left: MAX_FORCED_REFRESHES, since: Instant::now() };
        Self(Arc::new(TokenCacheInner {
            news,
            stale,
            forced: Mutex::new(forced),
            refused: AtomicBool::new(false),
            recorder,
        }))
    }

    /// The token, if a good one is at hand.
    pub fn current(&self) -> Option<AccessToken> {
        match &*self.0.news.borrow() {
            TokenState::Ready { token, .. } if token.is_good() => Some(token.clone()),
            TokenState::Ready { .. }
            | TokenState::Fetching
            | TokenState::Replacing
            | TokenState::Failed { .. } => None,
        }
    }

    /// A good token, waited for until `deadline`.
    ///
    /// # Errors
    /// At once if the credentials are refused, or no other try comes before the deadline.
    pub async fn get(&self, deadline: Instant) -> Result<AccessToken, UpstreamError> {
        self.newer_than(0, deadline).await
    }

    /// A token newer than `generation`, which the API has refused: one fetch for all who saw
    /// that. `None` if renewals have not helped lately and no other one is made for the moment.
    ///
    /// # Errors
    /// As [`TokenCache::get`].
    pub async fn renewed(
        &self,
        generation: u64,
        deadline: Instant,
    ) -> Result<Option<AccessToken>, UpstreamError> {
        let is_newest = self.current().is_none_or(|token| token.generation <= generation);
        let mut granted = true;
        // Under the lock of the channel, so that a crowd that saw one 401 spends one renewal.
        self.0.stale.send_if_modified(|stale| {
            let first = is_newest && *stale < generation;
            granted = !first || self.allowance().take();
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
        let mut news = self.0.news.clone();
        loop {
            match &*news.borrow_and_update() {
                TokenState::Ready { token, .. }
                    if token.is_good() && token.generation > generation =>
                {
                    return Ok(token.clone());
                }
                // A token that has died while it could not be renewed is no token any more.
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
            match tokio::time::timeout_at(deadline, news.changed()).await {
                Ok(Ok(())) => {}
                // The task has ended: the service is going down.
                Ok(Err(_)) => return Err(UpstreamError::NotSentInTime),
                Err(_) => return Err(self.reason_at_deadline()),
            }
        }
    }

    /// At the deadline the last failure says more than "too late".
    fn reason_at_deadline(&self) -> UpstreamError {
        match &*self.0.news.borrow() {
            TokenState::Failed { trouble } | TokenState::Ready { trouble: Some(trouble), .. } => {
                UpstreamError::NoToken(trouble.now())
            }
            TokenState::Ready { trouble: None, .. }
            | TokenState::Fetching
            | TokenState::Replacing => UpstreamError::NotSentInTime,
        }
    }

    /// The API refuses also tokens that are fresh. Said in the log once; requests go on trying,
    /// since the reason may lie in a single conversation.
    pub fn mark_rejected(&self) {
        self.0.recorder.token_failed();
        if !self.0.refused.swap(true, Ordering::Relaxed) {
            tracing::error!("the API answers 401 also to a fresh token");
        }
    }

    /// The API has taken a token.
    pub fn mark_accepted(&self) {
        if self.0.refused.load(Ordering::Relaxed) {
            self.0.refused.store(false, Ordering::Relaxed);
        }
    }

    /// How things stand.
    pub fn status(&self) -> TokenStatus {
        match &*self.0.news.borrow() {
            TokenState::Fetching => TokenStatus::Starting,
            TokenState::Replacing => TokenStatus::Unavailable(
                "the API refused the token, a new one is being fetched".to_owned(),
            ),
            TokenState::Ready { trouble: Some(RefreshFailure { failure, .. }), .. }
            | TokenState::Failed { trouble: RefreshFailure { failure, .. } }
                if let TokenFailure::Refused(reason) = failure =>
            {
                TokenStatus::Refused(reason.clone())
            }
            TokenState::Ready { .. } if self.0.refused.load(Ordering::Relaxed) => {
                TokenStatus::Unavailable("the API answers 401 also to a fresh token".to_owned())
            }
            TokenState::Ready { token, .. } => {
                TokenStatus::Good(token.expires.saturating_duration_since(Instant::now()))
            }
            TokenState::Failed { trouble } => TokenStatus::Unavailable(trouble.failure.to_string()),
        }
    }

    /// Waits until the first fetch has ended, one way or the other.
    pub async fn started(&self) {
        let mut news = self.0.news.clone();
        // An error means that the task has ended: nothing to wait for any more.
        let _ = news.wait_for(|news| !matches!(news, TokenState::Fetching)).await;
    }

    fn allowance(&self) -> std::sync::MutexGuard<'_, ForcedRefreshQuota> {
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

/// A fetch that failed, and when there is another.
#[derive(Clone, Debug)]
struct RefreshFailure {
    failure: TokenFailure,
    next_try: Instant,
}

impl RefreshFailure {
    /// Whether waiting on until `deadline` is pointless.
    fn is_final(&self, deadline: Instant) -> bool {
        match self.failure {
            TokenFailure::Refused(_) | TokenFailure::Invalid(_) => true,
            TokenFailure::Throttled { .. } | TokenFailure::Unavailable { .. } => {
                self.next_try >= deadline
            }
        }
    }

    /// The failure with the wait that is left from now on.
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
