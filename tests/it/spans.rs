//! Spans for a collector: one a request, one an exchange with upstream, in the client's trace or one of
//! their own.

use genesys_simulator::{FaultAction, ScriptedFault};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;

use crate::harness::{Builder, CALL, Collector, TestApp, attribute, attributes_of, ms};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS: &str = "b7ad6b7169203331";
const JSON: (&str, &str) = ("content-type", "application/json");

fn traced() -> (Builder, Collector) {
    let collector = Collector::default();
    (TestApp::new().traced_by(&collector), collector)
}

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLERS}-{flags}")
}

fn hex(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("{number:0width$x}", width = 2 * bytes.len())
}

fn attribute_text(span: &Span, name: &str) -> String {
    attribute(&span.attributes, name).unwrap_or_default()
}

fn kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind as i32).collect()
}

/// The trace headers that upstream received, by operation.
fn passed_on(app: &TestApp) -> Vec<String> {
    let calls = app.simulator.calls();
    calls.into_iter().filter_map(|call| call.headers.get("traceparent").cloned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_write_is_a_span_with_one_child_for_each_exchange() {
    let (app, _) = traced();
    let app = app.with_lag(ms(0)).start().await;
    let place = parent("01");
    let headers = [JSON, ("traceparent", &place), ("x-request-id", "crm-1")];
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    app.ask(("PUT", &attributes_of(CALL)), &headers, body).await.assert_status(200);
    let spans = app.spans().await;
    let [request] = kind(&spans, SpanKind::Server)[..] else { panic!("{spans:?}") };
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), CALLERS);
    assert_eq!(request.name, "PUT /v1/conversations/{conversationId}/attributes");
    for (name, value) in [
        ("http.request.method", "PUT"),
        ("http.route", "/v1/conversations/{conversationId}/attributes"),
        ("http.response.status_code", "200"),
        ("request.id", "crm-1"),
        ("conversation.id", CALL),
        ("effect", "applied"),
        ("upstream.calls", "3"),
        ("error.type", ""),
    ] {
        assert_eq!(attribute_text(request, name), value, "{name}");
    }
    let exchanges = kind(&spans, SpanKind::Client);
    let operations: Vec<_> =
        exchanges.iter().map(|span| attribute_text(span, "genesys.operation")).collect();
    assert_eq!(operations, ["read", "patch", "read"]);
    for span in &exchanges {
        assert_eq!((hex(&span.trace_id), &span.parent_span_id), (TRACE.into(), &request.span_id));
        assert!(!attribute_text(span, "genesys.correlation_id").is_empty());
        let took = span.end_time_unix_nano - span.start_time_unix_nano;
        assert_eq!(took, 20_000_000, "the simulator's latency");
    }
    // Each call sent upstream its own span, a child of the request's.
    let places: Vec<_> =
        exchanges.iter().map(|span| format!("00-{TRACE}-{}-01", hex(&span.span_id))).collect();
    assert_eq!(passed_on(&app), places);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_trace_starts_one_and_is_sampled() {
    let (app, _) = traced();
    let app = app.start().await;
    app.read(CALL, "").await.assert_status(200);
    let spans = app.spans().await;
    let [request] = kind(&spans, SpanKind::Server)[..] else { panic!("{spans:?}") };
    assert!(request.parent_span_id.is_empty(), "{request:?}");
    assert_ne!(hex(&request.trace_id), "0".repeat(32));
    let trace_id = format!(r#""trace.id":"{}""#, hex(&request.trace_id));
    assert!(app.logs.text().contains(&trace_id), "the access line names it");

    let (app, _) = traced();
    let app = app.with_env("GATEWAY__TRACING__KEEP_ONE_IN", "1000000").start().await;
    for _ in 0..20 {
        app.read(CALL, "").await.assert_status(200);
    }
    assert_eq!(app.spans().await, [], "not one in a million");
    assert!(passed_on(&app).iter().all(|place| place.ends_with("-00")), "and upstream knows");
    let place = parent("01");
    app.ask(("GET", &attributes_of(CALL)), &[("traceparent", &place)], "").await.assert_status(200);
    assert_eq!(app.spans().await.len(), 2, "callers decide about theirs");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_does_not_keep_its_trace_gets_no_spans() {
    let (app, collector) = traced();
    let app = app.start().await;
    let place = parent("00");
    app.ask(("GET", &attributes_of(CALL)), &[("traceparent", &place)], "").await.assert_status(200);
    assert_eq!(app.spans().await, []);
    assert_eq!(collector.batches().len(), 0);
    let passed_on = passed_on(&app);
    assert!(passed_on[0].starts_with(&format!("00-{TRACE}-")) && passed_on[0].ends_with("-00"));
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_by_their_kind() {
    let (app, _) = traced();
    let refused = FaultAction::Status { code: 503, body: None, retry_after: None };
    let app = app
        .with_fault(ScriptedFault::on_read(refused))
        .with_fault(ScriptedFault::on_read(FaultAction::ResetBefore))
        .start()
        .await;
    app.read(CALL, "").await.assert_status(200);
    app.read("5eed0000-0000-4000-8000-00000000ffff", "").await.assert_status(404);
    let spans = app.spans().await;
    let kinds = |spans: Vec<&Span>| {
        spans.iter().map(|span| attribute_text(span, "error.type")).collect::<Vec<_>>()
    };
    assert_eq!(kinds(kind(&spans, SpanKind::Client)), ["503", "reset", "", "404"]);
    let requests = kind(&spans, SpanKind::Server);
    assert_eq!(kinds(requests.clone()), ["", "conversation-not-found"]);
    let failed =
        |span: &Span| span.status.as_ref().is_some_and(|s| s.code == StatusCode::Error as i32);
    assert!(requests.iter().all(|span| !failed(span)), "their callers' mistakes are no failures");
    assert_eq!(kind(&spans, SpanKind::Client).iter().filter(|span| failed(span)).count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shared_exchange_is_linked_from_the_other_requests() {
    let (app, _) = traced();
    let app = app.start().await;
    let reads = tokio::join!(app.read(CALL, ""), app.read(CALL, ""), app.read(CALL, ""));
    for read in [reads.0, reads.1, reads.2] {
        read.assert_status(200);
    }
    let spans = app.spans().await;
    let exchanges = kind(&spans, SpanKind::Client);
    for request in kind(&spans, SpanKind::Server) {
        let below = exchanges.iter().filter(|span| span.parent_span_id == request.span_id);
        let linked = exchanges.iter().filter(|span| {
            request
                .links
                .iter()
                .any(|link| link.span_id == span.span_id && link.trace_id == span.trace_id)
        });
        assert_eq!(below.count() + linked.count(), 1, "{request:?}");
    }
    assert!(exchanges.len() < 3, "they were shared");
}

#[tokio::test(start_paused = true)]
async fn work_after_a_hang_up_is_a_span_of_its_request() {
    let (app, _) = traced();
    let app = app.start().await;
    let (path, body) = (attributes_of(CALL), json!({"attributes": {"tier": "gold"}}).to_string());
    let write = app.ask(("PUT", &path), &[JSON], body);
    assert!(tokio::time::timeout(ms(30), write).await.is_err(), "the PATCH is under way");
    let spans = app.spans().await;
    let [request] = kind(&spans, SpanKind::Server)[..] else { panic!("{spans:?}") };
    assert_eq!(attribute_text(request, "http.response.status_code"), "499");
    assert_eq!(kind(&spans, SpanKind::Client).len(), 1, "the read");
    tokio::time::sleep(ms(10_000)).await;
    let spans = app.spans().await;
    let exchanges = kind(&spans, SpanKind::Client);
    assert_eq!(attribute_text(exchanges[1], "genesys.operation"), "patch");
    assert!(exchanges.iter().all(|span| span.parent_span_id == request.span_id));
}

#[tokio::test(start_paused = true)]
async fn the_collector_gets_the_service_name_and_no_health_checks() {
    let (app, collector) = traced();
    let app = app
        .with_env("GATEWAY__TRACING__ENDPOINT", "http://localhost:4318/base")
        .with_env("GATEWAY__TRACING__SERVICE_NAME", "gateway-eu")
        .with_env("GATEWAY__TRACING__HEADERS", "x-team=a-key")
        .start()
        .await;
    app.ask(("GET", "/metrics"), &[], "").await.assert_status(200);
    app.ask(("GET", "/livez"), &[], "").await.assert_status(200);
    app.read(CALL, "").await.assert_status(200);
    assert_eq!(kind(&app.spans().await, SpanKind::Server).len(), 1);
    assert_eq!(collector.headers()[0]["x-team"], "a-key");
    let batches = collector.batches();
    let resource = batches[0].resource_spans[0].resource.clone().expect("a resource");
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("gateway-eu"));
}
