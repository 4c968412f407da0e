//! The token that replicas share: one of them fetches it, the others take it from the store.

use std::time::Duration;

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;

use super::AccessToken;
use super::fetch::{FetchFailure, TokenGrant};
use super::refresh::TokenRefresher;
use crate::genesys::error::TokenFailure;
use crate::ports::store::{SharedToken, StoreError, StoredToken};

/// What a header has before the token.
const SCHEME: &str = "Bearer ";

/// How much longer than a fetch the lock lasts.
const LOCK_MARGIN: Duration = Duration::from_secs(5);

/// The mean pause before the store is asked again, while another replica fetches.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The longest pause while the token endpoint is to be left alone: the old token may end meanwhile.
const MAX_HOLD_OFF: Duration = Duration::from_secs(30);

/// A token, and its generation in the store if it is shared.
pub type ObtainedToken = (TokenGrant, Option<u64>);

impl TokenRefresher {
    /// A token other than that of the generation `held`: from the store, or fetched for all replicas.
    /// While the store is away, each replica fetches its own. `current` stays in use meanwhile.
    pub(super) async fn shared_token(
        &self,
        shared: &dyn SharedToken,
        held: Option<u64>,
        current: Option<&AccessToken>,
    ) -> Result<ObtainedToken, FetchFailure> {
        match self.fetch_through_store(shared, held, current).await {
            Ok(obtained) => obtained,
            Err(error) => {
                tracing::warn!(%error, "the token is fetched for this replica alone");
                Ok((self.fetch.run().await?, None))
            }
        }
    }

    async fn fetch_through_store(
        &self,
        shared: &dyn SharedToken,
        held: Option<u64>,
        current: Option<&AccessToken>,
    ) -> Result<Result<ObtainedToken, FetchFailure>, StoreError> {
        let lock_time = self.fetch.settings.attempt_timeout + LOCK_MARGIN;
        // Longer than one replica can hold the lock, no replica waits for another one.
        let give_up = Instant::now() + 2 * lock_time + MAX_HOLD_OFF;
        loop {
            let state = shared.load().await?;
            if let Some(found) = state.token.and_then(|token| newer(&token, held)) {
                return Ok(Ok(found));
            }
            if !state.hold_off.is_zero() {
                tokio::time::sleep(state.hold_off.min(MAX_HOLD_OFF)).await;
            } else if let Some(lock) = shared.lock(lock_time).await? {
                // Another replica may have fetched one before the lock was free.
                let state = shared.load().await?;
                if let Some(found) = state.token.and_then(|token| newer(&token, held)) {
                    shared.unlock(lock, Duration::ZERO).await?;
                    return Ok(Ok(found));
                }
                return Ok(self.fetch_for_all(shared, lock).await);
            } else {
                let pause = POLL_INTERVAL / 2 + POLL_INTERVAL.mul_f64(self.jitter.unit());
                tokio::time::sleep(pause).await;
            }
            if Instant::now() >= give_up && !current.is_some_and(AccessToken::is_good) {
                let reason = "another replica fetches the token, and has not got one".to_owned();
                return Ok(Err((TokenFailure::Unavailable(reason), None)));
            }
        }
    }

    /// Fetches a token, and shares it or the time for which the endpoint is to be left alone. A store
    /// that fails now changes nothing for this replica.
    async fn fetch_for_all(
        &self,
        shared: &dyn SharedToken,
        lock: uuid::Uuid,
    ) -> Result<ObtainedToken, FetchFailure> {
        let started = Instant::now();
        match self.fetch.run().await {
            Ok((header, lifetime)) => {
                let text = header.to_str().unwrap_or_default();
                let token = SecretString::from(text.strip_prefix(SCHEME).unwrap_or(text));
                let valid = lifetime.saturating_sub(started.elapsed());
                let stored = shared.store(lock, &token, valid).await;
                Ok(((header, lifetime), stored.ok().flatten()))
            }
            Err((failure, retry_after)) => {
                let is_throttled = matches!(failure, TokenFailure::Throttled);
                let hold_off =
                    if is_throttled { retry_after.unwrap_or(LOCK_MARGIN) } else { Duration::ZERO };
                let _ = shared.unlock(lock, hold_off.min(MAX_HOLD_OFF)).await;
                Err((failure, retry_after))
            }
        }
    }
}

/// The stored token as a header, unless it is the one that is held.
fn newer(stored: &StoredToken, held: Option<u64>) -> Option<ObtainedToken> {
    // A lower one is of a store that has lost its data.
    if held == Some(stored.generation) {
        return None;
    }
    let text = format!("{SCHEME}{}", stored.token.expose_secret());
    let mut header = HeaderValue::try_from(text).ok()?;
    header.set_sensitive(true);
    Some(((header, stored.expires_in), Some(stored.generation)))
}
