//! The metrics of calls and writes. Layers and use cases update them, and `telemetry` publishes them.
//!
//! No label carries a conversation id, a key or a value.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use time::OffsetDateTime;

use super::BudgetAccount;
use super::metric_family::{
    DurationHistogram, FloatGauge, LabelValue, MetricFamily, MetricRegistry, OptionalGauge,
};
use super::store::JournalSummary;
use crate::domain::Client;

/// An operation of the platform, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlatformOperation {
    Read,
    Patch,
    Token,
    Analytics,
}

impl PlatformOperation {
    pub const ALL: [Self; 4] = [Self::Read, Self::Patch, Self::Token, Self::Analytics];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Patch => "patch",
            Self::Token => "token",
            Self::Analytics => "analytics",
        }
    }
}

impl From<PlatformOperation> for LabelValue {
    fn from(operation: PlatformOperation) -> Self {
        operation.as_str().into()
    }
}

/// How a call or an attempt ended, as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    Status(u16),
    Timeout,
    Connect,
    /// The connection broke after the request was sent.
    Reset,
    /// A response that is not HTTP, or too large.
    Invalid,
    /// Not sent: the throttle is closed, or there was no token, no budget or no time.
    NotSent,
}

impl AttemptOutcome {
    /// Why there was no response; `None` if there was one.
    pub const fn failure(self) -> Option<&'static str> {
        match self {
            Self::Status(_) => None,
            Self::Timeout => Some("timeout"),
            Self::Connect => Some("connect"),
            Self::Reset => Some("reset"),
            Self::Invalid => Some("invalid"),
            Self::NotSent => Some("notSent"),
        }
    }
}

/// The metrics of calls and writes.
pub struct MetricsRecorder {
    pub upstream: UpstreamMetrics,
    pub budget: BudgetMetrics,
    pub writes: WriteMetrics,
    pub audit_records: Counter,
    pub audit_lost: Counter,
}

/// Metrics of traffic to upstream.
pub struct UpstreamMetrics {
    /// HTTP exchanges; each retry counts.
    pub attempts: ExchangeMetrics,
    /// Calls with all their retries.
    pub calls: ExchangeMetrics,
    pub retries: MetricFamily<1, Counter>,
    pub retries_refused: MetricFamily<1, Counter>,
    pub refused_by_throttle: MetricFamily<1, Counter>,
    /// By operation, and by the limit that upstream names, which is from a closed set.
    pub throttled: MetricFamily<2, Counter>,
}

/// Count by answer, and duration.
pub struct ExchangeMetrics {
    answers: MetricFamily<2, Counter>,
    seconds: MetricFamily<1, DurationHistogram>,
}

/// Metrics of the call budget and the token.
pub struct BudgetMetrics {
    pub refused: Counter,
    available_calls: Gauge,
    limit_calls: Gauge,
    throttle_active: Gauge,
    token_expiry: OptionalGauge,
    token_success: OptionalGauge,
    token_failure: OptionalGauge,
    client_calls: MetricFamily<1, Counter>,
    /// The counters of `client_calls`, by account.
    accounts: RwLock<HashMap<u64, Counter>>,
}

/// Metrics of writes: queue, batches, upstream calls and outcomes.
pub struct WriteMetrics {
    pub outcomes: MetricFamily<1, Counter>,
    pub keys_lost: Counter,
    pub visibility_lag: DurationHistogram,
    pub read_backs: Histogram,
    /// From the arrival of a write to the read-back that proved it.
    pub verified: DurationHistogram,
    pub wait: DurationHistogram,
    pub batch: Histogram,
    pub calls: Histogram,
    pub waiting: Gauge,
    pub in_flight: Gauge,
    pending: Gauge,
    cached: Gauge,
    cache_bytes: Gauge,
    operations: Gauge,
    oldest_operation: FloatGauge,
    journal_sync: FloatGauge,
    pub operations_ended: MetricFamily<1, Counter>,
}

impl MetricsRecorder {
    pub fn new(to: &mut MetricRegistry) -> Self {
        Self {
            upstream: UpstreamMetrics::new(to),
            budget: BudgetMetrics::new(to),
            writes: WriteMetrics::new(to),
            audit_records: to.metric("audit_records", "Audit records written"),
            audit_lost: to.metric("audit_lost", "Audit records that could not be written"),
        }
    }
}

/// Metrics that nobody publishes, for unit tests.
#[cfg(test)]
impl Default for MetricsRecorder {
    fn default() -> Self {
        Self::new(&mut MetricRegistry::default())
    }
}

impl ExchangeMetrics {
    fn new(to: &mut MetricRegistry, name: &str, what: &str) -> Self {
        let (count, seconds) =
            (format!("upstream_{name}s"), format!("upstream_{name}_duration_seconds"));
        Self {
            answers: to.family(["operation", "answer"], &count, &format!("Number of {what}")),
            seconds: to.family(["operation"], &seconds, &format!("Duration of {what}")),
        }
    }

    pub fn observe(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration) {
        let answer = match answer {
            AttemptOutcome::Status(status) => LabelValue::Status(status),
            other => other.failure().unwrap_or_default().into(),
        };
        self.answers.with(&[operation.into(), answer]).inc();
        self.seconds.with(&[operation.into()]).observe(took);
    }
}

