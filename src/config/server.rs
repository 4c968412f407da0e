//! `[server]`: the listening side.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::network::IpNetwork;
use super::tls::{self, TlsConfig};
use super::url::BaseUrl;
use super::values;

/// The listening side and its timeouts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port to listen on.
    #[serde(deserialize_with = "values::address")]
    pub bind: SocketAddr,
    /// Total time for one request; more than zero, at most 60 s.
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    pub deadline: Duration,
    /// Time for the requests in flight when the process stops; at most 10 min.
    #[serde(deserialize_with = "values::duration::<1, 600_000, _>")]
    pub drain: Duration,
    /// Time for the head of a request to arrive; at most 5 min.
    #[serde(deserialize_with = "values::duration::<1, 300_000, _>")]
    pub header_timeout: Duration,
    /// Time that a connection stays open for its next request; 1 s to 1 h.
    #[serde(deserialize_with = "values::duration::<1_000, 3_600_000, _>")]
    pub idle_timeout: Duration,
    /// Time for the body of a request to arrive; at most 5 min.
    #[serde(deserialize_with = "values::duration::<1, 300_000, _>")]
    pub body_timeout: Duration,
    /// Proxies whose `X-Forwarded-For` is trusted.
    #[serde(deserialize_with = "values::list")]
    pub trusted_proxies: Vec<IpNetwork>,
    /// The URL by which clients reach the gateway, if it differs from `bind`.
    #[serde(deserialize_with = "values::optional")]
    pub public_url: Option<BaseUrl>,
    /// TLS; `None` for plain HTTP.
    #[serde(deserialize_with = "tls")]
    pub tls: Option<TlsConfig>,
}

fn tls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TlsConfig>, D::Error> {
    tls::RawTlsSection::deserialize(deserializer).map(|section| section.0)
}
