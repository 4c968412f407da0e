//! Metrics of writes: queue, batches, upstream calls and outcomes.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::metric_types::{LabelledCounter, MetricRegistry, seconds};

/// A gauge of seconds.
pub(super) type FloatGauge = Gauge<f64, AtomicU64>;

/// Metrics of writes.
pub(super) struct WriteMetrics {
    pub outcomes: LabelledCounter,
    pub keys_lost: Counter,
    pub visibility_lag: Histogram,
    pub read_backs: Histogram,
    pub wait_seconds: Histogram,
    pub batch: Histogram,
    pub calls: Histogram,
    pub waiting: Gauge,
    pub in_flight: Gauge,
    pub participants_held: Gauge,
    pub remembered: Gauge,
    pub remembered_bytes: Gauge,
    pub operations: Gauge,
    pub oldest_operation: FloatGauge,
    pub journal_sync: FloatGauge,
    pub operations_ended: LabelledCounter,
}

impl WriteMetrics {
    pub(super) fn new(to: &mut MetricRegistry) -> Self {
        let up_to = |most: u32| Histogram::new((0..=most).map(f64::from));
        let powers = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        let lost = "Keys that a write did not send and that were missing after it";
        let lag = "Time from the acceptance of a PATCH until a read showed it";
        let wait = "Time that a write waited in the queue of its participant";
        let calls = "Upstream calls of one write, including shared calls";
        let waiting = "Writes waiting in the queue of their participant";
        let remembered = "Conversations in the cache for warm writes";
        let oldest = "Age of the oldest accepted write that has not ended";
        let sync = "Time of the last fsync of the journal of accepted writes";
        Self {
            outcomes: to.labelled("write_outcomes", "Keys answered, by outcome"),
            keys_lost: to.counter("keys_lost", lost),
            visibility_lag: to.add("visibility_lag_seconds", lag, seconds()),
            read_backs: to.add("read_backs", "Read-backs of one write", up_to(12)),
            wait_seconds: to.add("write_wait_seconds", wait, seconds()),
            batch: to.add("batch_writes", "Writes sent in one PATCH", powers),
            calls: to.add("write_calls", calls, up_to(16)),
            waiting: to.gauge("writes_waiting", waiting),
            in_flight: to.gauge("writes_in_flight", "Writes in progress"),
            participants_held: to.gauge("participants_held", "Participants with state in memory"),
            remembered: to.gauge("remembered_conversations", remembered),
            operations: to.gauge("operations_queued", "Accepted writes that have not ended"),
            oldest_operation: to.add("oldest_operation_seconds", oldest, FloatGauge::default()),
            journal_sync: to.add("journal_sync_seconds", sync, FloatGauge::default()),
            operations_ended: to.labelled("operations_ended", "Accepted writes ended, by state"),
            remembered_bytes: to.gauge("remembered_bytes", "Approximate memory of this cache"),
        }
    }
}
