use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use gateway_store::embedded::EmbeddedStore;
use gateway_store::{SealingKey, StoreLimits};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::*;
use crate::http::paths;

use crate::app::{App, RequestLimiter};
use crate::http::{
    EtagKey, HealthCheck, HttpSettings, OpenApiFiles, OpsState, ReadinessProvider, ReadinessReport,
    openapi, router,
};
use crate::telemetry::{CapturedLog, LogLineFormat, LogOutput, ServiceMetrics, TelemetryOutput};

fn documents(public_url: &'static str) -> OpenApiFiles {
    OpenApiFiles::new(
        public_url,
        || openapi::yaml(public_url, false),
        || openapi::json(public_url, false),
    )
}

const ID: &str = "8e0f1a2b-3c4d-4e5f-8a6b-7c8d9e0f1a2b";

fn answers() -> EmbeddedStore {
    let key = SealingKey::derive("secret");
    EmbeddedStore::in_memory(key, StoreLimits::default()).expect("a store")
}

#[derive(Default)]
struct Switch(AtomicBool);

impl ReadinessProvider for Switch {
    fn report(&self) -> ReadinessReport {
        ReadinessReport {
            ready: !self.draining(),
            checks: vec![HealthCheck {
                name: "drain",
                ok: !self.draining(),
                detail: "drain".to_owned(),
            }],
        }
    }

    fn draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Service {
    state: AppState,
    draining: Arc<Switch>,
    log: CapturedLog,
    _subscriber: tracing::dispatcher::DefaultGuard,
}

impl Service {
    fn new() -> Self {
        let draining = Arc::<Switch>::default();
        let (output, log) = LogOutput::captured();
        let telemetry = TelemetryOutput::new(output, LogLineFormat::Json, "access=trace");
        let telemetry = telemetry.expect("a filter");
        let state = AppState {
            app: App::for_tests(),
            ops: Arc::new(OpsState {
                readiness: Arc::clone(&draining) as Arc<dyn ReadinessProvider>,
                metrics: ServiceMetrics::new(paths::ALL),
                spans: None,
                recent: None,
                documents: documents(""),
                audit: None,
                requests: Arc::new(RequestLimiter::new(2)),
                answers: Arc::new(answers()),
                operations: None,
                address_limiter: None,
                in_flight: TaskTracker::new(),
            }),
            settings: Arc::new(HttpSettings {
                deadline: Duration::from_secs(5),
                body_limit: 64,
                body_timeout: Duration::from_secs(2),
                default_participant: "customer".parse().expect("selector"),
                total_bytes: 10_240,
                etag: EtagKey::derive("secret"),
                require_if_match: false,
            }),
        };
        let subscriber = tracing::dispatcher::set_default(telemetry.dispatch());
        Self { state, draining, log, _subscriber: subscriber }
    }

    async fn answer(&self, request: Request) -> Answer {
        answer(router(self.state.clone()), request).await
    }

