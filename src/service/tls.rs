//! TLS of the listening side, with reload of the certificates.
//!
//! The service reloads the files when they change. If they are invalid, the old ones stay in use, and
//! the log, `/readyz?verbose` and the metrics show the error. The same applies to a new certificate
//! outside its validity period, while the old one is valid.

mod server_config;
mod x509;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::server_config::TlsMaterial;
pub use self::server_config::certificates;
use self::x509::when;
pub use self::x509::{ValidityPeriod, subject};
use super::file_watcher::{FileWatcher, ReloadReason, check_regular};
use crate::clock;
use crate::config::{self, ClientCertificates};
use crate::http::{CertificateSubject, HealthCheck};
use crate::telemetry::ServiceMetrics;

/// Time after which rejected files are tried again: the validity of a new certificate may begin soon.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The certificate in use, and the authorities for client certificates.
pub struct ServerTls {
    settings: config::TlsConfig,
    state: Mutex<TlsState>,
    /// Taken when the watch begins.
    watcher: Mutex<Option<FileWatcher>>,
    reload_requests: Arc<Notify>,
}

struct TlsState {
    material: Arc<TlsMaterial>,
    /// Why the files as they are now were rejected.
    fault: Option<String>,
}

impl ServerTls {
    /// Loads the files.
    pub fn load(settings: &config::TlsConfig) -> anyhow::Result<Self> {
        let watcher = FileWatcher::new(files(settings));
        let material = load_material(settings).context("cannot use the files of server.tls")?;
        if let Some(fault) = material.term.fault(clock::now()) {
            tracing::warn!("the certificate of server.tls is {fault}: clients will refuse it");
        }
        Ok(Self {
            settings: settings.clone(),
            state: Mutex::new(TlsState { material: Arc::new(material), fault: None }),
            reload_requests: watcher.requests(),
            watcher: Mutex::new(Some(watcher)),
        })
    }

    /// What the handshake of one connection uses.
    pub fn material(&self) -> Arc<TlsMaterial> {
        Arc::clone(&self.state.lock().material)
    }

    /// Reloads the files whenever they change. Never returns.
    pub async fn watch_files(&self, metrics: &ServiceMetrics) {
        metrics.certificate_expires(self.material().term.expires.unix_timestamp());
        let Some(mut watcher) = self.watcher.lock().take() else { return };
        loop {
            let has_fault = self.state.lock().fault.is_some();
            let reason = tokio::select! {
                reason = watcher.changed() => reason,
                () = tokio::time::sleep(RETRY_INTERVAL), if has_fault => ReloadReason::Retry,
            };
            self.apply(metrics, reason);
        }
    }

    fn apply(&self, metrics: &ServiceMetrics, reason: ReloadReason) {
        match self.load_replacement() {
            Ok(mut material) => {
                let expires = material.term.expires;
                metrics.certificate_expires(expires.unix_timestamp());
                metrics.tls_reloaded(true);
                tracing::info!(expires = %when(expires), "the files of server.tls were reloaded");
                let mut state = self.state.lock();
                if material.authorities == state.material.authorities {
                    material.trust = state.material.trust.clone();
                } else {
                    // Connections with client certificates finish their request and close.
                    state.material.trust.cancel();
                }
                *state = TlsState { material: Arc::new(material), fault: None };
            }
            Err(error) => {
                let fault = format!("{error:#}");
                if reason != ReloadReason::Retry {
                    metrics.tls_reloaded(false);
                    tracing::error!(
                        error = fault,
                        "the files of server.tls are invalid; the previous ones stay in use"
                    );
                }
                self.state.lock().fault = Some(fault);
            }
        }
    }

    /// Loads the files, unless their certificate is outside its validity period and the current one is not.
    fn load_replacement(&self) -> anyhow::Result<TlsMaterial> {
        let (material, now) = (load_material(&self.settings)?, clock::now());
        if let Some(fault) = material.term.fault(now)
            && self.state.lock().material.term.fault(now).is_none()
        {
            bail!("the certificate in {} is {fault}", self.settings.certificate.display());
        }
        Ok(material)
    }

    /// Reloads the files at once, changed or not.
    pub fn reload(&self) {
        self.reload_requests.notify_one();
    }

    /// The health check of the files and the certificate.
    pub fn check(&self) -> HealthCheck {
        let state = self.state.lock();
        let term = state.material.term;
        let invalid = term.fault(clock::now());
        let ok = invalid.is_none() && state.fault.is_none();
        let validity = invalid.unwrap_or_else(|| format!("valid until {}", when(term.expires)));
        let mut detail = format!("certificate {validity}");
        if let Some(fault) = &state.fault {
            detail = format!("{detail}; the files have changed and are invalid: {fault}");
        }
        HealthCheck { name: "tls", ok, detail }
    }
}

fn load_material(settings: &config::TlsConfig) -> anyhow::Result<TlsMaterial> {
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
