//! `[server]`: the listening side.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::network::IpNetwork;
use super::tls::{self, TlsConfig};
use super::url::BaseUrl;
use super::values;

/// The listening side and its timeouts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    #[serde(deserialize_with = "values::address")]
    pub bind: SocketAddr,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub deadline: Duration,
    #[serde(deserialize_with = "values::duration::<1, 600_000, _>")]
    pub drain: Duration,
    #[serde(deserialize_with = "values::duration::<1, 300_000, _>")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1_000, 3_600_000, _>")]
    pub idle_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1, 300_000, _>")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "values::list")]
    pub trusted_proxies: Vec<IpNetwork>,
    #[serde(default, deserialize_with = "values::optional")]
    pub public_url: Option<BaseUrl>,
    #[serde(deserialize_with = "tls::optional")]
    pub tls: Option<TlsConfig>,
}
