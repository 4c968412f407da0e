//! `[reads]`: whether a read may be served without asking upstream.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Conduct of a read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadsConfig {
    /// How old another read may be that answers this one; 0 for no cache, at most 60 s.
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub max_age: Duration,
}
