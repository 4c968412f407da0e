//! `[simulator]`: the simulated Genesys Cloud of `demo` and `simulate`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use genesys_simulator::{AfterEnd, EmptyHandling, NullHandling, PatchSemantics};
use secrecy::SecretString;
use serde::Deserialize;

use super::values;

/// Initial behaviour of the simulator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    #[serde(deserialize_with = "values::address")]
    pub bind: SocketAddr,
    #[serde(deserialize_with = "values::name")]
    pub client_id: String,
    #[serde(deserialize_with = "values::secret")]
    pub client_secret: SecretString,
    #[serde(deserialize_with = "values::duration::<0, 60_000, _>")]
    pub latency: Duration,
    #[serde(deserialize_with = "values::duration::<0, 600_000, _>")]
    pub lag: Duration,
    #[serde(deserialize_with = "values::duration::<1_000, 2_592_000_000, _>")]
    pub token_lifetime: Duration,
    pub requests_per_minute: u32,
    #[serde(deserialize_with = "values::duration::<100, 3_600_000, _>")]
    pub rate_window: Duration,
    pub token_requests_per_minute: u32,
    pub patch: PatchSemantics,
    pub null: NullHandling,
    pub empty: EmptyHandling,
    pub after_end: AfterEnd,
    pub missing_permissions: Vec<String>,
    pub clock_skew_seconds: i64,
    #[serde(deserialize_with = "values::size::<0, 16_777_216, _, _>")]
    pub size_limit: usize,
    pub voice_paths: bool,
    pub load: Vec<PathBuf>,
}