    fn line(&self) -> serde_json::Value {
        let text = self.log.text();
        serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    #[track_caller]
    fn problem(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let json: serde_json::Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(json["status"], self.status);
        assert_eq!(json["requestId"].as_str(), self.header("x-request-id"));
        json
    }
}

async fn answer(router: Router, request: Request) -> Answer {
    let response = router.oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(bytes.to_vec()).expect("UTF-8"),
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::from(body)).expect("a request")
}

fn attributes() -> String {
    format!("/v1/conversations/{ID}/attributes")
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn everything_the_framework_refuses_is_a_problem() {
    let service = Service::new();
    let path = attributes();
    let other = format!("{path}/x/y");
    for (method, path, code) in [
        ("GET", "/nothing", "not-found"),
        ("GET", "/v1/nothing", "not-found"),
        ("GET", "/v1/conversations//attributes", "invalid-conversation-id"),
        ("GET", other.as_str(), "not-found"),
        ("DELETE", path.as_str(), "method-not-allowed"),
        ("BREW", "/livez", "method-not-allowed"),
        ("GET", "/problems/nothing", "not-found"),
        ("GET", "/v1/conversations/8e0f/attributes", "invalid-conversation-id"),
        ("GET", "/v1/conversations/%2e%2e%2foauth/attributes", "invalid-conversation-id"),
        ("GET", "/v1/conversations/%ff/attributes", "invalid-conversation-id"),
    ] {
        let answer = service.answer(request(method, path, &[], "")).await;
        let problem = answer.problem();
        assert_eq!(problem["code"], code, "{method} {path}");
        assert_eq!(problem["instance"], path);
        assert_eq!(problem["effect"], "notApplied");
        assert_eq!(service.line()["problem.code"], code);
    }
    let answer = service.answer(request("POST", &path, &[], "")).await;
    assert_eq!(answer.header("allow"), Some("GET,HEAD,PUT,PATCH"));
}

/// A bad write: query, headers and body, then the status and code of the response.
type ProblemViolation =
    (&'static str, &'static [(&'static str, &'static str)], &'static str, u16, &'static str);

const GOOD: &str = r#"{"attributes":{"a":"b"}}"#;
const LONG: &str = r#"{"attributes":{"a":"0123456789012345678901234567890123456789012345"}}"#;

const MISTAKES: [ProblemViolation; 11] = [
    ("?participant=all", &[JSON], GOOD, 400, "invalid-participant"),
    ("?verify=readback&x=1", &[JSON], GOOD, 400, "invalid-query"),
    ("", &[JSON, ("accept", "text/html")], GOOD, 406, "not-acceptable"),
    ("", &[JSON, ("if-match", "x")], GOOD, 400, "invalid-header"),
    ("", &[JSON, ("if-none-match", "W/x")], GOOD, 400, "invalid-header"),
    ("", &[], GOOD, 415, "unsupported-media-type"),
    ("", &[JSON, ("content-encoding", "gzip")], GOOD, 415, "unsupported-media-type"),
    ("", &[JSON, ("content-length", "65")], GOOD, 413, "body-too-large"),
    ("", &[JSON], LONG, 413, "body-too-large"),
    ("", &[JSON], "{", 400, "invalid-json"),
    ("", &[JSON], r#"{"attributes":{"a":1}}"#, 422, "invalid-attributes"),
];

#[tokio::test]
async fn a_bad_write_is_refused_before_the_use_case_runs() {
    let service = Service::new();
    for (query, headers, body, status, code) in MISTAKES {
        let path = attributes() + query;
        let answer = service.answer(request("PUT", &path, headers, body)).await;
        let problem = answer.problem();
        assert_eq!((answer.status, &problem["code"]), (status, &code.into()), "{path}");
        assert_eq!(problem["effect"], "notApplied");
        assert_eq!(problem["instance"], attributes());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_a_408() {
    let service = Service::new();
    let end = std::future::pending::<Option<Result<HeaderMap, std::convert::Infallible>>>();
    let body = Body::new(http_body_util::Full::from("{").with_trailers(end));
    let mut slow = request("PUT", &attributes(), &[JSON, ("prefer", "wait=1")], "");
    *slow.body_mut() = body;
    let start = tokio::time::Instant::now();
    let answer = service.answer(slow).await;
    assert_eq!(answer.problem()["code"], "request-timeout");
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!(answer.header("preference-applied"), Some("wait=1"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn operations_answer_and_head_works() {
    let service = Service::new();
    for path in
        ["/livez", "/readyz", "/metrics", "/openapi.yaml", "/openapi.json", "/problems/internal"]
    {
        let full = service.answer(request("GET", path, &[], "")).await;
        assert_eq!(full.status, 200, "{path}");
        assert!(!full.body.is_empty() && full.header("x-request-id").is_some(), "{path}");
        let head = service.answer(request("HEAD", path, &[], "")).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(service.line()["effect"], serde_json::Value::Null);
    }
    let metrics = service.answer(request("GET", "/metrics", &[], "")).await;
    let counted = r#"http_requests_total{method="HEAD",route="/livez",status="200"} 1"#;
    assert!(metrics.body.contains(counted), "{}", metrics.body);
    assert!(
        metrics
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
}

#[tokio::test]
async fn a_draining_service_refuses_the_api_at_once_and_nothing_else() {
    let service = Service::new();
    service.draining.0.store(true, Ordering::Relaxed);
    let refused = service.answer(request("PUT", &attributes(), &[JSON], "{}")).await;
    assert_eq!(refused.problem()["code"], "shutting-down");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(service.answer(request("GET", "/livez", &[], "")).await.status, 200);
    let unready = service.answer(request("GET", "/readyz", &[], "")).await;
    assert_eq!((unready.status, unready.body.as_str()), (503, "not ready: drain\n"));
}

#[tokio::test]
async fn a_panic_is_a_problem_without_its_payload() {
    let service = Service::new();
    let panics = || async {
        let word = String::from("canary");
        assert!(word.is_empty(), "{word}");
    };
    let router = Router::new().route("/v1/panics", get(panics).put(panics));
    let router = with_middleware(router, &service.state).with_state(service.state.clone());
    for (method, effect) in [("GET", "notApplied"), ("PUT", "unknown")] {
        let answer = answer(router.clone(), request(method, "/v1/panics", &[], "")).await;
        let problem = answer.problem();
        assert_eq!((answer.status, &problem["code"]), (500, &"internal".into()));
        assert_eq!(problem["effect"], effect);
        assert!(!answer.body.contains("canary"));
    }
    assert!(!service.log.text().contains("canary"));
}

#[tokio::test]
async fn ids_preferences_and_times_are_in_headers_and_log() {
    let service = Service::new();
    let router =
        Router::new().route(paths::ATTRIBUTES, get(StatusCode::OK).put(StatusCode::NO_CONTENT));
    let router = with_middleware(router, &service.state).with_state(service.state.clone());
    let headers = [
        ("x-request-id", "crm-1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("prefer", "return=minimal, wait=7"),
    ];
    let read = answer(router.clone(), request("GET", &attributes(), &headers, "")).await;
    assert_eq!(read.header("x-request-id"), Some("crm-1"));
    assert_eq!(read.header("preference-applied"), Some("wait=7"));
    let timing = read.header("server-timing").expect("times");
    for name in ["queue;dur=", "token;dur=", "read;dur=", "patch;dur=", "verify;dur=", "total;dur="]
    {
        assert!(timing.contains(name), "{timing}");
    }
    let line = service.line();
    assert_eq!(line["request.id"], "crm-1");
    assert_eq!(line["trace.id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(line["conversation.id"], ID);
    assert_eq!(line["http.route"], paths::ATTRIBUTES);
    assert_eq!(line["effect"], "notApplied");
    let written = answer(router, request("PUT", &attributes(), &headers, "")).await;
    assert_eq!(written.header("preference-applied"), Some("wait=7, return=minimal"));
}

#[tokio::test]
async fn a_client_that_disconnects_is_logged_and_released() {
    let service = Service::new();
    let router = Router::new()
        .route("/v1/hangs", get(std::future::pending::<()>).put(std::future::pending::<()>));
    let router = with_middleware(router, &service.state).with_state(service.state.clone());
    let call = router.oneshot(request("PUT", "/v1/hangs", &[], ""));
    let hung_up = tokio::time::timeout(Duration::from_millis(20), call).await;
    assert!(hung_up.is_err());
    let line = service.line();
    assert_eq!(line["http.status"], 499);
    assert_eq!(line["effect"], "unknown");
    assert!(service.state.ops.in_flight.is_empty());
}

#[tokio::test]
async fn a_drain_can_wait_for_requests_in_progress() {
    let service = Service::new();
    let tracker = service.state.ops.in_flight.clone();
    let seen = tracker.clone();
    let router =
        Router::new().route("/v1/counts", get(move || async move { seen.len().to_string() }));
    let router = with_middleware(router, &service.state).with_state(service.state.clone());
    let answer = answer(router, request("GET", "/v1/counts", &[], "")).await;
    assert_eq!((answer.body.as_str(), tracker.len()), ("1", 0));
}

proptest! {
    #[test]
    fn no_request_panics(
        path in "/v1/conversations/[!-~]{0,40}/attributes([?][!-~]{0,40})?",
        name in "(accept|content-type|prefer|traceparent|x-request-id|content-length|if-match)",
        value in proptest::collection::vec(any::<u8>(), 0..40),
        body in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let request = Request::builder()
            .method("PUT")
            .uri(path)
            .header(name, value)
            .body(Body::from(body));
        if let Ok(request) = request {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime");
            let service = Service::new();
            let answer = runtime.block_on(service.answer(request));
            prop_assert!((400..500).contains(&answer.status), "{}", answer.status);
            answer.problem();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_request_too_many_is_refused_and_slots_are_freed() {
    let service = Service::new();
    let endless = || {
        let end = std::future::pending::<Option<Result<HeaderMap, Infallible>>>();
        let body = Body::new(Full::from("{").with_trailers(end));
        let request = Request::builder().method("PUT").uri(attributes()).header(JSON.0, JSON.1);
        let request = request.body(body).expect("a request");
        tokio::spawn(answer(router(service.state.clone()), request))
    };
    let held = [endless(), endless()];
    tokio::task::yield_now().await;
    let start = Instant::now();
    let refused = service.answer(request("GET", &attributes(), &[], "")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    let problem = refused.problem();
    assert_eq!(
        (&problem["code"], &problem["effect"]),
        (&"overloaded".into(), &"notApplied".into())
    );
    assert_eq!(service.answer(request("GET", "/livez", &[], "")).await.status, 200);
    assert_eq!(start.elapsed(), Duration::ZERO);
    for held in held {
        assert_eq!(held.await.expect("no panic").status, 408);
    }
    for _ in 0..3 {
        let next = service.answer(request("PUT", &attributes(), &[JSON], "{")).await;
        assert_eq!(next.status, 400);
    }
}

#[tokio::test]
async fn links_begin_with_the_public_url() {
    let mut service = Service::new();
    let ops = Arc::get_mut(&mut service.state.ops).expect("the only reference");
    ops.documents = documents("https://gateway.example/x");
    let problem = service.answer(request("GET", "/nothing", &[], "")).await.problem();
    assert_eq!(problem["type"], "https://gateway.example/x/problems/not-found");
    assert_eq!(problem["instance"], "https://gateway.example/x/nothing");
    let root = service.answer(request("GET", "/", &[], "")).await.body;
    assert_eq!(root.matches("\"https://gateway.example/x/").count(), 7, "{root}");
    let yaml = service.answer(request("GET", "/openapi.yaml", &[], "")).await.body;
    assert!(yaml.contains("servers:\n- url: https://gateway.example/x\n"), "{yaml}");
}
