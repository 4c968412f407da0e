//! How requests are answered, and by which simulator: `[verify]`, `[writes]`, `[reads]`,
//! `[participants]`, `[debug]` and `[simulator]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use genesys_simulator::{AfterEnd, EmptyHandling, NullHandling, PatchSemantics};
use secrecy::SecretString;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values::{self, ByteCount, Count, Millis};
use crate::domain::ParticipantSelector;

/// `[verify]`: limits of the read-backs of a write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    pub max_reads: Count<1, 1_000>,
    pub settle: Millis<1, 60_000>,
    pub outstanding: Millis<1, 3_600_000>,
}

/// `[writes]`: other settings of writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WritesConfig {
    pub conflict_retries: Count<0, 100>,
    pub warm_for: Millis<0, 60_000>,
    pub remember_bytes: ByteCount<65_536, 1_073_741_824>,
    pub require_if_match: bool,
}

/// `[reads]`: whether the cache may answer a read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadsConfig {
    pub max_age: Millis<0, 60_000>,
}

/// `[participants]`: the participant of requests that name none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantsConfig {
    #[serde(deserialize_with = "purpose")]
    pub default: ParticipantSelector,
}

fn purpose<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ParticipantSelector, D::Error> {
    let text = String::deserialize(deserializer)?;
    let word = text.trim();
    let is_purpose = word.chars().all(|c| c.is_ascii_alphabetic()) && word.to_lowercase() != "all";
    word.parse().ok().filter(|_| is_purpose).ok_or_else(|| {
        let example = "must select one participant by a word of letters, such as `customer`";
        D::Error::custom(format!("{example}, not `{text}`"))
    })
}

/// `[debug]`: endpoints for debugging, off by default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebugConfig {
    pub enabled: bool,
}

/// `[simulator]`: the simulated Genesys Cloud of `demo` and `simulate`, at its start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    #[serde(deserialize_with = "values::address")]
    pub bind: SocketAddr,
    #[serde(deserialize_with = "values::name")]
    pub client_id: String,
    #[serde(deserialize_with = "values::secret::<1, _, _>")]
    pub client_secret: SecretString,
    pub latency: Millis<0, 60_000>,
    pub lag: Millis<0, 600_000>,
    pub token_lifetime: Millis<1_000, 2_592_000_000>,
    pub requests_per_minute: u32,
    pub rate_window: Millis<100, 3_600_000>,
    pub token_requests_per_minute: u32,
    pub patch: PatchSemantics,
    pub null: NullHandling,
    pub empty: EmptyHandling,
    pub after_end: AfterEnd,
    pub missing_permissions: Vec<String>,
    pub clock_skew_seconds: i64,
    pub size_limit: ByteCount<0, 16_777_216>,
    pub voice_paths: bool,
    pub load: Vec<PathBuf>,
}
