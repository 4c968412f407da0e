//! Metrics of traffic to Genesys Cloud: attempts, calls with their retries, refused calls, the call
//! budget and the token.

use std::borrow::Cow;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::metric_types::{Durations, LabelledCounter, MetricRegistry, TimeGauge};
use crate::ports::{AttemptOutcome, PlatformOperation};

/// Metrics of traffic to upstream.
pub(super) struct UpstreamMetrics {
    pub attempts: ExchangeMetrics,
    pub calls: ExchangeMetrics,
    pub retries: LabelledCounter,
    pub retries_refused: LabelledCounter,
    pub refused_by_throttle: LabelledCounter,
    /// By operation, and by the limit that upstream names.
    pub throttled: Family<[(&'static str, &'static str); 2], Counter>,
}

/// Metrics of the call budget and the token.
pub(super) struct BudgetMetrics {
    pub refused: Counter,
    pub available_calls: Gauge,
    pub limit_calls: Gauge,
    pub throttle_active: Gauge,
    pub token_expiry: TimeGauge,
    pub token_success: TimeGauge,
    pub token_failure: TimeGauge,
    pub credentials_refused: Gauge,
    pub shared: SharedBudgetMetrics,
}

/// A gauge that only appears if it is set.
type OptionalGauge = Family<[(&'static str, &'static str); 0], Gauge>;

/// Metrics of the store that replicas share.
pub(super) struct SharedBudgetMetrics {
    pub up: OptionalGauge,
    pub degraded: OptionalGauge,
    pub credits: OptionalGauge,
    pub replicas: OptionalGauge,
}

/// Count by answer, and duration.
pub(super) struct ExchangeMetrics {
    answers: Family<[(&'static str, Cow<'static, str>); 2], Counter>,
    seconds: Durations,
}

impl ExchangeMetrics {
    pub(super) fn observe(
        &self,
        operation: PlatformOperation,
        answer: AttemptOutcome,
        took: Duration,
    ) {
        let answer = match answer {
            AttemptOutcome::Status(status) => status.to_string().into(),
            other => other.failure().unwrap_or_default().into(),
        };
        let labels = [("operation", operation.as_str().into()), ("answer", answer)];
        self.answers.get_or_create(&labels).inc();
        let seconds = self.seconds.get_or_create(&[("operation", operation.as_str())]);
        seconds.observe(took.as_secs_f64());
    }
}

impl UpstreamMetrics {
    pub(super) fn new(to: &mut MetricRegistry) -> Self {
        Self {
            attempts: ExchangeMetrics {
                answers: to.add(
                    "upstream_attempts",
                    "HTTP exchanges with Genesys Cloud",
                    Family::default(),
                ),
                seconds: to.durations(
                    "upstream_attempt_duration_seconds",
                    "Time of one HTTP exchange with Genesys Cloud",
                ),
            },
            calls: ExchangeMetrics {
                answers: to.add(
                    "upstream_calls",
                    "Calls to Genesys Cloud; a call includes its retries",
                    Family::default(),
                ),
                seconds: to.durations(
                    "upstream_call_duration_seconds",
                    "Time of one call to Genesys Cloud, including retries and waits",
                ),
            },
            retries: to.labelled("upstream_retries", "Attempts that were retried"),
            retries_refused: to.labelled(
                "retry_budget_exhausted",
                "Retries not made because the retry budget was used up",
            ),
            refused_by_throttle: to.labelled(
                "adaptive_throttle_refused",
                "Calls not made because too many recent calls to this upstream failed",
            ),
            throttled: to.add(
                "upstream_throttled",
                "429 answers of Genesys Cloud, by the limit that they name",
                Family::default(),
            ),
        }
    }
}

impl BudgetMetrics {
    #[expect(clippy::too_many_lines, reason = "one metric after the other")]
    pub(super) fn new(to: &mut MetricRegistry) -> Self {
        let mut optional = |name, help| to.add(name, help, OptionalGauge::default());
        let shared = SharedBudgetMetrics {
            up: optional("store_up", "1 while the store that replicas share answers, else 0"),
            degraded: optional(
                "call_budget_degraded",
                "1 while a safe share of the call budget is used, because the shared store is away",
            ),
            credits: optional(
                "call_budget_credits",
                "Calls in any window that this replica may make",
            ),
            replicas: optional("replicas_seen", "Replicas that share the call budget"),
        };
        let mut time = |name, help| to.add(name, help, TimeGauge::default());
        Self {
            shared,
            token_expiry: time(
                "token_expiry_timestamp_seconds",
                "Expiry of the newest token, in seconds since 1970",
            ),
            token_success: time(
                "token_last_success_timestamp_seconds",
                "Time of the last successful token fetch, in seconds since 1970",
            ),
            token_failure: time(
                "token_last_failure_timestamp_seconds",
                "Time of the last failed token fetch or refused token, in seconds since 1970",
            ),
            credentials_refused: to.gauge(
                "credentials_refused",
                "1 while the login host refuses the OAuth client, else 0",
            ),
            refused: to.counter(
                "call_budget_refused",
                "Reservations refused because no call was free before the deadline",
            ),
            available_calls: to.gauge(
                "call_budget_available_calls",
                "Calls that the budget allows at this moment",
            ),
            limit_calls: to
                .gauge("call_budget_limit_calls", "Calls that the budget allows in a window"),
            throttle_active: to
                .gauge("upstream_throttle_active", "1 while a 429 delays all calls, else 0"),
        }
    }
}
