//! `[simulator]`: the simulated Genesys Cloud of `demo` and `simulate`.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::bytes::ByteSize;
use super::values::{self, WordSetting};

/// Initial behaviour of the simulator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    /// Address and port of the command `simulate`.
    #[serde(deserialize_with = "values::address")]
    pub bind: SocketAddr,
    /// The client id that it accepts; never empty.
    #[serde(deserialize_with = "client_id")]
    pub client_id: String,
    /// The client secret that it accepts.
    #[serde(deserialize_with = "values::secret")]
    pub client_secret: SecretString,
    /// Time that every response takes; 0 to 60 s.
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub latency: Duration,
    /// How long reads still show the state before a write; 0 to 10 min.
    #[serde(deserialize_with = "values::duration::<0, 600_000, _>")]
    pub lag: Duration,
    /// Lifetime of a token; 1 s to 30 days.
    #[serde(deserialize_with = "values::duration::<1_000, 2_592_000_000, _>")]
    pub token_lifetime: Duration,
    /// Calls per minute and token; `None` (written as 0) for no limit.
    #[serde(deserialize_with = "rate")]
    pub requests_per_minute: Option<NonZeroU64>,
    /// Length of the sliding window in which they are counted; 100 ms to 1 h.
    #[serde(deserialize_with = "values::duration::<100, 3_600_000, _>")]
    pub rate_window: Duration,
    /// Token requests per minute; `None` (written as 0) for no limit.
    #[serde(deserialize_with = "rate")]
    pub token_requests_per_minute: Option<NonZeroU64>,
    /// What a PATCH does to keys that it does not name.
    #[serde(deserialize_with = "values::choice")]
    pub patch: PatchMode,
    /// Largest total of a participant's attributes; `None` (written as 0) for no limit.
    #[serde(deserialize_with = "size_limit")]
    pub size_limit: Option<ByteSize>,
    /// Whether the paths of `conversations/voice` are served too, which the platform itself does not have.
    #[serde(deserialize_with = "values::flag")]
    pub voice_paths: bool,
    /// Files with conversations to start with.
    #[serde(deserialize_with = "values::paths")]
    pub load: Vec<PathBuf>,
}

/// What the simulator's PATCH does to keys that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchMode {
    /// They stay, as with Genesys Cloud.
    Merge,
    /// They go.
    Replace,
}

impl WordSetting for PatchMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("merge", Self::Merge), ("replace", Self::Replace)];
}

fn client_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    values::optional_id(deserializer)?.ok_or_else(|| D::Error::custom("must not be empty"))
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU64>, D::Error> {
    values::number::<0, { u64::MAX }, u64, D>(deserializer).map(NonZeroU64::new)
}

fn size_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteSize>, D::Error> {
    let size = values::size::<0, 16_777_216, D>(deserializer)?;
    Ok(Some(size).filter(|size| size.bytes() > 0))
}
