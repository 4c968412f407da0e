//! `[limits]`: the largest sizes and numbers that are accepted.

use std::num::NonZeroUsize;

use serde::Deserialize;

use super::values;

/// The largest sizes and numbers that are accepted. A request over a limit is not sent upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    #[serde(deserialize_with = "values::size::<1, 16_777_216, _, _>")]
    pub total_bytes: usize,
    #[serde(deserialize_with = "values::size::<1_024, 16_777_216, _, _>")]
    pub body_bytes: usize,
    #[serde(deserialize_with = "values::size::<8_192, 1_048_576, _, _>")]
    pub header_bytes: usize,
    pub connections: NonZeroUsize,
    pub connections_per_address: NonZeroUsize,
    pub requests: NonZeroUsize,
    pub waiting: NonZeroUsize,
    pub waiting_per_participant: NonZeroUsize,
}
