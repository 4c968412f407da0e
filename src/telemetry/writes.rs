//! Metrics of writes: queue, batches, upstream calls and outcomes.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::metric_types::{LabelledCounter, add, seconds};

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
}

impl WriteMetrics {
    pub(super) fn new(to: &mut Registry) -> Self {
        let outcomes =
            add(to, "write_outcomes", "Keys answered, by outcome", LabelledCounter::default());
        let keys_lost = "Keys that a write did not send and that were missing after it";
        let keys_lost = add(to, "keys_lost", keys_lost, Counter::default());
        let mut histogram = |name, help, empty: Histogram| add(to, name, help, empty);
        let visibility_lag = "Time from the acceptance of a PATCH until a read showed it";
        let visibility_lag = histogram("visibility_lag_seconds", visibility_lag, seconds());
        let up_to = |most: u32| Histogram::new((0..=most).map(f64::from));
        let read_backs = histogram("read_backs", "Read-backs of one write", up_to(12));
        let wait_seconds = "Time that a write waited in the queue of its participant";
        let wait_seconds = histogram("write_wait_seconds", wait_seconds, seconds());
        let powers = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        let batch = histogram("batch_writes", "Writes sent in one PATCH", powers);
        let calls = "Upstream calls of one write, including shared calls";
        let calls = histogram("write_calls", calls, up_to(16));
        let mut gauge = |name, help| add(to, name, help, Gauge::default());
        Self {
            outcomes,
            keys_lost,
            visibility_lag,
            read_backs,
            wait_seconds,
            batch,
            calls,
            waiting: gauge("writes_waiting", "Writes waiting in the queue of their participant"),
            in_flight: gauge("writes_in_flight", "Writes in progress"),
            pending_participants: gauge(
                "pending_write_participants",
                "Participants with pending writes",
            ),
            cached_conversations: gauge(
                "snapshot_cache_conversations",
                "Conversations in the snapshot cache, for warm writes",
            ),
            cache_bytes: gauge("snapshot_cache_bytes", "Approximate memory of the snapshot cache"),
        }
    }
}
