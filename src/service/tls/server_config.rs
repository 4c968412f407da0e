//! Builds the TLS configuration from the files.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;

use super::x509::ValidityPeriod;
use crate::config::{self, ClientCertificates};

/// The only supported version of HTTP.
const ALPN: &[u8] = b"http/1.1";

const UNUSABLE_AUTHORITIES: &str = "no certificate can be read from server.tls.client_ca";

/// The TLS configuration built from the files.
pub struct TlsMaterial {
    /// The configuration, for TLS 1.2 and 1.3.
    pub server: Arc<ServerConfig>,
    /// The authorities for client certificates; empty if none are requested.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Cancelled when a reload replaces the authorities.
    pub trust: CancellationToken,
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
        let (authorities, is_required) = match &settings.clients {
            ClientCertificates::None => (Vec::new(), false),
            ClientCertificates::Optional(file) => (certificates(file)?, false),
            ClientCertificates::Required(file) => (certificates(file)?, true),
        };
        let builder = if authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_verifier(verifier(&authorities, is_required, provider)?)
        };
        let mut server = builder.with_single_cert(chain, key).with_context(|| {
            let (certificate, key) = (settings.certificate.display(), settings.key.display());
            format!("{certificate} and {key} do not match")
        })?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        if !authorities.is_empty() {
            // A resumed session would reuse a certificate that was verified long ago.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        Ok(Self { server: Arc::new(server), authorities, trust: CancellationToken::new(), term })
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
    authorities: &[CertificateDer<'static>],
    is_required: bool,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).context(UNUSABLE_AUTHORITIES)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().context(UNUSABLE_AUTHORITIES)
}
