//! `[server.tls]`: the certificate of the gateway, and those of its clients.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::mismatch::{KeyMismatch, KeyMismatches};
use super::values::{self, WordSetting};

/// TLS of the listening side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file with the certificate of the gateway and its chain.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// Whether clients present certificates.
    pub clients: ClientCertificates,
    /// Time for a handshake; at most 1 min.
    pub handshake_timeout: Duration,
}

/// Whether clients present certificates, and the PEM file with the authorities that issue them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// The gateway does not request one.
    None,
    /// A client may present one; an invalid one is refused.
    Optional(PathBuf),
    /// Every client must present one.
    Required(PathBuf),
}

/// The converted section; `None` without a certificate.
#[derive(Deserialize)]
#[serde(try_from = "RawTls")]
pub(super) struct RawTlsSection(pub Option<TlsConfig>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    None,
    Optional,
    Required,
}

impl WordSetting for ClientAuth {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("optional", Self::Optional), ("required", Self::Required)];
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    #[serde(deserialize_with = "values::optional")]
    certificate: Option<PathBuf>,
    #[serde(deserialize_with = "values::optional")]
    key: Option<PathBuf>,
    #[serde(deserialize_with = "values::choice")]
    client_auth: ClientAuth,
    #[serde(deserialize_with = "values::optional")]
    client_ca: Option<PathBuf>,
    #[serde(deserialize_with = "values::duration::<1, 60_000, _>")]
    handshake_timeout: Duration,
}

impl TryFrom<RawTls> for RawTlsSection {
    type Error = KeyMismatches;

    fn try_from(raw: RawTls) -> Result<Self, KeyMismatches> {
        let mut wrong = Vec::new();
        if raw.certificate.is_some() && raw.key.is_none() {
            wrong.push(KeyMismatch("key", "is needed when server.tls.certificate is set"));
        }
        if raw.key.is_some() && raw.certificate.is_none() {
            wrong.push(KeyMismatch("certificate", "is needed when server.tls.key is set"));
        }
        if raw.client_ca.is_some() && raw.client_auth == ClientAuth::None {
            let message = "must be `optional` or `required` when server.tls.client_ca is set";
            wrong.push(KeyMismatch("client_auth", message));
        }
        if raw.client_auth != ClientAuth::None {
            if raw.client_ca.is_none() {
                let message = "is needed when server.tls.client_auth is `optional` or `required`";
                wrong.push(KeyMismatch("client_ca", message));
            }
            if raw.certificate.is_none() {
                let message = "is needed when server.tls.client_auth is `optional` or `required`";
                wrong.push(KeyMismatch("certificate", message));
            }
        }
        let (certificate, key) = match (raw.certificate, raw.key) {
            _ if !wrong.is_empty() => return Err(KeyMismatches(wrong)),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Ok(Self(None)),
        };
        let clients = match (raw.client_auth, raw.client_ca) {
            (ClientAuth::Optional, Some(authorities)) => ClientCertificates::Optional(authorities),
            (ClientAuth::Required, Some(authorities)) => ClientCertificates::Required(authorities),
            _ => ClientCertificates::None,
        };
        Ok(Self(Some(TlsConfig {
            certificate,
            key,
            clients,
            handshake_timeout: raw.handshake_timeout,
        })))
    }
}
