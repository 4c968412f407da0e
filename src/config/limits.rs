//! `[limits]`: the largest sizes and numbers that are accepted.

use std::num::NonZeroUsize;

use serde::Deserialize;

use super::bytes::ByteSize;
use super::values;

/// The largest sizes and numbers that are accepted. A request over a limit is not sent upstream.
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
    /// Maximum number of connections.
    pub connections: NonZeroUsize,
    /// Maximum number of connections of one address.
    pub connections_per_address: NonZeroUsize,
    /// Maximum number of concurrent requests.
    pub requests: NonZeroUsize,
    /// Maximum number of concurrent writes.
    pub waiting: NonZeroUsize,
    /// Maximum number of concurrent writes to one participant.
    pub waiting_per_participant: NonZeroUsize,
}
