//! Opens the store that `[store]` describes.

use std::sync::Arc;

use anyhow::Context as _;
use gateway_store::embedded::EmbeddedStore;
use gateway_store::{SealingKey, StoreLimits};
use secrecy::ExposeSecret as _;

use crate::config::{OauthCredentials, StoreBackend, StoreConfig};
use crate::ports::store::{IdempotencyStore, OperationJournal};

/// The parts of the store that the service uses.
#[derive(Clone)]
pub struct StoreParts {
    /// Answers by idempotency key.
    pub answers: Arc<dyn IdempotencyStore>,
    /// Accepted writes, if they survive a restart.
    pub journal: Option<Arc<dyn OperationJournal>>,
}

impl StoreParts {
    /// Opens the store.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn open(config: &StoreConfig, credentials: &OauthCredentials) -> anyhow::Result<Self> {
        let key = SealingKey::derive(credentials.client_secret.expose_secret());
        let limits =
            StoreLimits { operations: config.max_operations.get(), ..StoreLimits::default() };
        // With Redis, `Replicas` has the answers.
        let Some(path) = &config.path else {
            let store = EmbeddedStore::in_memory(key, limits)?;
            return Ok(Self { answers: Arc::new(store), journal: None });
        };
        let store = EmbeddedStore::open(path, key, limits).context("store.path")?;
        let store = Arc::new(store);
        Ok(Self { answers: Arc::clone(&store) as _, journal: Some(store) })
    }
}

/// The name of this replica, if there are several.
pub(super) fn replica_name(config: &StoreConfig) -> Option<String> {
    let name = || config.redis.replica.clone().unwrap_or_else(host_name);
    (config.backend == StoreBackend::Redis).then(name)
}

/// The name of this host, which containers and pods have for themselves.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let name: String = name.chars().filter(is_plain).take(64).collect();
    if name.is_empty() { "replica".to_owned() } else { name }
}
