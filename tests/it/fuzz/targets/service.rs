//! The whole service in this process, for one input after another: paused time, no socket, no network.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use attribute_gateway::config::{self, Config};
use attribute_gateway::genesys::{JitterSource, in_process};
use attribute_gateway::http::paths;
use attribute_gateway::service::{ClientSource, Service, ServiceParts, StoreParts};
use attribute_gateway::telemetry::{CapturedLog, LogLineFormat, LogOutput, TelemetryOutput};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// A conversation, and its customer.
pub const CALL: &str = "5eed0000-0000-4000-8000-000000000001";

/// Codes that come with a 5xx although the gateway has no fault.
const OF_UPSTREAM: [u16; 3] = [502, 503, 504];

/// Longest that any answer may take, on the paused clock: the longest deadline, and what may come on
/// top of it.
const MAX_RUN_TIME: Duration = Duration::from_millis(60_100);

/// For every service.
const SETTINGS: &str = r#"
[genesys]
client_id = "demo"
client_secret = "demo-secret"
requests_per_minute = 1000000
max_response_bytes = "64 KiB"
[debug]
enabled = true
"#;

/// A service that anybody may call.
pub static OPEN: LazyLock<Config> = LazyLock::new(|| configured(""));

/// A service over some platform.
pub struct Fuzzed {
    pub service: Service,
    pub logs: CapturedLog,
    _subscriber: tracing::subscriber::DefaultGuard,
}

/// What came back.
pub struct FuzzAnswer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Runs one input under paused time.
pub fn paused<T>(input: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(input)
}

/// The settings of a service: those of all, and these.
pub fn configured(more: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all([SETTINGS, more].concat().as_bytes()).expect("written");
    let source = config::ConfigSource { file: Some(file.path().to_owned()), env: BTreeMap::new() };
    config::load(&source).expect("a sound configuration").config
}

impl Fuzzed {
    /// A service over this platform. Needs a runtime.
    pub fn over(platform: Router, config: &Config, level: &str) -> Self {
        let credentials = config.credentials().expect("both are set");
        let (output, logs) = LogOutput::captured();
        let telemetry = TelemetryOutput::new(output, LogLineFormat::Json, level).expect("a filter");
        let subscriber = tracing::dispatcher::set_default(telemetry.dispatch());
        let parts = ServiceParts {
            transport: in_process(platform, config.genesys.max_response_bytes.get()),
            jitter: JitterSource::seeded(7),
            log: telemetry.losses().clone(),
            tls: None,
            audit: None,
            spans: None,
            store: StoreParts::open(&config.store, &credentials).expect("a usable store"),
            client_registry: ClientSource::from_auth(&config.auth).expect("sound callers"),
            replicas: None,
        };
        let service = Service::build(config, &credentials, parts);
        Self { service, logs, _subscriber: subscriber }
    }

    /// Sends a request, and sees to what is true of every answer.
    pub async fn send(&self, request: Request<Body>) -> FuzzAnswer {
        let start = Instant::now();
        let readiness = request.uri().path() == paths::READYZ;
        let answer = self.service.router().oneshot(request).await.expect("infallible");
        assert!(start.elapsed() <= MAX_RUN_TIME, "late by the clock: {:?}", start.elapsed());
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        let answer = FuzzAnswer { status: head.status.as_u16(), headers: head.headers, body };
        answer.check(readiness);
        answer
    }
}

impl FuzzAnswer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Readiness has a form of its own where it is missing.
    fn check(&self, readiness: bool) {
        let text = self.text();
        assert!(self.headers.contains_key("x-request-id"), "{text}");
        let upstream = OF_UPSTREAM.contains(&self.status);
        assert!(self.status < 500 || upstream, "{}: {text}", self.status);
        if self.status < 400 || readiness && self.status == 503 {
            return;
        }
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(problem["status"], self.status, "{problem}");
        let code = problem["code"].as_str().expect("a code");
        assert!(attribute_gateway::error::ErrorCode::parse(code).is_some(), "{problem}");
        assert!(problem["effect"].is_string() && problem["hint"].is_string(), "{problem}");
    }
}
