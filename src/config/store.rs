//! `[store]`: what outlives a request, and where it is kept.

use std::path::PathBuf;
use std::time::Duration;

use gateway_store::redis::ServerAddress;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values::{self, CheckedSection};

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
    #[serde(default)]
    pub path: Option<PathBuf>,
    #[serde(deserialize_with = "values::number::<1, 1_000_000, _, _>")]
    pub max_operations: u32,
    #[serde(deserialize_with = "values::duration::<1_000, 900_000, _>")]
    pub not_after: Duration,
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
    #[serde(default, deserialize_with = "server_url")]
    pub url: Option<SecretString>,
    #[serde(deserialize_with = "key_prefix")]
    pub key_prefix: String,
    pub on_outage: OutageMode,
    /// `None` is the name of the host.
    #[serde(default, deserialize_with = "replica_name")]
    pub replica: Option<String>,
    #[serde(deserialize_with = "values::number::<1, 1_000, _, _>")]
    pub expected_replicas: u32,
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
        match self.backend {
            StoreBackend::Redis if self.path.is_some() => {
                Err("path: must not be set when store.backend is `redis`".to_owned())
            }
            StoreBackend::Redis if self.redis.url.is_none() => {
                Err("redis.url: is needed when store.backend is `redis`".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// The messages leave the URL out, because it holds a password.
fn server_url<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SecretString>, D::Error> {
    let secret = values::secret(deserializer)?;
    if ServerAddress::parse(secret.expose_secret()).is_some() {
        return Ok(Some(secret));
    }
    Err(D::Error::custom(
        "must be a URL such as `rediss://user:password@host:6379/0`, `redis+sentinel://host,host/primary` or \
         `redis+cluster://host,host`",
    ))
}

fn key_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let prefix = String::deserialize(deserializer)?;
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
    let name = values::name(deserializer)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.len() > MAX_NAME || !name.bytes().all(is_plain) {
        return Err(D::Error::custom(format_args!(
            "must be at most {MAX_NAME} letters, digits, `.`, `_` or `-`"
        )));
    }
    Ok(Some(name))
}
