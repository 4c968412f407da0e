//! The certificate that a client presented in its handshake.
//!
//! A connection can last for hours. The server closes it when the certificate expires, or when a reload
//! of the authorities removes its issuer.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::ServerTls;
use super::x509::{ValidityPeriod, subject};
use crate::clock;
use crate::http::CertificateSubject;
use crate::ports::BoxFuture;

/// The client certificate of a connection.
pub struct ClientCertificate {
    /// The certificate and those of its issuers, as presented.
    chain: Vec<CertificateDer<'static>>,
    expires: OffsetDateTime,
    /// The subject of the certificate.
    pub subject: Option<CertificateSubject>,
}

impl ClientCertificate {
    /// The certificate of a verified chain. `None` if it cannot be parsed.
    pub fn new(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        Some(Self {
            expires: ValidityPeriod::parse(own)?.expires,
            subject: subject(own),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
        })
    }
}

impl ServerTls {
    /// Resolves when the certificate expires or is no longer trusted.
    pub fn lapse(self: &Arc<Self>, certificate: ClientCertificate) -> BoxFuture<'static, ()> {
        let (tls, mut reloads) = (Arc::clone(self), self.reloads.subscribe());
        Box::pin(async move {
            let left = certificate.expires - clock::now();
            // The certificate is valid up to and including its last second.
            let left = left + time::Duration::SECOND;
            let expiry = tokio::time::sleep(left.try_into().unwrap_or_default());
            let distrust =
                async { while tls.trusts(&certificate) && reloads.changed().await.is_ok() {} };
            tokio::select! {
                () = expiry => {}
                () = distrust => {}
            }
        })
    }

    fn trusts(&self, certificate: &ClientCertificate) -> bool {
        let Some(verifier) = self.state.lock().material.verifier.clone() else { return false };
        let since_1970 = (clock::now() - OffsetDateTime::UNIX_EPOCH).unsigned_abs();
        let Some((own, issuers)) = certificate.chain.split_first() else { return false };
        let now = UnixTime::since_unix_epoch(since_1970);
        verifier.verify_client_cert(own, issuers, now).is_ok()
    }
}
