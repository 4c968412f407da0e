//! The metrics at `/metrics`, in the text format of Prometheus.
//!
//! Each instance has its own registry, so tests can run several services in one process. Labels come
//! from closed sets and never contain an id, key, path or value.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::access_log::AccessRecord;
use super::log_output::LogLosses;
use super::process;
use crate::domain::Client;
use crate::ports::{
    DurationHistogram, LabelValue, MetricFamily, MetricRegistry, MetricsRecorder, OptionalGauge,
    gauge_value,
};

const PREFIX: &str = "attribute_gateway";

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"];

/// Label of every method that no route serves. Clients can invent methods.
const OTHER: &str = "other";

/// Label of a request that matched no route. Clients can invent paths.
const UNMATCHED: &str = "unmatched";

/// Why the gateway closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The TLS handshake did not complete in time.
    HandshakeTimeout,
    /// The TLS handshake failed, for example because of an invalid certificate.
    HandshakeFailed,
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// No further request arrived in time.
    IdleTimeout,
    /// The client did not read the answer in time.
    AnswerTimeout,
    /// The connection limit was reached.
    Refused,
    /// The gateway is stopping.
    Shutdown,
}

impl CloseReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshakeTimeout",
            Self::HandshakeFailed => "handshakeFailed",
            Self::HeaderTimeout => "headerTimeout",
            Self::IdleTimeout => "idleTimeout",
            Self::AnswerTimeout => "answerTimeout",
            Self::Refused => "refused",
            Self::Shutdown => "shutdown",
        }
    }
}

/// All metrics of one service. Cheap to clone.
#[derive(Clone)]
pub struct ServiceMetrics(Arc<MetricsInner>);

struct MetricsInner {
    registry: Registry,
    /// The `process_*` metrics, which have no prefix.
    process: Registry,
    routes: &'static [&'static str],
    recorder: Arc<MetricsRecorder>,
    requests: MetricFamily<3, Counter>,
    request_seconds: MetricFamily<2, DurationHistogram>,
    /// The label is the configured name of the client, so requests cannot create labels.
    client_requests: MetricFamily<2, Counter>,
    connections: Gauge,
    live_viewers: Gauge,
    connections_ended: MetricFamily<1, Counter>,
    tls_reloads: MetricFamily<1, Counter>,
    certificate_expiry: OptionalGauge,
    clients_file_rejected: Gauge,
    ready: Gauge,
    credentials_refused: Gauge,
    store_up: OptionalGauge,
    budget_degraded: OptionalGauge,
    budget_credits: OptionalGauge,
    replicas_seen: OptionalGauge,
    log_lines_lost: Counter,
    log: LogLosses,
    /// Updates metrics that change with time alone.
    refresh: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl MetricsInner {
    #[expect(clippy::too_many_lines, reason = "one metric after the other")]
    fn new(routes: &'static [&'static str], log: LogLosses) -> Self {
        let mut to = MetricRegistry(Registry::with_prefix(PREFIX));
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        to.0.register("build", "Version of the gateway", version);
        let route = ["method", "route"];
        let duration = "http_request_duration_seconds";
        let expiry = "tls_certificate_expiry_timestamp_seconds";
        let (clients, rejected) =
            ("Requests answered, by client", "1 while auth.clients_file is invalid");
        let (closed, reloads) =
            ("Connections closed or refused, by reason", "Reloads of TLS files");
        Self {
            recorder: Arc::new(MetricsRecorder::new(&mut to)),
            requests: to.family(
                ["method", "route", "status"],
                "http_requests",
                "Requests answered",
            ),
            request_seconds: to.family(route, duration, "Time from the request head to the answer"),
            client_requests: to.family(["client", "status"], "client_requests", clients),
            connections: to.metric("connections", "Open client connections"),
            live_viewers: to.metric("live_viewers", "Viewers of the live view"),
            connections_ended: to.family(["reason"], "connections_ended", closed),
            // From 0 on: an alert would not notice a counter that begins with 1.
            tls_reloads: to
                .family(["outcome"], "tls_reloads", reloads)
                .starting_with(["taken", "refused"]),
            certificate_expiry: to.family([], expiry, "Expiry of the gateway's certificate"),
            clients_file_rejected: to.metric("clients_file_rejected", rejected),
            ready: to.metric("ready", "1 while /readyz answers 200"),
            credentials_refused: to.metric("credentials_refused", "1 while the login host refuses"),
            store_up: to.family([], "store_up", "1 while the shared store answers"),
            budget_degraded: to.family([], "call_budget_degraded", "1 without the shared store"),
            budget_credits: to.family(
                [],
                "call_budget_credits",
                "Calls of this replica in a window",
            ),
            replicas_seen: to.family([], "replicas_seen", "Replicas that share the call budget"),
            log_lines_lost: to.metric("log_lines_lost", "Log lines that could not be written"),
            log,
            routes,
            refresh: OnceLock::new(),
            registry: to.0,
            process: process::registry(),
        }
    }
}

