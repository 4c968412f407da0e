//! The store that replicas share: Redis (6.2 or later) or Valkey.
//!
//! Every change is one script, so that replicas cannot interleave. All keys share a hash tag.

mod address;
mod answers;
mod budget;
mod checks;
mod connection;
mod durable;
mod faults;
mod journal;
mod leases;
mod token;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use redis::{Script, ScriptInvocation};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::address::ServerAddress;
use super::{FORMAT_VERSION, SealingKey, StoreLimits};
use crate::ports::StoreError;
use budget::Heartbeats;
use connection::RedisLink;
use durable::{Durability, SyncedLink};

/// Where the server is, and what this replica is called.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// URL with user and password, see [`ServerAddress::parse`].
    pub url: SecretString,
    /// What all keys begin with.
    pub key_prefix: String,
    /// Name of this replica, another one for each.
    pub replica: String,
    /// Upstream calls in one window, for all replicas together.
    pub calls: u32,
    /// Length of the window.
    pub window: Duration,
}

/// The store that replicas share.
pub struct RedisStore {
    link: RedisLink,
    synced: SyncedLink,
    /// How the server makes changes durable, since it was last checked.
    durability: Mutex<Option<Durability>>,
    key: SealingKey,
    limits: StoreLimits,
    options: RedisOptions,
    /// Distinguishes this process from an earlier one with the same name.
    owner: Uuid,
    heartbeats: Heartbeats,
    last_sync: AtomicU64,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Prepares a connection, which is made when it is first used. Call it within a runtime.
    ///
    /// # Errors
    /// If the URL is invalid. The message does not show it.
    pub fn new(
        options: RedisOptions,
        key: SealingKey,
        limits: StoreLimits,
    ) -> Result<Self, StoreError> {
        let address = ServerAddress::parse(options.url.expose_secret()).ok_or_else(|| {
            let example = "redis://user:password@host:6379/0";
            StoreError::Unusable(format!("`store.redis.url` must be a URL such as `{example}`"))
        })?;
        let prefix = options.key_prefix.clone();
        Ok(Self {
            link: RedisLink::new(address.clone(), prefix.clone()),
            synced: SyncedLink::new(address, prefix),
            durability: Mutex::new(None),
            key,
            limits,
            options,
            owner: Uuid::new_v4(),
            heartbeats: Heartbeats::start(),
            last_sync: AtomicU64::new(0),
        })
    }

    /// Checks version, role and settings of the server.
    ///
    /// # Errors
    /// `Unavailable` if the server does not answer: start all the same. `Unusable` if it must be changed.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.durability().await.map(|_| ())
    }

    async fn durability(&self) -> Result<Durability, StoreError> {
        let mut known = self.durability.lock().await;
        if let Some(durability) = *known {
            return Ok(durability);
        }
        let durability = checks::check(&self.link).await?;
        // What is missing may be changed while the server runs.
        *known = Some(durability).filter(|known| !matches!(known, Durability::Missing(_)));
        Ok(durability)
    }

    /// A server that was away may come back with other settings.
    async fn check_again_after<T>(&self, answer: &Result<T, StoreError>) {
        if matches!(answer, Err(StoreError::Unavailable(_))) {
            *self.durability.lock().await = None;
        }
    }

    /// The name of a key.
    fn name(&self, parts: &[&str]) -> String {
        [&[self.options.key_prefix.as_str()], parts].concat().concat()
    }

    /// The name of the journal, with which all of its keys begin.
    fn journal_name(&self) -> String {
        self.name(&["journal"])
    }
}

/// A script with its keys; the arguments follow.
fn with_keys<'a>(script: &'a Script, keys: &[String]) -> ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    for key in keys {
        invocation.key(key);
    }
    invocation
}

/// A script that is sent to the server once, and known by its hash from then on.
macro_rules! script {
    ($file:literal) => {{
        static SCRIPT: std::sync::LazyLock<redis::Script> = std::sync::LazyLock::new(|| {
            redis::Script::new(include_str!(concat!("scripts/", $file)))
        });
        &*SCRIPT
    }};
}
use script;
