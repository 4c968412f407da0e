//! Figures of the listening side.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Why the service ended a connection, where its caller did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// There was no further request in time, or an answer was not taken.
    IdleTimeout,
    /// Another connection got its place.
    Displaced,
    /// There was no place for it.
    Refused,
    /// The service goes down.
    Shutdown,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HeaderTimeout => "headerTimeout",
            Self::IdleTimeout => "idleTimeout",
            Self::Displaced => "displaced",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// What became of connections.
#[derive(Default)]
pub(super) struct Connections {
    open: Gauge<i64, AtomicI64>,
    ended: Family<ReasonLabels, Counter>,
}

impl Connections {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections of callers", self.open.clone());
        registry.register(
            "connections_ended",
            "Connections that the gateway ended or refused, by reason",
            self.ended.clone(),
        );
    }

    pub(super) fn open(&self, count: usize) {
        self.open.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn ended(&self, ended: Ended) {
        self.ended.get_or_create_owned(&ReasonLabels { reason: ended.as_str() }).inc();
    }
}