impl ServiceMetrics {
    /// New metrics, all zero. `routes` are the patterns of all routes.
    pub fn new(routes: &'static [&'static str]) -> Self {
        Self::with_log(routes, LogLosses::default())
    }

    /// The same, with the lines that a log has lost.
    pub fn with_log(routes: &'static [&'static str], log: LogLosses) -> Self {
        Self(Arc::new(MetricsInner::new(routes, log)))
    }

    /// The metrics of calls and writes.
    pub fn recorder(&self) -> &Arc<MetricsRecorder> {
        &self.0.recorder
    }

    /// Counts an answered request.
    pub fn http(&self, request: &AccessRecord<'_>) {
        let status = LabelValue::Status(request.status);
        let known = |all: &[&'static str], given| all.iter().copied().find(|at| *at == given);
        let method = known(&METHODS, request.method).unwrap_or(OTHER);
        let route = request.route.and_then(|route| known(self.0.routes, route));
        let route = route.unwrap_or(UNMATCHED);
        self.0.request_seconds.with(&[method.into(), route.into()]).observe(request.took);
        if let Some(client) = request.client {
            self.0.client_requests.with(&[LabelValue::Word(client.into()), status.clone()]).inc();
        }
        self.0.requests.with(&[method.into(), route.into(), status]).inc();
    }

    /// Sets the clients that have metrics of their own.
    pub fn know_clients(&self, clients: &[Arc<Client>]) {
        self.0.recorder.budget.set_clients(clients.iter().map(|client| &**client));
    }

    /// Sets the number of viewers of the live view.
    pub fn live_viewers(&self, count: usize) {
        self.0.live_viewers.set(gauge_value(count));
    }

    /// Changes the number of open connections.
    pub fn connections(&self, change: i64) {
        self.0.connections.inc_by(change);
    }

    /// Counts a connection that the gateway closed.
    pub fn connection_ended(&self, ended: CloseReason) {
        self.0.connections_ended.with(&[ended.as_str().into()]).inc();
    }

    /// Counts a reload of changed TLS files, which were accepted or refused.
    pub fn tls_reloaded(&self, accepted: bool) {
        let outcome = if accepted { "taken" } else { "refused" };
        self.0.tls_reloads.with(&[outcome.into()]).inc();
    }

    /// Sets the expiry of the gateway's certificate, in seconds since 1970.
    pub fn certificate_expires(&self, at: i64) {
        self.0.certificate_expiry.with(&[]).set(at);
    }

    /// Calls `refresh` before each scrape, for metrics that change with time alone. `refresh` must not
    /// own these metrics. Only the first call has an effect.
    pub fn refreshed_by(&self, refresh: impl Fn() + Send + Sync + 'static) {
        let _ = self.0.refresh.set(Box::new(refresh));
    }

    /// Sets whether the service is ready, and whether the login host refuses its credentials.
    pub fn readiness(&self, ready: bool, credentials_refused: bool) {
        self.0.ready.set(ready.into());
        self.0.credentials_refused.set(credentials_refused.into());
    }

    /// Sets the state of the budget that replicas share.
    pub fn shared_budget(&self, store_up: bool, degraded: bool, credits: u64, replicas: u32) {
        self.0.store_up.with(&[]).set(store_up.into());
        self.0.budget_degraded.with(&[]).set(degraded.into());
        self.0.budget_credits.with(&[]).set(gauge_value(credits));
        self.0.replicas_seen.with(&[]).set(replicas.into());
    }

    /// Sets whether the clients file is invalid.
    pub fn clients_file_rejected(&self, rejected: bool) {
        self.0.clients_file_rejected.set(rejected.into());
    }

    /// The writes in the queue, and all writes in progress.
    pub fn writes(&self) -> (i64, i64) {
        let writes = &self.0.recorder.writes;
        (writes.waiting.get(), writes.in_flight.get())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::KeyOutcome;
    use crate::ports::{AttemptOutcome, BudgetAccount, PlatformOperation};

    const ROUTES: &[&str] = &["/a", "/b/{id}"];

    fn text(metrics: &ServiceMetrics) -> String {
        metrics.encode().expect("encodes")
    }

    fn report_one_of_each(metrics: &ServiceMetrics) {
        let took = Duration::from_millis(30);
        let MetricsRecorder { upstream, budget, writes, .. } = &**metrics.recorder();
        let (read, patch) = (PlatformOperation::Read, PlatformOperation::Patch);
        upstream.attempts.observe(read, AttemptOutcome::Status(200), took);
        upstream.attempts.observe(patch, AttemptOutcome::Status(418), took);
        upstream.calls.observe(PlatformOperation::Token, AttemptOutcome::Timeout, took);
        upstream.retries.with(&[patch.into()]).inc();
        upstream.retries_refused.with(&[patch.into()]).inc();
        upstream.throttled.with(&[read.into(), "other".into()]).inc();
        upstream.refused_by_throttle.with(&["conversations".into()]).inc();
        metrics.readiness(true, false);
        budget.refused.inc();
        budget.set_window(u64::MAX, 300, true);
        budget.token_failed(crate::clock::now());
        writes.outcomes.with(&[KeyOutcome::Verified.as_str().into()]).inc();
        writes.visibility_lag.observe(took);
        writes.read_backs.observe(2.0);
        writes.keys_lost.inc_by(3);
        writes.set_pending(7, 9);
        metrics.clients_file_rejected(true);
        metrics.connections(3);
        metrics.connection_ended(CloseReason::Refused);
        metrics.recorder().audit_records.inc_by(2);
        metrics.recorder().audit_lost.inc();
        metrics.tls_reloaded(false);
        metrics.certificate_expires(5);
        writes.operations_ended.with(&["done".into()]).inc();
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
        let budget = &metrics.recorder().budget;
        budget.paid(BudgetAccount::from(&*client));
        budget.token_fetched(crate::clock::now(), Duration::from_secs(1));
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
        one.recorder().writes.keys_lost.inc();
        assert!(
            text(&one).contains("keys_lost_total 1") && text(&two).contains("keys_lost_total 0")
        );
    }
}
