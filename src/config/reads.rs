//! `[reads]`: whether the cache may answer a read.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Settings of reads.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadsConfig {
    /// Maximum age of an earlier read that may answer another request; at most 60 s, 0 for no cache.
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub max_age: Duration,
}
