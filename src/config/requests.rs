//! `[verify]`, `[writes]`, `[reads]`, `[participants]` and `[debug]`: how requests are answered.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values;
use crate::domain::ParticipantSelector;

/// `[verify]`: limits of the read-backs of a write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    #[serde(deserialize_with = "values::number::<1, 1_000, _, _>")]
    pub max_reads: u32,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub settle: Duration,
    #[serde(deserialize_with = "values::duration::<1, 3_600_000, _>")]
    pub outstanding: Duration,
}

/// `[writes]`: other settings of writes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WritesConfig {
    #[serde(deserialize_with = "values::number::<0, 100, _, _>")]
    pub conflict_retries: u32,
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub warm_for: Duration,
    #[serde(deserialize_with = "values::size::<65_536, 1_073_741_824, _, _>")]
    pub remember_bytes: usize,
    pub require_if_match: bool,
}

/// `[reads]`: whether the cache may answer a read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadsConfig {
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub max_age: Duration,
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
