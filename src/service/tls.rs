//! TLS of the listening side: which certificate it shows, whom it lets in, and how both change
//! without a restart.
//!
//! Files are taken anew when they change. If they cannot be used, the old state stays, and the log,
//! `/readyz?verbose` and the figures say so.

mod certificate;
mod material;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_rustls::TlsAcceptor;

pub use self::certificate::subject;
use self::material::Material;
pub use self::material::certificates;
use super::watched::{Watched, check_regular};
use crate::clock;
use crate::config::{self, ClientCertificates};
use crate::http::{CertificateSubject, Check};
use crate::telemetry::Metrics;

/// The certificate in use, and who may come in.
pub struct Tls {
    settings: config::Tls,
    state: Mutex<State>,
}

struct State {
    material: Arc<Material>,
    /// Why the files as they are now could not be taken.
    fault: Option<String>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn load(settings: &config::Tls) -> anyhow::Result<Self> {
        let material = loaded(settings).context("cannot use the files of server.tls")?;
        let state = State { material: Arc::new(material), fault: None };
        Ok(Self { settings: settings.clone(), state: Mutex::new(state) })
    }

    /// Makes the handshake of one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.lock().material.server).into()
    }

    /// Takes the files anew whenever they change, for ever.
    pub async fn keep(&self, metrics: &Metrics) {
        metrics.certificate_expires(self.lock().material.expires.unix_timestamp());
        let mut files = Watched::new(files(&self.settings));
        // They may have changed since they were read.
        self.take(metrics, true);
        loop {
            files.changed().await;
            self.take(metrics, false);
        }
    }

    fn take(&self, metrics: &Metrics, quietly: bool) {
        let loaded = loaded(&self.settings);
        let mut state = self.lock();
        match loaded {
            Ok(material) => {
                let expires = material.expires;
                metrics.certificate_expires(expires.unix_timestamp());
                *state = State { material: Arc::new(material), fault: None };
                drop(state);
                if !quietly {
                    metrics.tls_reloaded(true);
                    tracing::info!(expires = %when(expires), "the files of server.tls were taken");
                }
            }
            Err(error) => {
                let fault = format!("{error:#}");
                metrics.tls_reloaded(false);
                tracing::error!(
                    error = fault,
                    "the files of server.tls have changed and cannot be used; those from before stay \
                     in use"
                );
                state.fault = Some(fault);
            }
        }
    }

    /// How it stands with the files and the certificate.
    pub fn check(&self) -> Check {
        let state = self.lock();
        let expires = state.material.expires;
        let over = expires <= clock::now();
        let verb = if over { "expired on" } else { "good until" };
        let mut detail = format!("certificate {verb} {}", when(expires));
        if let Some(fault) = &state.fault {
            detail = format!("{detail}; the files have changed since and cannot be used: {fault}");
        }
        Check { name: "tls", ok: !over && state.fault.is_none(), detail }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn loaded(settings: &config::Tls) -> anyhow::Result<Material> {
    check_regular(&files(settings))?;
    Material::load(settings)
}

fn files(settings: &config::Tls) -> Vec<PathBuf> {
    let config::Tls { certificate, key, clients, .. } = settings;
    let mut files = vec![certificate.clone(), key.clone()];
    if let ClientCertificates::Optional(file) | ClientCertificates::Required(file) = clients {
        files.push(file.clone());
    }
    files
}

fn when(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.unix_timestamp().to_string())
}

#[cfg(test)]
mod tests;
