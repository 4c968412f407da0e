//! Who a caller is by its certificate, for as long as that is good.
//!
//! A connection may be kept for hours. So the certificate that it was made with is looked at again: its
//! end with each request, and its issuer whenever the files of the gateway have changed.

use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;

use super::Tls;
use super::certificate::{Term, subject};
use crate::clock;
use crate::http::CertificateSubject;

/// The certificate that a connection was made with.
pub struct Identity {
    /// As it was shown, with those of its issuers.
    chain: Vec<CertificateDer<'static>>,
    expires: OffsetDateTime,
    /// Whom it names.
    pub subject: Option<CertificateSubject>,
    /// The files that it was last judged by.
    generation: AtomicU64,
}

impl Identity {
    /// Of a chain that `tls` has found good while its files were of this generation. `None` without a
    /// certificate that can be read.
    pub fn of(chain: &[CertificateDer<'_>], generation: u64) -> Option<Self> {
        let own = chain.first()?;
        Some(Self {
            expires: Term::of(own)?.expires,
            subject: subject(own),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            generation: AtomicU64::new(generation),
        })
    }
}

impl Tls {
    /// Tells apart what files were in use when.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether a new connection could still be made with it.
    pub fn lets_in(&self, identity: &Identity) -> bool {
        let now = clock::now();
        if now > identity.expires {
            return false;
        }
        let generation = self.generation();
        if identity.generation.load(Ordering::Relaxed) == generation {
            return true;
        }
        let Some(verifier) = self.lock().material.verifier.clone() else { return false };
        let since_1970 = (now - OffsetDateTime::UNIX_EPOCH).unsigned_abs();
        let Some((own, issuers)) = identity.chain.split_first() else { return false };
        let judged =
            verifier.verify_client_cert(own, issuers, UnixTime::since_unix_epoch(since_1970));
        if judged.is_ok() {
            identity.generation.store(generation, Ordering::Relaxed);
        }
        judged.is_ok()
    }
}
