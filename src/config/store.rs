//! `[store]`: what outlives a request, and where it is kept.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

use super::mismatch::{KeyMismatch, KeyMismatches};
use super::values::{self, WordSetting};

/// Longest prefix of keys; each key repeats it.
const MAX_PREFIX: usize = 128;

/// Longest name of a replica.
const MAX_NAME: usize = 64;

/// What outlives a request, and where it is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "RawStore")]
pub struct StoreConfig {
    /// Where it is kept.
    pub backend: StoreBackend,
    /// Most accepted writes that are not finished.
    pub max_operations: u32,
    /// How long an accepted write may wait for its PATCH.
    pub not_after: Duration,
}

/// Where the store is.
#[derive(Clone, Debug)]
pub enum StoreBackend {
    /// In this process. Without a file, nothing outlives it.
    Embedded(Option<PathBuf>),
    /// On a server that replicas share.
    Redis(RedisConfig),
}

/// The server that replicas share.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Its URL with user and password.
    pub url: SecretString,
    /// What all keys begin with.
    pub key_prefix: String,
    /// What writes do while the server is away.
    pub on_outage: OutageMode,
    /// Name of this replica; `None` is the name of the host.
    pub replica: Option<String>,
    /// Number of replicas to assume before any was seen.
    pub expected_replicas: u32,
}

/// What writes do while the server is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageMode {
    /// They go on with what this replica knows, and a safe share of the budget.
    Local,
    /// They are refused.
    Refuse,
}

impl WordSetting for OutageMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("local", Self::Local), ("refuse", Self::Refuse)];
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BackendName {
    Embedded,
    Redis,
}

impl WordSetting for BackendName {
    const WORDS: &'static [(&'static str, Self)] =
        &[("embedded", Self::Embedded), ("redis", Self::Redis)];
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    #[serde(deserialize_with = "values::choice")]
    backend: BackendName,
    #[serde(deserialize_with = "values::optional")]
    path: Option<PathBuf>,
    #[serde(deserialize_with = "values::number::<1, 1_000_000, _, _>")]
    max_operations: u32,
    #[serde(deserialize_with = "values::duration::<1_000, 900_000, _>")]
    not_after: Duration,
    redis: RawRedis,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRedis {
    #[serde(deserialize_with = "server_url")]
    url: Option<SecretString>,
    #[serde(deserialize_with = "key_prefix")]
    key_prefix: String,
    #[serde(deserialize_with = "values::choice")]
    on_outage: OutageMode,
    #[serde(deserialize_with = "replica_name")]
    replica: Option<String>,
    #[serde(deserialize_with = "values::number::<1, 1_000, _, _>")]
    expected_replicas: u32,
}

impl TryFrom<RawStore> for StoreConfig {
    type Error = KeyMismatches;

    fn try_from(raw: RawStore) -> Result<Self, KeyMismatches> {
        let RawRedis { url, key_prefix, on_outage, replica, expected_replicas } = raw.redis;
        let mismatch = |key, message| Err(KeyMismatches(vec![KeyMismatch(key, message)]));
        let backend = match (raw.backend, url, raw.path) {
            (BackendName::Embedded, _, path) => StoreBackend::Embedded(path),
            (BackendName::Redis, _, Some(_)) => {
                return mismatch("path", "must not be set when store.backend is `redis`");
            }
            (BackendName::Redis, None, None) => {
                return mismatch("redis.url", "is needed when store.backend is `redis`");
            }
            (BackendName::Redis, Some(url), None) => StoreBackend::Redis(RedisConfig {
                url,
                key_prefix,
                on_outage,
                replica,
                expected_replicas,
            }),
        };
        let RawStore { max_operations, not_after, .. } = raw;
        Ok(Self { backend, max_operations, not_after })
    }
}

/// The messages leave the URL out, because it holds a password.
fn server_url<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    let Some(secret) = values::optional_secret(deserializer)? else { return Ok(None) };
    let url = Url::parse(secret.expose_secret()).ok();
    let is_usable = |url: &Url| {
        matches!(url.scheme(), "redis" | "rediss")
            && url.host_str().is_some_and(|host| !host.is_empty())
    };
    match url.filter(is_usable) {
        Some(_) => Ok(Some(secret)),
        None => Err(D::Error::custom("must be a URL such as `rediss://user:password@host:6379/0`")),
    }
}

fn key_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let prefix = values::text(deserializer)?;
    let tag = prefix.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let has_tag = tag.is_some_and(|(tag, _)| !tag.is_empty());
    let is_plain = prefix.len() <= MAX_PREFIX && prefix.bytes().all(|byte| byte.is_ascii_graphic());
    if has_tag && is_plain {
        return Ok(prefix);
    }
    Err(D::Error::custom(format_args!(
        "must be at most {MAX_PREFIX} visible ASCII characters with a name in braces, such as \
         `attribute-gateway:{{org}}:`"
    )))
}

fn replica_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = values::optional_id(deserializer)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match name {
        Some(name) if name.len() > MAX_NAME || !name.bytes().all(is_plain) => {
            Err(D::Error::custom(format_args!(
                "must be at most {MAX_NAME} letters, digits, `.`, `_` or `-`"
            )))
        }
        name => Ok(name),
    }
}
