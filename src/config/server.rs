//! `[server]` and `[limits]`: the listening side, its TLS, and the largest sizes and numbers.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::url::{BaseUrl, IpNetwork};
use super::values::{self, ByteCount, Millis};

/// The listening side and its timeouts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    #[serde(deserialize_with = "values::address")]
    pub bind: SocketAddr,
    pub deadline: Millis<1, 60_000>,
    pub drain: Millis<1, 600_000>,
    pub header_timeout: Millis<1, 300_000>,
    pub idle_timeout: Millis<1_000, 3_600_000>,
    pub body_timeout: Millis<1, 300_000>,
    #[serde(deserialize_with = "values::list")]
    pub trusted_proxies: Vec<IpNetwork>,
    #[serde(default, deserialize_with = "values::optional")]
    pub public_url: Option<BaseUrl>,
    #[serde(deserialize_with = "tls")]
    pub tls: Option<TlsConfig>,
}

/// `[server.tls]`: the certificate of the gateway, and those of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub clients: ClientCertificates,
    pub handshake_timeout: Millis<1, 60_000>,
}

/// Whether clients present certificates, and the PEM file with the authorities that issue them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    None,
    Optional(PathBuf),
    Required(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientAuth {
    None,
    Optional,
    Required,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_auth: ClientAuth,
    client_ca: Option<PathBuf>,
    handshake_timeout: Millis<1, 60_000>,
}

/// The section; `None` without a certificate.
fn tls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TlsConfig>, D::Error> {
    let raw = RawTls::deserialize(deserializer)?;
    let clients = match (raw.client_auth, raw.client_ca) {
        (ClientAuth::None, None) => Ok(ClientCertificates::None),
        (ClientAuth::Optional, Some(authorities)) => Ok(ClientCertificates::Optional(authorities)),
        (ClientAuth::Required, Some(authorities)) => Ok(ClientCertificates::Required(authorities)),
        (ClientAuth::None, Some(_)) => {
            Err("client_auth: must be `optional` or `required` when client_ca is set")
        }
        (_, None) => Err("client_ca: must be set when client_auth is `optional` or `required`"),
    };
    let clients = clients.map_err(D::Error::custom)?;
    let handshake_timeout = raw.handshake_timeout;
    match (raw.certificate, raw.key) {
        (Some(certificate), Some(key)) => {
            Ok(Some(TlsConfig { certificate, key, clients, handshake_timeout }))
        }
        (None, None) if clients == ClientCertificates::None => Ok(None),
        (None, _) => {
            Err(D::Error::custom("certificate: must be set when key or client_auth is set"))
        }
        (Some(_), None) => Err(D::Error::custom("key: must be set when certificate is set")),
    }
}

/// The largest sizes and numbers that are accepted. A request over a limit is not sent upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    pub total_bytes: ByteCount<1, 16_777_216>,
    pub body_bytes: ByteCount<1_024, 16_777_216>,
    pub header_bytes: ByteCount<8_192, 1_048_576>,
    pub connections: NonZeroUsize,
    pub connections_per_address: NonZeroUsize,
    pub requests: NonZeroUsize,
    pub waiting: NonZeroUsize,
    pub waiting_per_participant: NonZeroUsize,
}
