//! Builds the TLS configuration from the files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::x509::ValidityPeriod;
use crate::config::{self, ClientCertificates};

/// The only supported version of HTTP.
const ALPN: &[u8] = b"http/1.1";

/// The TLS configuration built from the files.
pub struct TlsMaterial {
    /// The configuration, for TLS 1.2 and 1.3.
    pub server: Arc<ServerConfig>,
    /// Verifies client certificates, if the server requests them.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// The validity of the gateway's certificate and that of its issuer.
    pub term: ValidityPeriod,
}

impl TlsMaterial {
    /// Reads the files, and checks that they match.
    pub fn load(settings: &config::TlsConfig) -> anyhow::Result<Self> {
        let chain = certificates(&settings.certificate)?;
        let term = term_of(&chain).with_context(|| unusable(&settings.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&settings.key).with_context(|| {
            format!("no private key can be read from {}", settings.key.display())
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let verifier = verifier(&settings.clients, provider)?;
        let requests_certificate = verifier.is_some();
        let builder = match verifier.clone() {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(chain, key).with_context(|| {
            let (certificate, key) = (settings.certificate.display(), settings.key.display());
            format!("{certificate} and {key} do not match")
        })?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        if requests_certificate {
            // A resumed session would reuse a certificate that was verified long ago.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        Ok(Self { server: Arc::new(server), verifier, term })
    }
}

/// The validity of the gateway's certificate and that of its issuer, which every client checks.
/// Further certificates are often there for old clients only.
fn term_of(chain: &[CertificateDer<'_>]) -> Option<ValidityPeriod> {
    let terms: Option<Vec<_>> =
        chain.iter().take(2).map(|one| ValidityPeriod::parse(one)).collect();
    terms?.into_iter().reduce(ValidityPeriod::within)
}

/// The certificates of a PEM file; at least one.
pub fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found: Vec<_> = found.with_context(|| unusable(file))?;
    ensure!(!found.is_empty(), unusable(file));
    Ok(found)
}

fn unusable(file: &Path) -> String {
    format!("no certificate can be read from {}", file.display())
}

fn verifier(
    clients: &ClientCertificates,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Option<Arc<dyn ClientCertVerifier>>> {
    let (file, required) = match clients {
        ClientCertificates::None => return Ok(None),
        ClientCertificates::Optional(file) => (file, false),
        ClientCertificates::Required(file) => (file, true),
    };
    let mut authorities = RootCertStore::empty();
    for authority in certificates(file)? {
        authorities.add(authority).with_context(|| unusable(file))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    match builder.build() {
        Ok(verifier) => Ok(Some(verifier)),
        Err(error) => bail!("{}: {error}", unusable(file)),
    }
}
