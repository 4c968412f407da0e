//! `[writes]`: how a write treats conflicts and other writers' keys.

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// Conduct of a write beside its verification.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writes {
    /// How often a 409 from upstream is answered with a fresh read and another PATCH; 0 to 100.
    #[serde(deserialize_with = "values::number::<0, 100, _, _>")]
    pub conflict_retries: u32,
    /// How long after an early answer the survival of other keys is still checked, until one write
    /// has shown that the route merges; at most 60 s.
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub survival_watch: Duration,
}
