//! The whole service in this process, for one input after another: paused time, no socket, no network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use attribute_gateway::config;
use attribute_gateway::genesys::{Jitter, in_process};
use attribute_gateway::service::{KnownCallers, Parts, Service};
use attribute_gateway::telemetry::{Captured, Format, Sink, Telemetry};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use tower::ServiceExt as _;

/// A conversation, and its customer.
pub const CALL: &str = "5eed0000-0000-4000-8000-000000000001";

/// Codes that are told with a 5xx although nothing is wrong with us.
const OF_UPSTREAM: [u16; 3] = [502, 503, 504];

/// Longest that any answer may take, on the paused clock: the longest deadline, and what may come on
/// top of it.
const LONGEST: Duration = Duration::from_millis(60_100);

/// A service over some platform.
pub struct Fuzzed {
    pub service: Service,
    pub logs: Captured,
    _subscriber: tracing::subscriber::DefaultGuard,
}

/// What came back.
pub struct Told {
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

impl Fuzzed {
    /// A service over this platform. Needs a runtime.
    pub fn over(platform: Router, level: &str) -> Self {
        let env = BTreeMap::from(
            [
                ("GENESYS_CLIENT_ID", "demo"),
                ("GENESYS_CLIENT_SECRET", "demo-secret"),
                ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "1000000"),
                ("GATEWAY__GENESYS__MAX_RESPONSE_BYTES", "64 KiB"),
                ("GATEWAY__DEBUG__ENABLED", "true"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let source = config::Source { file: None, env };
        let config = config::load(&source).expect("a sound configuration").config;
        let credentials = config.credentials().expect("both are set");
        let (sink, logs) = Sink::captured(Format::Json);
        let telemetry = Telemetry::new(sink, Format::Json, level).expect("a filter");
        let subscriber = tracing::dispatcher::set_default(telemetry.dispatch());
        let parts = Parts {
            transport: in_process(platform, config.genesys.max_response_bytes.as_usize()),
            jitter: Jitter::seeded(7),
            access: telemetry.access().clone(),
            tls: None,
            audit: None,
            spans: None,
            callers: KnownCallers::of(&config.auth).expect("sound callers"),
        };
        let service = Service::build(&config, &credentials, parts);
        Self { service, logs, _subscriber: subscriber }
    }

    /// Sends a request, and sees to what is true of every answer.
    pub async fn send(&self, request: Request<Body>) -> Told {
        let start = Instant::now();
        let answer = self.service.router().oneshot(request).await.expect("infallible");
        assert!(start.elapsed() <= LONGEST, "late by the clock: {:?}", start.elapsed());
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        let told = Told { status: head.status.as_u16(), headers: head.headers, body };
        told.check();
        told
    }
}

impl Told {
    fn check(&self) {
        let text = String::from_utf8_lossy(&self.body);
        assert!(self.headers.contains_key("x-request-id"), "{text}");
        let upstream = OF_UPSTREAM.contains(&self.status);
        assert!(self.status < 500 || upstream, "{}: {text}", self.status);
        if self.status < 400 {
            return;
        }
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(problem["status"], self.status, "{problem}");
        let code = problem["code"].as_str().expect("a code");
        assert!(attribute_gateway::error::Code::parse(code).is_some(), "{problem}");
        assert!(problem["effect"].is_string() && problem["hint"].is_string(), "{problem}");
    }
}

/// A request with this head and body, or `None` if there can be no such request.
pub fn request(
    method: &[u8],
    target: &[u8],
    headers: &[(&[u8], &[u8])],
    body: Vec<u8>,
) -> Option<Request<Body>> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        let value = http::HeaderValue::from_bytes(value).ok()?;
        request = request.header(http::HeaderName::from_bytes(name).ok()?, value);
    }
    let request = request.body(Body::from(body)).ok()?;
    // What a server is sent is a path, and not a whole URL.
    (request.uri().path().starts_with('/')).then_some(request)
}

/// Splits text into its head, line by line, and what follows the first empty line.
pub fn head_and_body(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut head = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            return (head, rest);
        }
        head.push(line);
    }
    (head, rest)
}

/// `name: value` of a line.
pub fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// Shared by all requests of an input.
pub type Shared<T> = Arc<std::sync::Mutex<T>>;
