//! `[server.tls]`: the certificate of the gateway, and those of its clients.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values;

/// TLS of the listening side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub clients: ClientCertificates,
    pub handshake_timeout: Duration,
}

/// Whether clients present certificates, and the PEM file with the authorities that issue them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    None,
    Optional(PathBuf),
    Required(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
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
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    handshake_timeout: Duration,
}

/// The section; `None` without a certificate.
pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TlsConfig>, D::Error> {
    let RawTls { certificate, key, client_auth, client_ca, handshake_timeout } =
        RawTls::deserialize(deserializer)?;
    let clients = match (client_auth, client_ca) {
        (ClientAuth::None, None) => ClientCertificates::None,
        (ClientAuth::Optional, Some(authorities)) => ClientCertificates::Optional(authorities),
        (ClientAuth::Required, Some(authorities)) => ClientCertificates::Required(authorities),
        (ClientAuth::None, Some(_)) => {
            let message = "client_auth: must be `optional` or `required` when client_ca is set";
            return Err(D::Error::custom(message));
        }
        (_, None) => {
            let message = "client_ca: must be set when client_auth is `optional` or `required`";
            return Err(D::Error::custom(message));
        }
    };
    match (certificate, key) {
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
