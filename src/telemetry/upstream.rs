//! Metrics of traffic to Genesys Cloud: attempts, calls with their retries, refused calls, the call
//! budget and the token.

use std::borrow::Cow;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metric_types::{Durations, LabelledCounter, TimeGauge, add, durations};
use crate::ports::{AttemptOutcome, PlatformOperation};

/// Metrics of traffic to upstream.
pub(super) struct UpstreamMetrics {
    pub attempts: ExchangeMetrics,
    pub calls: ExchangeMetrics,
    pub retries: LabelledCounter,
    pub retries_refused: LabelledCounter,
    pub refused_by_throttle: LabelledCounter,
    pub limits: LimitMetrics,
    pub token_expiry: TimeGauge,
    pub token_success: TimeGauge,
    pub token_failure: TimeGauge,
}

/// What limits calls: 429s of upstream, the call budget, and refused credentials.
pub(super) struct LimitMetrics {
    /// By operation, and by the limit that upstream names.
    pub throttled: Family<[(&'static str, &'static str); 2], Counter>,
    pub budget_refused: Counter,
    pub available_calls: Gauge,
    pub limit_calls: Gauge,
    pub throttle_active: Gauge,
    pub credentials_refused: Gauge,
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
            AttemptOutcome::Timeout => "timeout".into(),
            AttemptOutcome::Connect => "connect".into(),
            AttemptOutcome::Reset => "reset".into(),
            AttemptOutcome::Invalid => "invalid".into(),
            AttemptOutcome::NotSent => "notSent".into(),
        };
        let labels = [("operation", operation.as_str().into()), ("answer", answer)];
        self.answers.get_or_create(&labels).inc();
        let seconds = self.seconds.get_or_create(&[("operation", operation.as_str())]);
        seconds.observe(took.as_secs_f64());
    }
}

impl UpstreamMetrics {
    pub(super) fn new(to: &mut Registry) -> Self {
        let (attempts, calls) = exchanges(to);
        let mut counter = |name, help| add(to, name, help, LabelledCounter::default());
        let retries = counter("upstream_retries", "Attempts that were retried");
        let retries_refused = counter(
            "retry_budget_exhausted",
            "Retries not made because the retry budget was used up",
        );
        let refused_by_throttle = counter(
            "adaptive_throttle_refused",
            "Calls not made because too many recent calls to this upstream failed",
        );
        let mut time = |name, help: &str| {
            let (name, help) = (
                format!("token_{name}_timestamp_seconds"),
                format!("{help}, in seconds since 1970"),
            );
            add(to, &name, &help, TimeGauge::default())
        };
        Self {
            attempts,
            calls,
            retries,
            retries_refused,
            refused_by_throttle,
            token_expiry: time("expiry", "Expiry of the newest token"),
            token_success: time("last_success", "Time of the last successful token fetch"),
            token_failure: time(
                "last_failure",
                "Time of the last failed token fetch or refused token",
            ),
            limits: LimitMetrics::new(to),
        }
    }
}

impl LimitMetrics {
    fn new(to: &mut Registry) -> Self {
        let throttled = "429 answers of Genesys Cloud, by the limit that they name";
        let budget_refused = "Reservations refused because no call was free before the deadline";
        let credentials_refused = "1 while the login host refuses the OAuth client, else 0";
        let throttle_active = "1 while a 429 delays all calls, else 0";
        let limit_calls = "Calls that the budget allows in a window";
        let available_calls = "Calls that the budget allows at this moment";
        let throttled = add(to, "upstream_throttled", throttled, Family::default());
        let budget_refused = add(to, "call_budget_refused", budget_refused, Counter::default());
        let mut gauge = |name, help| add(to, name, help, Gauge::default());
        Self {
            throttled,
            budget_refused,
            available_calls: gauge("call_budget_available_calls", available_calls),
            limit_calls: gauge("call_budget_limit_calls", limit_calls),
            throttle_active: gauge("upstream_throttle_active", throttle_active),
            credentials_refused: gauge("credentials_refused", credentials_refused),
        }
    }
}

/// The metrics of attempts and of calls.
fn exchanges(to: &mut Registry) -> (ExchangeMetrics, ExchangeMetrics) {
    let mut exchange = |name: &str, help, seconds_help| ExchangeMetrics {
        answers: add(to, &format!("{name}s"), help, Family::default()),
        seconds: add(to, &format!("{name}_duration_seconds"), seconds_help, durations()),
    };
    let attempts = exchange(
        "upstream_attempt",
        "HTTP exchanges with Genesys Cloud",
        "Time of one HTTP exchange with Genesys Cloud",
    );
    let calls = exchange(
        "upstream_call",
        "Calls to Genesys Cloud; a call includes its retries",
        "Time of one call to Genesys Cloud, including retries and waits",
    );
    (attempts, calls)
}
