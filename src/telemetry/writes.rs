//! Metrics of writes: queue, batches, upstream calls and outcomes.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{OutcomeLabels, seconds};
use crate::domain::KeyOutcome;

/// Metrics of writes.
pub(super) struct WriteMetrics {
    outcomes: Family<OutcomeLabels, Counter>,
    pub(super) visibility_lag: Histogram,
    pub(super) read_backs: Histogram,
    pub(super) keys_lost: Counter,
    pub(super) waiting: Gauge,
    pub(super) wait_seconds: Histogram,
    pub(super) batch: Histogram,
    pub(super) calls: Histogram,
    pub(super) in_flight: Gauge,
    pub(super) participants_held: Gauge,
    remembered: Gauge,
    remembered_bytes: Gauge,
}

impl WriteMetrics {
    pub(super) fn new() -> Self {
        Self {
            outcomes: Family::default(),
            visibility_lag: seconds(),
            read_backs: Histogram::new((0..=12).map(f64::from)),
            keys_lost: Counter::default(),
            waiting: Gauge::default(),
            wait_seconds: seconds(),
            batch: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            calls: Histogram::new((0..=16).map(f64::from)),
            in_flight: Gauge::default(),
            participants_held: Gauge::default(),
            remembered: Gauge::default(),
            remembered_bytes: Gauge::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let outcomes = self.outcomes.clone();
        registry.register("write_outcomes", "Keys answered, by outcome", outcomes);
        let lost = "Keys that a write did not send and that were missing after it";
        registry.register("keys_lost", lost, self.keys_lost.clone());
        for (name, help, histogram) in self.histograms() {
            registry.register(name, help, histogram.clone());
        }
        for (name, help, gauge) in self.gauges() {
            registry.register(name, help, gauge.clone());
        }
    }

    fn histograms(&self) -> [(&'static str, &'static str, &Histogram); 5] {
        [
            (
                "visibility_lag_seconds",
                "Time from the acceptance of a PATCH until a read showed it",
                &self.visibility_lag,
            ),
            ("read_backs", "Read-backs of one write", &self.read_backs),
            (
                "write_wait_seconds",
                "Time that a write waited in the queue of its participant",
                &self.wait_seconds,
            ),
            ("batch_writes", "Writes sent in one PATCH", &self.batch),
            ("write_calls", "Upstream calls of one write, including shared calls", &self.calls),
        ]
    }

    fn gauges(&self) -> [(&'static str, &'static str, &Gauge); 5] {
        [
            ("writes_waiting", "Writes waiting in the queue of their participant", &self.waiting),
            ("writes_in_flight", "Writes in progress", &self.in_flight),
            ("participants_held", "Participants with state in memory", &self.participants_held),
            (
                "remembered_conversations",
                "Conversations in the cache for warm writes",
                &self.remembered,
            ),
            ("remembered_bytes", "Approximate memory of this cache", &self.remembered_bytes),
        ]
    }

    pub(super) fn outcome(&self, outcome: KeyOutcome) {
        self.outcomes.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait_seconds.observe(time.as_secs_f64());
    }

    pub(super) fn remembered(&self, conversations: usize, bytes: usize) {
        self.remembered.set(clamp_to_gauge(conversations));
        self.remembered_bytes.set(clamp_to_gauge(bytes));
    }
}

/// Converts a count for a gauge, which is signed.
pub(super) fn clamp_to_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
