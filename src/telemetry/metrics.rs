//! The metrics at `/metrics`, in the text format of Prometheus.
//!
//! Each instance has its own registry, so tests can run several services in one process. Labels come
//! from closed sets and never contain an id, key, path or value.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::access_log::AccessRecord;
use super::clients::ClientMetrics;
use super::connections::{CloseReason, ConnectionMetrics};
use super::log_output::LogLosses;
use super::metric_types::{Durations, LabelledCounter, MetricRegistry, clamp_to_gauge};
use super::process;
use super::upstream::{BudgetMetrics, UpstreamMetrics};
use super::writes::WriteMetrics;
use crate::clock;
use crate::domain::{Client, KeyOutcome};
use crate::ports::store::JournalSummary;
use crate::ports::{AttemptOutcome, BudgetAccount, MetricsRecorder, PlatformOperation};

const PREFIX: &str = "attribute_gateway";

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"];

/// Label of every method that no route serves. Clients can invent methods.
const OTHER: &str = "other";

/// Label of a request that matched no route. Clients can invent paths.
const UNMATCHED: &str = "unmatched";

/// All metrics of one service. Cheap to clone.
#[derive(Clone)]
pub struct ServiceMetrics(Arc<MetricsInner>);

/// Method, route and status of a request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

struct MetricsInner {
    registry: Registry,
    /// The `process_*` metrics, which have no prefix.
    process: Registry,
    routes: &'static [&'static str],
    requests: Family<RequestLabels, Counter>,
    request_seconds: Durations<[(&'static str, &'static str); 2]>,
    upstream: UpstreamMetrics,
    budget: BudgetMetrics,
    clients: ClientMetrics,
    connections: ConnectionMetrics,
    writes: WriteMetrics,
    audit_records: Counter,
    audit_lost: Counter,
    clients_file_rejected: Gauge,
    ready: Gauge,
    log_lines_lost: Counter,
    log: LogLosses,
    /// Updates metrics that change with time alone.
    refresh: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl ServiceMetrics {
    /// New metrics, all zero. `routes` are the patterns of all routes.
    pub fn new(routes: &'static [&'static str]) -> Self {
        Self::with_log(routes, LogLosses::default())
    }

    /// The same, with the lines that a log has lost.
    pub fn with_log(routes: &'static [&'static str], log: LogLosses) -> Self {
        let mut to = MetricRegistry(Registry::with_prefix(PREFIX));
        let seconds = "Time from the request head to the answer";
        let rejected =
            "1 while auth.clients_file is invalid and the previous clients stay in force, else 0";
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        to.0.register("build", "Version of the gateway", version);
        Self(Arc::new(MetricsInner {
            requests: to.add("http_requests", "Requests answered", Family::default()),
            request_seconds: to.durations("http_request_duration_seconds", seconds),
            upstream: UpstreamMetrics::new(&mut to),
            budget: BudgetMetrics::new(&mut to),
            clients: ClientMetrics::new(&mut to),
            connections: ConnectionMetrics::new(&mut to),
            writes: WriteMetrics::new(&mut to),
            audit_records: to.counter("audit_records", "Audit records written"),
            audit_lost: to.counter("audit_lost", "Audit records that could not be written"),
            clients_file_rejected: to.gauge("clients_file_rejected", rejected),
            ready: to.gauge("ready", "1 while /readyz answers 200, else 0"),
            log_lines_lost: to.counter("log_lines_lost", "Log lines that could not be written"),
            log,
            routes,
            refresh: OnceLock::new(),
            registry: to.0,
            process: process::registry(),
        }))
    }

    /// Counts an answered request.
    pub fn http(&self, request: &AccessRecord<'_>) {
        let status = request.status;
        let known = |all: &[&'static str], given| all.iter().copied().find(|at| *at == given);
        let method = known(&METHODS, request.method).unwrap_or(OTHER);
        let route = request.route.and_then(|route| known(self.0.routes, route));
        let route = route.unwrap_or(UNMATCHED);
        self.0.requests.get_or_create(&RequestLabels { method, route, status }).inc();
        let seconds = self.0.request_seconds.get_or_create(&[("method", method), ("route", route)]);
        seconds.observe(request.took.as_secs_f64());
        if let Some(client) = request.client {
            self.0.clients.answered(client, status);
        }
    }

    /// Sets the clients that have metrics of their own.
    pub fn know_clients(&self, clients: &[Arc<Client>]) {
        self.0.clients.set_clients(clients.iter().map(|client| &**client));
    }

    /// Sets the number of viewers of the live view.
    pub fn live_viewers(&self, count: usize) {
        self.0.connections.live_viewers.set(clamp_to_gauge(count));
    }

    /// Changes the number of open connections.
    pub fn connections(&self, change: i64) {
        self.0.connections.open.inc_by(change);
    }

    /// Counts a connection that the gateway closed.
    pub fn connection_ended(&self, ended: CloseReason) {
        self.0.connections.ended.get_or_create(&[("reason", ended.as_str())]).inc();
    }

    /// Counts a reload of changed TLS files, which were accepted or refused.
    pub fn tls_reloaded(&self, accepted: bool) {
        let outcome = if accepted { "taken" } else { "refused" };
        self.0.connections.reloads.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Sets the expiry of the gateway's certificate, in seconds since 1970.
    pub fn certificate_expires(&self, at: i64) {
        self.0.connections.certificate_expiry.set(at);
    }

    /// Calls `refresh` before each scrape, for metrics that change with time alone. `refresh` must not
    /// own these metrics. Only the first call has an effect.
    pub fn refreshed_by(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.refresh.set(Box::new(refresh));
    }

    /// Sets whether the service is ready, and whether the login host refuses its credentials.
    pub fn readiness(&self, ready: bool, credentials_refused: bool) {
        self.0.ready.set(ready.into());
        self.0.budget.credentials_refused.set(credentials_refused.into());
    }

    /// Sets the state of the budget that replicas share.
    pub fn shared_budget(&self, store_up: bool, degraded: bool, credits: u64, replicas: u32) {
        let shared = &self.0.budget.shared;
        shared.up.get_or_create(&[]).set(store_up.into());
        shared.degraded.get_or_create(&[]).set(degraded.into());
        shared.credits.get_or_create(&[]).set(i64::try_from(credits).unwrap_or(i64::MAX));
        shared.replicas.get_or_create(&[]).set(replicas.into());
    }

    /// Sets whether the clients file is invalid.
    pub fn clients_file_rejected(&self, rejected: bool) {
        self.0.clients_file_rejected.set(rejected.into());
    }

    /// The writes in the queue, and all writes in progress.
    pub fn writes(&self) -> (i64, i64) {
        (self.0.writes.waiting.get(), self.0.writes.in_flight.get())
    }

    /// All metrics in the text format of Prometheus.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(refresh) = self.0.refresh.get() {
            refresh();
        }
        self.0.log_lines_lost.inner().store(self.0.log.lines(), Ordering::Relaxed);
        let mut text = String::new();
        encode_registry(&mut text, &self.0.registry)?;
        encode_registry(&mut text, &self.0.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl MetricsRecorder for ServiceMetrics {
    fn attempt(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration) {
        self.0.upstream.attempts.observe(operation, answer, took);
    }

    fn call(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration) {
        self.0.upstream.calls.observe(operation, answer, took);
    }

    fn retry(&self, operation: PlatformOperation) {
        count(&self.0.upstream.retries, operation);
    }

    fn retry_refused(&self, operation: PlatformOperation) {
        count(&self.0.upstream.retries_refused, operation);
    }

    fn throttled(&self, operation: PlatformOperation, limit: &'static str) {
        let labels = [("operation", operation.as_str()), ("limit", limit)];
        self.0.upstream.throttled.get_or_create(&labels).inc();
    }

    fn rate_refused(&self) {
        self.0.budget.refused.inc();
    }

    fn paid(&self, account: BudgetAccount) {
        self.0.clients.called(account);
    }

    fn rate_window(&self, available: u64, limit: u64, throttled: bool) {
        let clamped = |calls| i64::try_from(calls).unwrap_or(i64::MAX);
        self.0.budget.available_calls.set(clamped(available));
        self.0.budget.limit_calls.set(clamped(limit));
        self.0.budget.throttle_active.set(throttled.into());
    }

    fn refused_by_throttle(&self, upstream: &'static str) {
        self.0.upstream.refused_by_throttle.get_or_create(&[("upstream", upstream)]).inc();
    }

    fn token_fetched(&self, lifetime: Duration) {
        let now = clock::now().unix_timestamp();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        self.0.budget.token_success.set(now);
        self.0.budget.token_expiry.set(now.saturating_add(lifetime));
    }

    fn token_failed(&self) {
        self.0.budget.token_failure.set(clock::now().unix_timestamp());
    }

    fn outcome(&self, outcome: KeyOutcome) {
        self.0.writes.outcomes.get_or_create(&[("outcome", outcome.as_str())]).inc();
    }

    fn visibility_lag(&self, lag: Duration) {
        self.0.writes.visibility_lag.observe(lag.as_secs_f64());
    }

    fn read_backs(&self, reads: u32) {
        self.0.writes.read_backs.observe(f64::from(reads));
    }

    fn keys_lost(&self, keys: usize) {
        self.0.writes.keys_lost.inc_by(keys as u64);
    }

    fn writes_waiting(&self, change: i64) {
        self.0.writes.waiting.inc_by(change);
    }

    fn waited(&self, time: Duration) {
        self.0.writes.wait_seconds.observe(time.as_secs_f64());
    }

    fn batch(&self, writes: usize) {
        self.0.writes.batch.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
    }

    fn write_calls(&self, calls: u32) {
        self.0.writes.calls.observe(f64::from(calls));
    }

    fn remembered(&self, conversations: usize, bytes: usize) {
        self.0.writes.cached_conversations.set(clamp_to_gauge(conversations));
        self.0.writes.cache_bytes.set(clamp_to_gauge(bytes));
    }

    fn writes_in_flight(&self, count: usize) {
        self.0.writes.in_flight.set(clamp_to_gauge(count));
    }

    fn participants_held(&self, count: usize) {
        self.0.writes.pending_participants.set(clamp_to_gauge(count));
    }

    fn operations(&self, summary: &JournalSummary, oldest: Duration) {
        let writes = &self.0.writes;
        writes.operations.set(i64::try_from(summary.unfinished).unwrap_or(i64::MAX));
        writes.oldest_operation.set(oldest.as_secs_f64());
        writes.journal_sync.set(summary.last_sync.as_secs_f64());
    }

    fn operation_ended(&self, state: &'static str) {
        self.0.writes.operations_ended.get_or_create(&[("state", state)]).inc();
    }

    fn audited(&self, written: bool) {
        let counter = if written { &self.0.audit_records } else { &self.0.audit_lost };
        counter.inc();
    }
}

fn count(counter: &LabelledCounter, operation: PlatformOperation) {
    counter.get_or_create(&[("operation", operation.as_str())]).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[&str] = &["/a", "/b/{id}"];

    fn text(metrics: &ServiceMetrics) -> String {
        metrics.encode().expect("encodes")
    }

    fn report_one_of_each(metrics: &ServiceMetrics) {
        let took = Duration::from_millis(30);
        metrics.attempt(PlatformOperation::Read, AttemptOutcome::Status(200), took);
        metrics.attempt(PlatformOperation::Patch, AttemptOutcome::Status(418), took);
        metrics.call(PlatformOperation::Token, AttemptOutcome::Timeout, took);
        metrics.retry(PlatformOperation::Patch);
        metrics.retry_refused(PlatformOperation::Patch);
        metrics.throttled(PlatformOperation::Read, "other");
        metrics.readiness(true, false);
        metrics.rate_refused();
        metrics.rate_window(u64::MAX, 300, true);
        metrics.refused_by_throttle("conversations");
        metrics.token_failed();
        metrics.outcome(KeyOutcome::Verified);
        metrics.visibility_lag(took);
        metrics.read_backs(2);
        metrics.keys_lost(3);
        metrics.clients_file_rejected(true);
        metrics.writes_in_flight(7);
        metrics.participants_held(9);
        metrics.connections(3);
        metrics.connection_ended(CloseReason::Refused);
        metrics.audited(true);
        metrics.audited(true);
        metrics.audited(false);
        metrics.tls_reloaded(false);
        metrics.certificate_expires(5);
        metrics.operation_ended("done");
        metrics.shared_budget(true, false, 3, 2);
    }

    #[test]
    fn each_event_shows_up_under_its_documented_name() {
        let metrics = ServiceMetrics::new(ROUTES);
        report_one_of_each(&metrics);
        let text = text(&metrics);
        for line in [
            r#"upstream_attempts_total{operation="read",answer="200"} 1"#,
            r#"upstream_attempts_total{operation="patch",answer="418"} 1"#,
            r#"upstream_attempt_duration_seconds_count{operation="read"} 1"#,
            r#"upstream_calls_total{operation="token",answer="timeout"} 1"#,
            r#"upstream_call_duration_seconds_count{operation="token"} 1"#,
            r#"upstream_retries_total{operation="patch"} 1"#,
            r#"retry_budget_exhausted_total{operation="patch"} 1"#,
            r#"upstream_throttled_total{operation="read",limit="other"} 1"#,
            "ready 1",
            "credentials_refused 0",
            "call_budget_limit_calls 300",
            "call_budget_refused_total 1",
            "call_budget_available_calls 9223372036854775807",
            "upstream_throttle_active 1",
            r#"adaptive_throttle_refused_total{upstream="conversations"} 1"#,
            r#"write_outcomes_total{outcome="verified"} 1"#,
            "visibility_lag_seconds_sum 0.03",
            r#"read_backs_bucket{le="2.0"} 1"#,
            "keys_lost_total 3",
            "clients_file_rejected 1",
            "writes_in_flight 7",
            "pending_write_participants 9",
            "connections 3",
            r#"connections_ended_total{reason="refused"} 1"#,
            "audit_records_total 2",
            "audit_lost_total 1",
            r#"tls_reloads_total{outcome="refused"} 1"#,
            "tls_certificate_expiry_timestamp_seconds 5",
            concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            let line = format!("attribute_gateway_{line}");
            assert!(text.lines().any(|at| at == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn every_documented_metric_exists() {
        let metrics = ServiceMetrics::new(ROUTES);
        report_one_of_each(&metrics);
        let client = Client::anonymous();
        metrics.know_clients(&[Arc::clone(&client)]);
        metrics.paid(BudgetAccount::from(&*client));
        metrics.token_fetched(Duration::from_secs(1));
        metrics.http(&AccessRecord::example());
        let text = text(&metrics);
        let page = include_str!("../../docs/operations.md");
        let rows = page.lines().filter(|line| line.starts_with("| `attribute_gateway_"));
        let names = rows.flat_map(|row| row.split('|').nth(1).expect("a cell").split('`'));
        let names: Vec<_> = names.filter(|name| name.starts_with(PREFIX)).collect();
        assert!(names.len() > 40, "{names:?}");
        for name in names {
            let family = name.trim_end_matches("_total").trim_end_matches("_info");
            assert!(text.contains(&format!("# TYPE {family} ")), "there is no {name}");
        }
    }

    #[test]
    fn the_certificate_expiry_is_absent_without_tls() {
        assert!(!text(&ServiceMetrics::new(ROUTES)).contains("tls_certificate_expiry"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_metrics_have_their_standard_names() {
        let text = text(&ServiceMetrics::new(ROUTES));
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().expect("a number")
        };
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        let now = crate::clock::now().unix_timestamp();
        let age =
            value("process_start_time_seconds") - f64::from(i32::try_from(now).expect("2026"));
        assert!((-3600.0..=2.0).contains(&age), "{age}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }

    #[test]
    fn made_up_methods_and_paths_share_one_label() {
        let metrics = ServiceMetrics::new(ROUTES);
        for (method, route) in [("BREW", None), ("MILK", Some("/made/up")), ("GET", Some("/a"))] {
            metrics.http(&AccessRecord { method, route, status: 404, ..AccessRecord::example() });
        }
        let text = text(&metrics);
        assert!(text.contains(r#"{method="other",route="unmatched",status="404"} 2"#), "{text}");
        assert!(text.contains(r#"{method="GET",route="/a",status="404"} 1"#), "{text}");
        assert!(!text.contains("BREW") && !text.contains("made/up"));
    }

    #[test]
    fn two_services_in_a_process_count_apart() {
        let (one, two) = (ServiceMetrics::new(ROUTES), ServiceMetrics::new(ROUTES));
        one.keys_lost(1);
        assert!(
            text(&one).contains("keys_lost_total 1") && text(&two).contains("keys_lost_total 0")
        );
    }
}