impl UpstreamMetrics {
    fn new(to: &mut MetricRegistry) -> Self {
        let (retries, refused) =
            ("Attempts that were retried", "Retries not made: no budget is left");
        let throttle = "Calls not made because recent calls failed";
        let throttled = "429 answers of Genesys Cloud, by the limit that they name";
        Self {
            attempts: ExchangeMetrics::new(to, "attempt", "HTTP exchanges with Genesys Cloud"),
            calls: ExchangeMetrics::new(to, "call", "calls to Genesys Cloud, with their retries"),
            retries: to.family(["operation"], "upstream_retries", retries),
            retries_refused: to.family(["operation"], "retry_budget_exhausted", refused),
            refused_by_throttle: to.family(["upstream"], "adaptive_throttle_refused", throttle),
            throttled: to.family(["operation", "limit"], "upstream_throttled", throttled),
        }
    }
}

impl BudgetMetrics {
    fn new(to: &mut MetricRegistry) -> Self {
        let (expiry, success) = ("Expiry of the newest token", "Time of the last token fetch");
        let failure = "Time of the last failed token fetch or refused token";
        let client_calls = "Upstream calls on the account of a client";
        Self {
            refused: to.metric("call_budget_refused", "Reservations refused, for want of calls"),
            available_calls: to.metric("call_budget_available_calls", "Calls allowed now"),
            limit_calls: to.metric("call_budget_limit_calls", "Calls allowed in a window"),
            throttle_active: to
                .metric("upstream_throttle_active", "1 while a 429 delays all calls"),
            token_expiry: to.family([], "token_expiry_timestamp_seconds", expiry),
            token_success: to.family([], "token_last_success_timestamp_seconds", success),
            token_failure: to.family([], "token_last_failure_timestamp_seconds", failure),
            client_calls: to.family(["client"], "client_upstream_calls", client_calls),
            accounts: RwLock::default(),
        }
    }

    /// Sets the state of the budget: calls that could be made now, calls in a whole window, and whether
    /// a 429 blocks all of them.
    pub fn set_window(&self, available: u64, limit: u64, throttled: bool) {
        self.available_calls.set(gauge_value(available));
        self.limit_calls.set(gauge_value(limit));
        self.throttle_active.set(throttled.into());
    }

    pub fn token_fetched(&self, now: OffsetDateTime, lifetime: Duration) {
        let now = now.unix_timestamp();
        self.token_success.with(&[]).set(now);
        self.token_expiry.with(&[]).set(now.saturating_add(gauge_value(lifetime.as_secs())));
    }

    pub fn token_failed(&self, now: OffsetDateTime) {
        self.token_failure.with(&[]).set(now.unix_timestamp());
    }

    /// Replaces the list of clients. The counts of former clients remain.
    pub fn set_clients<'a>(&self, clients: impl Iterator<Item = &'a Client>) {
        let account = |client: &Client| {
            let labels = [LabelValue::Word(client.name.as_str().into())];
            (BudgetAccount::from(client).id, self.client_calls.with(&labels).clone())
        };
        *self.accounts.write() = clients.map(account).collect();
    }

    /// Counts a call. The shared account is of no client.
    pub fn paid(&self, account: BudgetAccount) {
        if let Some(calls) = self.accounts.read().get(&account.id) {
            calls.inc();
        }
    }
}

impl WriteMetrics {
    fn new(to: &mut MetricRegistry) -> Self {
        let up_to = |most: u32| Histogram::new((0..=most).map(f64::from));
        let powers = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        let ended = "Accepted writes ended, by state";
        Self {
            outcomes: to.family(["outcome"], "write_outcomes", "Keys answered, by outcome"),
            keys_lost: to.metric("keys_lost", "Keys missing after a write that did not send them"),
            visibility_lag: to.metric("visibility_lag_seconds", "Lag of reads behind a PATCH"),
            read_backs: to.add("read_backs", "Read-backs of one write", up_to(12)),
            verified: to.metric("write_verified_seconds", "Time until a write was proved"),
            wait: to.metric("write_wait_seconds", "Time of a write in its queue"),
            batch: to.add("batch_writes", "Writes sent in one PATCH", powers),
            calls: to.add(
                "write_calls",
                "Upstream calls of one write, with shared ones",
                up_to(16),
            ),
            waiting: to.metric("writes_waiting", "Writes that wait in a queue"),
            in_flight: to.metric("writes_in_flight", "Writes in progress"),
            pending: to.metric("pending_write_participants", "Participants with pending writes"),
            cached: to
                .metric("snapshot_cache_conversations", "Conversations in the snapshot cache"),
            cache_bytes: to.metric("snapshot_cache_bytes", "Approximate memory of this cache"),
            operations: to.metric("operations_queued", "Accepted writes that have not ended"),
            oldest_operation: to.metric("oldest_operation_seconds", "Age of the oldest of these"),
            journal_sync: to
                .metric("journal_sync_seconds", "Time of the last fsync of the journal"),
            // From 0 on: an alert would not notice a counter that begins with 1.
            operations_ended: to
                .family(["state"], "operations_ended", ended)
                .starting_with(["done", "failed", "expired"]),
        }
    }

    /// Sets the content of the snapshot cache.
    pub fn set_cached(&self, conversations: usize, bytes: usize) {
        self.cached.set(gauge_value(conversations));
        self.cache_bytes.set(gauge_value(bytes));
    }

    /// Sets the number of writes in flight, and of participants with such or pending writes.
    pub fn set_pending(&self, writes: usize, participants: usize) {
        self.in_flight.set(gauge_value(writes));
        self.pending.set(gauge_value(participants));
    }

    /// Sets the state of the journal of accepted writes; `oldest` is the age of the oldest one.
    pub fn set_operations(&self, summary: &JournalSummary, oldest: Duration) {
        self.operations.set(gauge_value(summary.unfinished));
        self.oldest_operation.set(oldest.as_secs_f64());
        self.journal_sync.set(summary.last_sync.as_secs_f64());
    }
}

/// Converts a count for a gauge, which is signed.
pub fn gauge_value(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
