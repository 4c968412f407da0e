//! The metrics at `/metrics`, in the text format of Prometheus.
//!
//! Each instance has its own registry, so tests can run several services in one process. Labels come
//! from closed sets and never contain an id, key, path or value.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::budget::BudgetMetrics;
use super::clients::ClientMetrics;
use super::connections::{CloseReason, ConnectionMetrics};
use super::labels::{RequestLabels, RouteLabels, seconds};
use super::log_writer::LogLosses;
use super::process;
use super::upstream::UpstreamMetrics;
use super::writes::{WriteMetrics, clamp_to_gauge};
use crate::domain::{Client, KeyOutcome};
use crate::ports::{AttemptOutcome, BudgetAccount, MetricsRecorder, PlatformOperation};

const PREFIX: &str = "attribute_gateway";

/// All metrics of one service. Cheap to clone.
#[derive(Clone)]
pub struct ServiceMetrics(Arc<MetricsInner>);

/// One answered HTTP request.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequestMetrics<'a> {
    /// Method of the request.
    pub method: &'a str,
    /// Pattern of the matched route.
    pub route: Option<&'a str>,
    /// Name of the client, if the request is authenticated.
    pub client: Option<&'a str>,
    /// Status of the answer.
    pub status: u16,
    /// Time from the request head to the answer.
    pub took: Duration,
}

struct MetricsInner {
    registry: Registry,
    routes: &'static [&'static str],
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram>,
    upstream: UpstreamMetrics,
    budget: BudgetMetrics,
    clients: ClientMetrics,
    connections: ConnectionMetrics,
    /// Updates metrics that change with time alone.
    refresh: OnceLock<Box<dyn Fn() + Send + Sync>>,
    writes: WriteMetrics,
    audit_records: Counter,
    audit_lost: Counter,
    clients_file_rejected: Gauge,
    log_lines_lost: Counter,
    log: OnceLock<LogLosses>,
    process: Registry,
}

