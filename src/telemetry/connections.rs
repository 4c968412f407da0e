//! Metrics of client connections and of TLS.

use prometheus_client::metrics::gauge::Gauge;

use super::metric_types::{LabelledCounter, MetricRegistry, TimeGauge};

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
    pub(super) const fn as_str(self) -> &'static str {
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

/// Metrics of connections and TLS reloads.
pub(super) struct ConnectionMetrics {
    pub open: Gauge,
    pub live_viewers: Gauge,
    pub ended: LabelledCounter,
    pub reloads: LabelledCounter,
    pub certificate_expiry: TimeGauge,
}

impl ConnectionMetrics {
    pub(super) fn new(to: &mut MetricRegistry) -> Self {
        let ended = "Connections that the gateway closed or refused, by reason";
        let expiry = "Expiry of the gateway's certificate, in seconds since 1970";
        let expiry =
            to.add("tls_certificate_expiry_timestamp_seconds", expiry, TimeGauge::default());
        let reloads = to.labelled("tls_reloads", "Reloads of changed TLS files, by outcome");
        // From 0 on: an alert would not notice a counter that begins with 1.
        for outcome in ["taken", "refused"] {
            drop(reloads.get_or_create(&[("outcome", outcome)]));
        }
        Self {
            open: to.gauge("connections", "Open client connections"),
            live_viewers: to.gauge("live_viewers", "Viewers of the live view"),
            ended: to.labelled("connections_ended", ended),
            reloads,
            certificate_expiry: expiry,
        }
    }
}
