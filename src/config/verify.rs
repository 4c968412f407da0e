//! `[verify]`: how a write is verified by read-backs.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Limits of the read-backs of a write.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyConfig {
    /// Maximum number of read-backs of one write; 1 to 1000.
    #[serde(deserialize_with = "values::number::<1, 1_000, _, _>")]
    pub max_reads: u32,
    /// How long a third value must stand before a write counts as superseded, until enough lags were
    /// measured; at most 60 s.
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub settle: Duration,
    /// How long a sent write that was not seen keeps its key from counting as unchanged; at most 1 h.
    #[serde(deserialize_with = "values::duration::<1, 3_600_000, _>")]
    pub outstanding: Duration,
}