impl ServiceMetrics {
    /// New metrics, all zero. `routes` are the patterns of all routes.
    pub fn new(routes: &'static [&'static str]) -> Self {
        let mut metrics = MetricsInner {
            registry: Registry::with_prefix(PREFIX),
            routes,
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds as fn() -> Histogram),
            upstream: UpstreamMetrics::new(),
            budget: BudgetMetrics::new(),
            clients: ClientMetrics::default(),
            connections: ConnectionMetrics::default(),
            refresh: OnceLock::new(),
            writes: WriteMetrics::new(),
            audit_records: Counter::default(),
            audit_lost: Counter::default(),
            clients_file_rejected: Gauge::default(),
            log_lines_lost: Counter::default(),
            log: OnceLock::new(),
            process: process::registry(),
        };
        metrics.register();
        Self(Arc::new(metrics))
    }

    /// Counts an answered request.
    pub fn http(&self, request: HttpRequestMetrics<'_>) {
        let known = |route: &str| self.0.routes.iter().copied().find(|known| *known == route);
        let labels = RouteLabels::new(request.method, request.route.and_then(known));
        self.0.requests.get_or_create(&labels.with_status(request.status)).inc();
        self.0.request_seconds.get_or_create(&labels).observe(request.took.as_secs_f64());
        if let Some(client) = request.client {
            self.0.clients.answered(client, request.status);
        }
    }

    /// Sets the clients that have metrics of their own.
    pub fn know_clients(&self, clients: &[Arc<Client>]) {
        self.0.clients.set_clients(clients.iter().map(|client| &**client));
    }

    /// Sets the number of open connections.
    pub fn connections(&self, count: usize) {
        self.0.connections.open(count);
    }

    /// Counts a connection that the gateway closed.
    pub fn connection_ended(&self, ended: CloseReason) {
        self.0.connections.ended(ended);
    }

    /// Counts a reload of changed TLS files, which were accepted or refused.
    pub fn tls_reloaded(&self, accepted: bool) {
        self.0.connections.reloaded(accepted);
    }

    /// Sets the expiry of the gateway's certificate, in seconds since 1970.
    pub fn certificate_expires(&self, at: i64) {
        self.0.connections.expires(at);
    }

    /// Calls `refresh` before each scrape, for metrics that change with time alone. `refresh` must not
    /// own these metrics. Only the first call has an effect.
    pub fn refreshed_by(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.refresh.set(Box::new(refresh));
    }

    /// Sets whether the clients file is invalid.
    pub fn clients_file_rejected(&self, rejected: bool) {
        self.0.clients_file_rejected.set(rejected.into());
    }

    /// Includes the lines that this log lost. Only the first log has an effect.
    #[must_use]
    pub fn watching(self, log: Option<&LogLosses>) -> Self {
        if let Some(log) = log {
            let _ = self.0.log.set(log.clone());
        }
        self
    }

    /// All metrics in the text format of Prometheus.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(refresh) = self.0.refresh.get() {
            refresh();
        }
        if let Some(log) = self.0.log.get() {
            self.0.log_lines_lost.inner().store(log.lines(), Ordering::Relaxed);
        }
        let mut text = String::new();
        encode_registry(&mut text, &self.0.registry)?;
        encode_registry(&mut text, &self.0.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

impl MetricsInner {
    fn register(&mut self) {
        self.register_http();
        self.upstream.register(&mut self.registry);
        self.budget.register(&mut self.registry);
        self.clients.register(&mut self.registry);
        self.connections.register(&mut self.registry);
        self.writes.register(&mut self.registry);
        self.add("audit_records", "Audit records written", self.audit_records.clone());
        self.add("audit_lost", "Audit records that could not be written", self.audit_lost.clone());
        let rejected = self.clients_file_rejected.clone();
        self.add(
            "clients_file_rejected",
            "1 while auth.clients_file is invalid and the previous clients stay in force, else 0",
            rejected,
        );
        let lost = self.log_lines_lost.clone();
        self.add("log_lines_lost", "Log lines that could not be written", lost);
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        self.add("build", "Version of the gateway", version);
    }

    fn register_http(&mut self) {
        let requests = self.requests.clone();
        self.add("http_requests", "Requests answered", requests);
        let durations = self.request_seconds.clone();
        self.add(
            "http_request_duration_seconds",
            "Time from the request head to the answer",
            durations,
        );
    }

    fn add(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.registry.register(name, help, metric);
    }
}

impl MetricsRecorder for ServiceMetrics {
    fn attempt(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration) {
        self.0.upstream.attempt(operation, answer, took);
    }

    fn call(&self, operation: PlatformOperation, answer: AttemptOutcome, took: Duration) {
        self.0.upstream.call(operation, answer, took);
    }

    fn retry(&self, operation: PlatformOperation) {
        self.0.upstream.retry(operation);
    }

    fn retry_refused(&self, operation: PlatformOperation) {
        self.0.upstream.retry_refused(operation);
    }

    fn throttled(&self, operation: PlatformOperation) {
        self.0.budget.throttled(operation);
    }

    fn rate_refused(&self) {
        self.0.budget.refused();
    }

    fn paid(&self, account: BudgetAccount) {
        self.0.clients.called(account);
    }

    fn rate_window(&self, room: u64, throttled: bool) {
        self.0.budget.window(room, throttled);
    }

    fn refused_by_throttle(&self, upstream: &'static str) {
        self.0.upstream.refused_by_throttle(upstream);
    }

    fn token_fetched(&self, lifetime: Duration) {
        self.0.upstream.token_fetched(lifetime);
    }

    fn token_failed(&self) {
        self.0.upstream.token_failed();
    }

    fn outcome(&self, outcome: KeyOutcome) {
        self.0.writes.outcome(outcome);
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
        self.0.writes.waited(time);
    }

    fn batch(&self, writes: usize) {
        self.0.writes.batch.observe(f64::from(u32::try_from(writes).unwrap_or(u32::MAX)));
    }

    fn write_calls(&self, calls: u32) {
        self.0.writes.calls.observe(f64::from(calls));
    }

    fn remembered(&self, conversations: usize, bytes: usize) {
        self.0.writes.remembered(conversations, bytes);
    }

    fn writes_in_flight(&self, count: usize) {
        self.0.writes.in_flight.set(clamp_to_gauge(count));
    }

    fn participants_held(&self, count: usize) {
        self.0.writes.participants_held.set(clamp_to_gauge(count));
    }

    fn audited(&self, written: bool) {
        if written {
            self.0.audit_records.inc()
        } else {
            self.0.audit_lost.inc()
        };
    }
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
        metrics.throttled(PlatformOperation::Read);
        metrics.rate_refused();
        metrics.rate_window(u64::MAX, true);
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
            r#"upstream_throttled_total{operation="read"} 1"#,
            "rate_limit_refused_total 1",
            "rate_limit_room 9223372036854775807",
            "rate_limit_throttled 1",
            r#"adaptive_throttle_refused_total{upstream="conversations"} 1"#,
            r#"write_outcomes_total{outcome="verified"} 1"#,
            "visibility_lag_seconds_sum 0.03",
            r#"read_backs_bucket{le="2.0"} 1"#,
            "keys_lost_total 3",
            "clients_file_rejected 1",
            "writes_in_flight 7",
            "participants_held 9",
            "connections 3",
            r#"connections_ended_total{reason="refused"} 1"#,
            "audit_records_total 2",
            "audit_lost_total 1",
            r#"tls_reloads_total{outcome="refused"} 1"#,
            "tls_certificate_expiry_seconds 5",
            concat!(r#"build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""} 1"#),
        ] {
            let line = format!("attribute_gateway_{line}");
            assert!(text.lines().any(|at| at == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
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
            let (client, took) = (None, Duration::ZERO);
            metrics.http(HttpRequestMetrics { method, route, client, status: 404, took });
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
