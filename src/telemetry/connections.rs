//! Metrics of the listening side.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// Why the service ended a connection, where its client did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The TLS handshake did not end in time.
    HandshakeTimeout,
    /// The TLS handshake failed, for want of a good certificate for instance.
    HandshakeFailed,
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// There was no further request in time.
    IdleTimeout,
    /// Nothing of an answer was taken for too long.
    AnswerTimeout,
    /// There was no place for it.
    Refused,
    /// The service goes down.
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
struct TakenLabels {
    outcome: &'static str,
}

/// What became of connections.
#[derive(Default)]
pub(super) struct ConnectionMetrics {
    open: Gauge<i64, AtomicI64>,
    ended: Family<ReasonLabels, Counter>,
    reloads: Family<TakenLabels, Counter>,
    expires: CertificateExpiry,
}

/// When the certificate of the gateway ends. Absent without TLS: a 0 would look like a certificate that
/// ended in 1970.
#[derive(Clone, Debug)]
struct CertificateExpiry(Arc<AtomicI64>);

/// Stands for no certificate.
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
        let help = "When the certificate of the gateway ends, in seconds since 1970";
        let metric = ConstGauge::new(expires);
        let name = "tls_certificate_expiry_seconds";
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}

impl ConnectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections of callers", self.open.clone());
        registry.register(
            "connections_ended",
            "Connections that the gateway ended or refused, by reason",
            self.ended.clone(),
        );
        registry.register(
            "tls_reloads",
            "Changes of the TLS files, by whether they could be used",
            self.reloads.clone(),
        );
        registry.register_collector(Box::new(self.expires.clone()));
    }

    pub(super) fn open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn reloaded(&self, taken: bool) {
        let outcome = if taken { "taken" } else { "refused" };
        self.reloads.get_or_create(&TakenLabels { outcome }).inc();
    }

    pub(super) fn expires(&self, at: i64) {
        self.expires.0.store(at, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, ended: CloseReason) {
        self.ended.get_or_create(&ReasonLabels { reason: ended.as_str() }).inc();
    }
}
