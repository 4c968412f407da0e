//! TLS of the listening side: which certificate it shows, whom it lets in, and how both change
//! without a restart.
//!
//! Files are taken anew when they change. If they cannot be used, or not at this time while those
//! from before can, the old state stays, and the log, `/readyz?verbose` and the metrics say so.

mod client_certificate;
mod server_config;
mod x509;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

pub use self::client_certificate::ClientCertificate;
use self::server_config::TlsMaterial;
pub use self::server_config::certificates;
use self::x509::when;
use super::file_watcher::{FileWatcher, check_regular};
use crate::clock;
use crate::config::{self, ClientCertificates};
use crate::http::{CertificateSubject, HealthCheck};
use crate::telemetry::ServiceMetrics;

/// After which time files that could not be taken are tried again: a certificate may have been put
/// there a little before its time.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Why files are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReloadReason {
    /// They may have changed since they were read at the start.
    Start,
    /// They have changed.
    Changed,
    /// They could not be taken when they had changed.
    Again,
    /// An operator asked for it.
    Asked,
}

/// The certificate in use, and who may come in.
pub struct ServerTls {
    settings: config::TlsConfig,
    state: Mutex<TlsState>,
    /// Says that the files were taken.
    reloads: watch::Sender<()>,
    /// Told when the files are to be read at once.
    reload: Notify,
}

struct TlsState {
    material: Arc<TlsMaterial>,
    /// Why the files as they are now could not be taken.
    fault: Option<String>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn load(settings: &config::TlsConfig) -> anyhow::Result<Self> {
        let material = loaded(settings).context("cannot use the files of server.tls")?;
        if let Some(fault) = material.term.fault(clock::now()) {
            tracing::warn!("the certificate of server.tls is {fault}: callers will refuse it");
        }
        let state = TlsState { material: Arc::new(material), fault: None };
        Ok(Self {
            settings: settings.clone(),
            state: Mutex::new(state),
            reloads: watch::Sender::default(),
            reload: Notify::new(),
        })
    }

    /// Makes the handshake of one connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.state.lock().material.server).into()
    }

    /// Takes the files anew whenever they change, for ever.
    pub async fn watch_files(&self, metrics: &ServiceMetrics) {
        metrics.certificate_expires(self.state.lock().material.term.expires.unix_timestamp());
        let mut watched = FileWatcher::new(files(&self.settings));
        self.take(metrics, ReloadReason::Start);
        loop {
            let has_fault = self.state.lock().fault.is_some();
            let cause = tokio::select! {
                () = watched.changed() => ReloadReason::Changed,
                () = self.reload.notified() => ReloadReason::Asked,
                () = tokio::time::sleep(RETRY_INTERVAL), if has_fault => ReloadReason::Again,
            };
            if cause == ReloadReason::Asked {
                watched = FileWatcher::new(files(&self.settings));
            }
            self.take(metrics, cause);
        }
    }

    fn take(&self, metrics: &ServiceMetrics, cause: ReloadReason) {
        match self.load_anew() {
            Ok(material) => {
                let expires = material.term.expires;
                metrics.certificate_expires(expires.unix_timestamp());
                *self.state.lock() = TlsState { material: Arc::new(material), fault: None };
                self.reloads.send_replace(());
                if cause != ReloadReason::Start {
                    metrics.tls_reloaded(true);
                    tracing::info!(expires = %when(expires), "the files of server.tls were taken");
                }
            }
            Err(error) => {
                let fault = format!("{error:#}");
                if cause != ReloadReason::Again {
                    metrics.tls_reloaded(false);
                    tracing::error!(
                        error = fault,
                        "the files of server.tls cannot be used as they are now; those from before \
                         stay in use"
                    );
                }
                self.state.lock().fault = Some(fault);
            }
        }
    }

    /// The files as they are now, unless what they hold is not good today and what is in use is.
    fn load_anew(&self) -> anyhow::Result<TlsMaterial> {
        let (material, now) = (loaded(&self.settings)?, clock::now());
        if let Some(fault) = material.term.fault(now)
            && self.state.lock().material.term.fault(now).is_none()
        {
            bail!("the certificate in {} is {fault}", self.settings.certificate.display());
        }
        Ok(material)
    }

    /// Has the files read at once, also if they have not changed.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// How it stands with the files and the certificate.
    pub fn check(&self) -> HealthCheck {
        let state = self.state.lock();
        let term = state.material.term;
        let bad = term.fault(clock::now());
        let ok = bad.is_none() && state.fault.is_none();
        let told = bad.unwrap_or_else(|| format!("good until {}", when(term.expires)));
        let mut detail = format!("certificate {told}");
        if let Some(fault) = &state.fault {
            detail = format!("{detail}; the files have changed since and cannot be used: {fault}");
        }
        HealthCheck { name: "tls", ok, detail }
    }
}

fn loaded(settings: &config::TlsConfig) -> anyhow::Result<TlsMaterial> {
    check_regular(&files(settings))?;
    TlsMaterial::load(settings)
}

fn files(settings: &config::TlsConfig) -> Vec<PathBuf> {
    let config::TlsConfig { certificate, key, clients, .. } = settings;
    let mut files = vec![certificate.clone(), key.clone()];
    if let ClientCertificates::Optional(file) | ClientCertificates::Required(file) = clients {
        files.push(file.clone());
    }
    files
}

#[cfg(test)]
mod tests;
