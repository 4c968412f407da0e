//! `[writes]`: how a write treats conflicts and other writers' keys.

use std::time::Duration;

use serde::Deserialize;

use super::bytes::ByteSize;
use super::values;

/// Settings of writes, except for their verification.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WritesConfig {
    /// How often a write is repeated after a 409 from upstream; 0 to 100.
    #[serde(deserialize_with = "values::number::<0, 100, _, _>")]
    pub conflict_retries: u32,
    /// How long after a read a write to the same participant needs no read; at most 60 s.
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub warm_for: Duration,
    /// Memory for these reads; 64 KiB to 1 GiB.
    #[serde(deserialize_with = "values::size::<65_536, 1_073_741_824, _>")]
    pub remember_bytes: ByteSize,
    /// Whether a write without `If-Match` or `If-None-Match: *` is refused.
    #[serde(deserialize_with = "values::flag")]
    pub require_if_match: bool,
}
