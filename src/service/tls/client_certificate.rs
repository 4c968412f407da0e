//! The certificate that a client showed in its handshake, for as long as it is good.
//!
//! A connection may be kept for hours. It ends when its certificate expires, and when a reload of the
//! authorities takes the trust in its issuer away.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::ServerTls;
use super::x509::{ValidityPeriod, subject};
use crate::clock;
use crate::http::CertificateSubject;
use crate::ports::BoxFuture;

/// The certificate that a connection was made with.
pub struct ClientCertificate {
    /// As the client showed it, with those of its issuers.
    chain: Vec<CertificateDer<'static>>,
    expires: OffsetDateTime,
    /// The client that it names.
    pub subject: Option<CertificateSubject>,
}

impl ClientCertificate {
    /// Of a chain that the handshake has verified. `None` without a certificate that can be read.
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
    /// Ends when no new connection could be made with this certificate any more.
    pub fn lapse(self: &Arc<Self>, certificate: ClientCertificate) -> BoxFuture<'static, ()> {
        let (tls, mut reloads) = (Arc::clone(self), self.reloads.subscribe());
        Box::pin(async move {
            let left = certificate.expires - clock::now();
            // The certificate is good up to and including its last second.
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
