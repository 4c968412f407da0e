//! Metrics of the call budget.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::OperationLabels;
use crate::ports::PlatformOperation;

/// Metrics of the call budget and of throttling by upstream.
pub(super) struct BudgetMetrics {
    throttled: Family<OperationLabels, Counter>,
    refused: Counter,
    room: Gauge,
    paused: Gauge,
}

impl BudgetMetrics {
    pub(super) fn new() -> Self {
        Self {
            throttled: Family::default(),
            refused: Counter::default(),
            room: Gauge::default(),
            paused: Gauge::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let throttled = self.throttled.clone();
        registry.register("upstream_throttled", "429 answers of Genesys Cloud", throttled);
        registry.register(
            "rate_limit_refused",
            "Reservations refused because no call was free before the deadline",
            self.refused.clone(),
        );
        registry.register(
            "rate_limit_room",
            "Calls that the budget allows at this moment",
            self.room.clone(),
        );
        registry.register(
            "rate_limit_throttled",
            "1 while a 429 delays all calls, else 0",
            self.paused.clone(),
        );
    }

    pub(super) fn throttled(&self, operation: PlatformOperation) {
        self.throttled.get_or_create(&OperationLabels::new(operation)).inc();
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn window(&self, room: u64, throttled: bool) {
        self.room.set(i64::try_from(room).unwrap_or(i64::MAX));
        self.paused.set(i64::from(throttled));
    }
}
