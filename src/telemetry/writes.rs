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
    pub pending_participants: Gauge,
    pub cached_conversations: Gauge,
    pub cache_bytes: Gauge,
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
        let participants = "Participants with pending writes";
        let cached = "Conversations in the snapshot cache, for warm writes";
        let oldest = "Age of the oldest accepted write that has not ended";
        let sync = "Time of the last fsync of the journal of accepted writes";
        let operations_ended = to.labelled("operations_ended", "Accepted writes ended, by state");
        // From 0 on: an alert would not notice a counter that begins with 1.
        for state in ["done", "failed", "expired"] {
            drop(operations_ended.get_or_create(&[("state", state)]));
        }
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
            pending_participants: to.gauge("pending_write_participants", participants),
            cached_conversations: to.gauge("snapshot_cache_conversations", cached),
            cache_bytes: to.gauge("snapshot_cache_bytes", "Approximate memory of this cache"),
            operations: to.gauge("operations_queued", "Accepted writes that have not ended"),
            oldest_operation: to.add("oldest_operation_seconds", oldest, FloatGauge::default()),
            journal_sync: to.add("journal_sync_seconds", sync, FloatGauge::default()),
            operations_ended,
        }
    }
}
