//! Metrics of traffic to Genesys Cloud: attempts, calls with their retries, refused calls, and the
//! token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{AttemptLabels, OperationLabels, UpstreamLabels, seconds};
use crate::clock;
use crate::ports::{AttemptOutcome, PlatformOperation};

/// Metrics of traffic to upstream.
pub(super) struct UpstreamMetrics {
    attempts: ExchangeMetrics,
    calls: ExchangeMetrics,
    retries: Family<OperationLabels, Counter>,
    retries_refused: Family<OperationLabels, Counter>,
    throttled: Family<UpstreamLabels, Counter>,
    token: TokenTimes,
}

/// A time in seconds since 1970. The metric is absent until the time is known.
#[derive(Clone, Debug, Default)]
struct TimeGauge(Arc<AtomicI64>);

impl TimeGauge {
    fn set(&self, time: i64) {
        self.0.store(time, Ordering::Relaxed);
    }
}

impl EncodeMetric for TimeGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            time => encoder.encode_gauge(&time),
        }
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[derive(Default)]
struct TokenTimes {
    expiry: TimeGauge,
    success: TimeGauge,
    failure: TimeGauge,
}

/// Count by answer, and duration.
struct ExchangeMetrics {
    answers: Family<AttemptLabels, Counter>,
    seconds: Family<OperationLabels, Histogram>,
}

impl ExchangeMetrics {
    fn new() -> Self {
        Self {
            answers: Family::default(),
            seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
        }
    }

    fn observe(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration) {
        self.answers.get_or_create(&AttemptLabels::new(operation, answer)).inc();
        self.seconds.get_or_create(&OperationLabels::new(operation)).observe(took.as_secs_f64());
    }
}

impl UpstreamMetrics {
    pub(super) fn new() -> Self {
        Self {
            attempts: ExchangeMetrics::new(),
            calls: ExchangeMetrics::new(),
            retries: Family::default(),
            retries_refused: Family::default(),
            throttled: Family::default(),
            token: TokenTimes::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let attempts = self.attempts.answers.clone();
        registry.register("upstream_attempts", "HTTP exchanges with Genesys Cloud", attempts);
        registry.register(
            "upstream_attempt_duration_seconds",
            "Time of one HTTP exchange with Genesys Cloud",
            self.attempts.seconds.clone(),
        );
        let calls = self.calls.answers.clone();
        registry.register(
            "upstream_calls",
            "Calls to Genesys Cloud; a call includes its retries",
            calls,
        );
        registry.register(
            "upstream_call_duration_seconds",
            "Time of one call to Genesys Cloud, including retries and waits",
            self.calls.seconds.clone(),
        );
        let retries = self.retries.clone();
        registry.register("upstream_retries", "Attempts that were retried", retries);
        registry.register(
            "retry_budget_exhausted",
            "Retries not made because the retry budget was used up",
            self.retries_refused.clone(),
        );
        registry.register(
            "adaptive_throttle_refused",
            "Calls not made because too many recent calls to this upstream failed",
            self.throttled.clone(),
        );
        self.token.register(registry);
    }

    pub(super) fn attempt(
        &self,
        operation: PlatformOperation,
        answer: AttemptOutcome,
        took: Duration,
    ) {
        self.attempts.observe(operation, answer, took);
    }

    pub(super) fn call(
        &self,
        operation: PlatformOperation,
        answer: AttemptOutcome,
        took: Duration,
    ) {
        self.calls.observe(operation, answer, took);
    }

    pub(super) fn retry(&self, operation: PlatformOperation) {
        self.retries.get_or_create(&OperationLabels::new(operation)).inc();
    }

    pub(super) fn retry_refused(&self, operation: PlatformOperation) {
        self.retries_refused.get_or_create(&OperationLabels::new(operation)).inc();
    }

    pub(super) fn refused_by_throttle(&self, upstream: &'static str) {
        self.throttled.get_or_create(&UpstreamLabels { upstream }).inc();
    }

    pub(super) fn token_fetched(&self, lifetime: Duration) {
        let now = clock::now().unix_timestamp();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.token.success.set(now);
        self.token.expiry.set(now.saturating_add(lifetime));
    }

    pub(super) fn token_failed(&self) {
        self.token.failure.set(clock::now().unix_timestamp());
    }
}

impl TokenTimes {
    fn register(&self, registry: &mut Registry) {
        let times = [
            ("expiry", "Expiry of the newest token, in seconds since 1970", &self.expiry),
            (
                "last_success",
                "Time of the last successful token fetch, in seconds since 1970",
                &self.success,
            ),
            (
                "last_failure",
                "Time of the last failed token fetch or refused token, in seconds since 1970",
                &self.failure,
            ),
        ];
        for (name, help, gauge) in times {
            registry.register(format!("token_{name}_timestamp_seconds"), help, gauge.clone());
        }
    }
}
