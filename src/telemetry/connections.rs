//! Metrics of client connections and of TLS.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// Why the gateway closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The TLS handshake did not complete in time.
    HandshakeTimeout,
    /// The TLS handshake failed, for example because of an invalid certificate.
    HandshakeFailed,
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// No further request arrived in time.
    IdleTimeout,
    /// The client did not read the answer in time.
    AnswerTimeout,
    /// The connection limit was reached.
    Refused,
    /// The gateway is stopping.
    Shutdown,
}

impl CloseReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshakeTimeout",
            Self::HandshakeFailed => "handshakeFailed",
            Self::HeaderTimeout => "headerTimeout",
            Self::IdleTimeout => "idleTimeout",
            Self::AnswerTimeout => "answerTimeout",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

/// Metrics of connections and TLS reloads.
#[derive(Default)]
pub(super) struct ConnectionMetrics {
    open: Gauge<i64, AtomicI64>,
    ended: Family<ReasonLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
    expires: CertificateExpiry,
}

/// Expiry of the gateway's certificate. The metric is absent without TLS, because 0 would look like an
/// expiry in 1970.
#[derive(Clone, Debug)]
struct CertificateExpiry(Arc<AtomicI64>);

/// Marks a missing certificate.
const NO_CERTIFICATE: i64 = i64::MIN;

impl Default for CertificateExpiry {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NO_CERTIFICATE)))
    }
}

impl Collector for CertificateExpiry {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let expires = self.0.load(Ordering::Relaxed);
        if expires == NO_CERTIFICATE {
            return Ok(());
        }
        let help = "Expiry of the gateway's certificate, in seconds since 1970";
        let metric = ConstGauge::new(expires);
        let name = "tls_certificate_expiry_seconds";
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}

impl ConnectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Open client connections", self.open.clone());
        registry.register(
            "connections_ended",
            "Connections that the gateway closed or refused, by reason",
            self.ended.clone(),
        );
        registry.register(
            "tls_reloads",
            "Reloads of changed TLS files, by outcome",
            self.reloads.clone(),
        );
        registry.register_collector(Box::new(self.expires.clone()));
    }

    pub(super) fn open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn reloaded(&self, accepted: bool) {
        let outcome = if accepted { "taken" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    pub(super) fn expires(&self, at: i64) {
        self.expires.0.store(at, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, ended: CloseReason) {
        self.ended.get_or_create(&ReasonLabels { reason: ended.as_str() }).inc();
    }
}
