//! Figures of what goes to Genesys Cloud: attempts, calls with all their attempts, retries, breakers.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::families::{
    AttemptLabels, Held, OPERATION_ANSWERS, OperationLabels, UpstreamLabels, count, seconds,
};
use crate::ports::{Answer, BreakerState, Operation};

/// What goes upstream.
pub(super) struct Upstream {
    attempts: Exchanges,
    calls: Exchanges,
    retries: Held<OperationLabels, Counter>,
    retries_refused: Held<OperationLabels, Counter>,
    breakers: Family<UpstreamLabels, Gauge<i64, AtomicI64>>,
}

/// How often, with what answer, and how long.
struct Exchanges {
    answers: Held<AttemptLabels, Counter>,
    seconds: Held<OperationLabels, Histogram>,
}

impl Exchanges {
    fn new() -> Self {
        let durations = Family::new_with_constructor(seconds as fn() -> Histogram);
        Self {
            answers: Held::new(OPERATION_ANSWERS, Family::default()),
            seconds: Held::new(Operation::ALL.len(), durations),
        }
    }

    fn observe(&self, operation: Operation, answer: Answer, took: Duration) {
        let slot = AttemptLabels::slot(operation, answer);
        self.answers.with(slot, || AttemptLabels::new(operation, answer), count);
        self.seconds.with(
            Some(operation as usize),
            || labels(operation),
            |histogram| histogram.observe(took.as_secs_f64()),
        );
    }
}

impl Upstream {
    pub(super) fn new() -> Self {
        let operations = Operation::ALL.len();
        Self {
            attempts: Exchanges::new(),
            calls: Exchanges::new(),
            retries: Held::new(operations, Family::default()),
            retries_refused: Held::new(operations, Family::default()),
            breakers: Family::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let attempts = self.attempts.answers.family.clone();
        registry.register("upstream_attempts", "HTTP exchanges with Genesys Cloud", attempts);
        registry.register(
            "upstream_attempt_duration_seconds",
            "Time of one HTTP exchange with Genesys Cloud",
            self.attempts.seconds.family.clone(),
        );
        let calls = self.calls.answers.family.clone();
        registry.register("upstream_calls", "Calls to Genesys Cloud, retries included", calls);
        registry.register(
            "upstream_call_duration_seconds",
            "Time of one call to Genesys Cloud, with its retries and waits",
            self.calls.seconds.family.clone(),
        );
        let retries = self.retries.family.clone();
        registry.register("upstream_retries", "Attempts that were tried again", retries);
        registry.register(
            "retry_budget_exhausted",
            "Retries not made because the retry budget was spent",
            self.retries_refused.family.clone(),
        );
        registry.register("breaker_state", "0 closed, 1 half-open, 2 open", self.breakers.clone());
    }

    pub(super) fn attempt(&self, operation: Operation, answer: Answer, took: Duration) {
        self.attempts.observe(operation, answer, took);
    }

    pub(super) fn call(&self, operation: Operation, answer: Answer, took: Duration) {
        self.calls.observe(operation, answer, took);
    }

    pub(super) fn retry(&self, operation: Operation) {
        self.retries.with(Some(operation as usize), || labels(operation), count);
    }

    pub(super) fn retry_refused(&self, operation: Operation) {
        self.retries_refused.with(Some(operation as usize), || labels(operation), count);
    }

    pub(super) fn breaker(&self, upstream: &'static str, state: BreakerState) {
        let value = match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        self.breakers.get_or_create_owned(&UpstreamLabels { upstream }).set(value);
    }
}

const fn labels(operation: Operation) -> OperationLabels {
    OperationLabels { operation: operation.as_str() }
}
