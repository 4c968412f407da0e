//! `[limits]`: sizes beyond which a request is refused.

use std::num::NonZeroUsize;

use serde::Deserialize;

use super::bytes::ByteSize;
use super::values;

/// Sizes beyond which a request is refused before anything is sent upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// All attributes of one participant, as bytes of their JSON; 1 B to 16 MiB.
    #[serde(deserialize_with = "values::size::<1, 16_777_216, _>")]
    pub total_bytes: ByteSize,
    /// Body of one request; 1 KiB to 16 MiB.
    #[serde(deserialize_with = "values::size::<1_024, 16_777_216, _>")]
    pub body_bytes: ByteSize,
    /// Head of one request; 8 KiB to 1 MiB.
    #[serde(deserialize_with = "values::size::<8_192, 1_048_576, _>")]
    pub header_bytes: ByteSize,
    /// Connections of clients at most.
    pub connections: NonZeroUsize,
    /// Connections of clients from one address at most.
    pub connections_per_address: NonZeroUsize,
    /// Requests under way at most.
    pub requests: NonZeroUsize,
    /// Writes under way at most.
    pub waiting: NonZeroUsize,
    /// Writes to one participant under way at most.
    pub waiting_per_participant: NonZeroUsize,
}
