//! `[verify]`: how a write is proved by reading it back.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// How much effort goes into seeing a write in upstream's answers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    /// Most reads for one write; 1 to 1000.
    #[serde(deserialize_with = "values::number::<1, 1_000, _, _>")]
    pub max_reads: u32,
    /// How long a third value must stand before the write counts as superseded, until enough lags
    /// were measured; at most 60 s.
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub settle: Duration,
    /// How long a write that was sent and not seen makes its key doubtful; at most 1 h.
    #[serde(deserialize_with = "values::duration::<1, 3_600_000, _>")]
    pub outstanding: Duration,
}
