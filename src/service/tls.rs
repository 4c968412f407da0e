//! TLS of the listening side, with reload of the certificates.
//!
//! The service reloads the files when they change. If they are invalid, the old ones stay in use, and
//! the log, `/readyz?verbose` and the metrics show the error. The same applies to a new certificate
//! outside its validity period, while the old one is valid.

mod server_config;
mod x509;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::sync::Notify;

use self::server_config::TlsMaterial;
pub use self::server_config::certificates;
use self::x509::when;
pub use self::x509::{ValidityPeriod, subject};
use super::reloaded::Reloaded;
use crate::clock;
use crate::config::{ClientCertificates, TlsConfig};
use crate::http::{CertificateSubject, HealthCheck};
use crate::telemetry::ServiceMetrics;

/// The certificate in use, and the authorities for client certificates. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Reloaded<TlsMaterial>>);

impl ServerTls {
    /// Loads the files.
    pub fn load(settings: &TlsConfig) -> anyhow::Result<Self> {
        let TlsConfig { certificate, key, clients, .. } = settings.clone();
        let mut files: Vec<PathBuf> = vec![certificate, key];
        if let ClientCertificates::Optional(file) | ClientCertificates::Required(file) = clients {
            files.push(file);
        }
        let settings = settings.clone();
        let loaded = Reloaded::new(files, move |old| load(&settings, old));
        let loaded = loaded.context("cannot use the files of server.tls")?;
        if let Some(fault) = loaded.get().term.fault(clock::now()) {
            tracing::warn!("the certificate of server.tls is {fault}: clients will refuse it");
        }
        Ok(Self(Arc::new(loaded)))
    }

    /// What the handshake of one connection uses.
    pub fn material(&self) -> Arc<TlsMaterial> {
        self.0.get()
    }

    /// Requests a reload.
    pub fn requests(&self) -> Arc<Notify> {
        self.0.requests()
    }

    /// Reloads the files whenever they change. Never returns.
    pub async fn watch(self, metrics: ServiceMetrics) {
        metrics.certificate_expires(self.material().term.expires.unix_timestamp());
        let report = |reload: Result<(&TlsMaterial, &TlsMaterial), &str>| match reload {
            Ok((old, new)) => {
                let expires = new.term.expires;
                metrics.certificate_expires(expires.unix_timestamp());
                metrics.tls_reloaded(true);
                tracing::info!(expires = %when(expires), "the files of server.tls were reloaded");
                if new.authorities != old.authorities {
                    // Connections with client certificates finish their request and close.
                    old.trust.cancel();
                }
            }
            Err(error) => {
                metrics.tls_reloaded(false);
                tracing::error!(
                    error,
                    "the files of server.tls are invalid; the previous ones stay in use"
                );
            }
        };
        self.0.watch(report).await;
    }

    /// The health check of the files and the certificate.
    pub fn check(&self) -> HealthCheck {
        let (term, fault) = (self.material().term, self.0.fault());
        let invalid = term.fault(clock::now());
        let ok = invalid.is_none() && fault.is_none();
        let validity = invalid.unwrap_or_else(|| format!("valid until {}", when(term.expires)));
        let mut detail = format!("certificate {validity}");
        if let Some(fault) = fault {
            detail = format!("{detail}; the files have changed and are invalid: {fault}");
        }
        HealthCheck { name: "tls", ok, detail }
    }
}

/// Loads the files, unless their certificate is outside its validity period and that of `old` is not.
fn load(settings: &TlsConfig, old: Option<&TlsMaterial>) -> anyhow::Result<TlsMaterial> {
    let (mut material, now) = (TlsMaterial::load(settings)?, clock::now());
    let Some(old) = old else { return Ok(material) };
    if let Some(fault) = material.term.fault(now)
        && old.term.fault(now).is_none()
    {
        bail!("the certificate in {} is {fault}", settings.certificate.display());
    }
    if material.authorities == old.authorities {
        material.trust = old.trust.clone();
    }
    Ok(material)
}

#[cfg(test)]
mod tests;
