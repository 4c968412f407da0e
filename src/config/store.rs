//! `[store]`: what outlives a request, and where it is kept.

use std::path::PathBuf;

use gateway_store::redis::ServerAddress;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::values::{self, CheckedSection, Count, Millis};

/// Longest prefix of keys; each key repeats it.
const MAX_PREFIX: usize = 128;

/// Longest name of a replica.
const MAX_NAME: usize = 64;

/// What outlives a request, and where it is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub backend: StoreBackend,
    /// The file of an embedded store. Without one, nothing outlives the process.
    pub path: Option<PathBuf>,
    pub max_operations: Count<1, 1_000_000>,
    pub not_after: Millis<1_000, 900_000>,
    pub redis: RedisConfig,
}

/// Where the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreBackend {
    /// In this process.
    Embedded,
    /// On a server that replicas share.
    Redis,
}

/// The server that replicas share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// With user and password; present if this is the backend.
    #[serde(default, deserialize_with = "values::secret::<1, _, _>")]
    pub url: Option<SecretString>,
    pub key_prefix: String,
    pub on_outage: OutageMode,
    /// `None` is the name of the host.
    #[serde(default, deserialize_with = "values::name")]
    pub replica: Option<String>,
    pub expected_replicas: Count<1, 1_000>,
}

/// What writes do while the server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutageMode {
    /// They go on with what this replica knows, and a safe share of the budget.
    Local,
    /// They are refused.
    Refuse,
}

impl CheckedSection for StoreConfig {
    fn check(&self) -> Result<(), String> {
        let RedisConfig { url, key_prefix, replica, .. } = &self.redis;
        let is_shared = self.backend == StoreBackend::Redis;
        if is_shared && self.path.is_some() {
            return Err("path: must not be set when store.backend is `redis`".to_owned());
        }
        if is_shared && url.is_none() {
            return Err("redis.url: is needed when store.backend is `redis`".to_owned());
        }
        // The message leaves the URL out, because it holds a password.
        if url.as_ref().is_some_and(|url| ServerAddress::parse(url.expose_secret()).is_none()) {
            let example = "must be a URL such as `rediss://user:password@host:6379/0`, \
                           `redis+sentinel://host,host/primary` or `redis+cluster://host,host`";
            return Err(format!("redis.url: {example}"));
        }
        let tag = key_prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let is_plain = key_prefix.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_plain || key_prefix.len() > MAX_PREFIX || tag.is_none_or(|(tag, _)| tag.is_empty()) {
            return Err(format!(
                "redis.key_prefix: must be at most {MAX_PREFIX} visible ASCII characters with a name \
                 in braces, such as `attribute-gateway:{{org}}:`"
            ));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_name = |name: &String| name.len() <= MAX_NAME && name.bytes().all(is_plain);
        if !replica.as_ref().is_none_or(is_name) {
            let allowed = format!("must be at most {MAX_NAME} letters, digits, `.`, `_` or `-`");
            return Err(format!("redis.replica: {allowed}"));
        }
        Ok(())
    }
}
