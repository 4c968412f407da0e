//! A client that hangs up changes nothing: a write whose body was valid runs to its end.

use axum::body::Body;
use http::Request;
use serde_json::json;
use tokio::time::Instant;

use crate::harness::{CALL, CUSTOMER, TestApp, attributes_of, ms, request, send};

fn write() -> Request<Body> {
    request("PUT", &attributes_of(CALL))
        .header("content-type", "application/json")
        .header("x-request-id", "hung-up")
        .body(json!({"attributes": {"tier": "gold"}}).to_string().into())
        .expect("a request")
}

#[tokio::test(start_paused = true)]
async fn a_write_lands_and_is_proved_whenever_its_caller_hangs_up() {
    // Answers take 20 ms: the read leaves at 0, the PATCH at 20, the read-backs from 40 on.
    for patience in [1, 25, 45, 95] {
        let app = TestApp::new().with_lag(ms(100)).start().await;
        let call = send(app.router(), write());
        assert!(tokio::time::timeout(ms(patience), call).await.is_err(), "it was too quick");
        let under_way = app.get("/metrics").await.text;
        assert!(under_way.contains("attribute_gateway_writes_in_flight 1\n"), "{under_way}");
        tokio::time::sleep(ms(1000)).await;
        assert_eq!(app.truth(CUSTOMER)["tier"], "gold", "hung up after {patience} ms");
        let metrics = app.get("/metrics").await.text;
        for line in ["writes_in_flight 0", r#"write_outcomes_total{outcome="verified"} 1"#] {
            assert!(metrics.contains(&format!("attribute_gateway_{line}\n")), "{metrics}");
        }
        let log = app.logs.text();
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains(r#""request.id":"hung-up""#)).collect();
        let [line] = lines.as_slice() else { panic!("one line, not {lines:?}") };
        assert!(line.contains(r#""http.status":499"#) && line.contains(r#""effect":"unknown""#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_after_a_hang_up_keeps_its_deadline() {
    let app = TestApp::new().with_lag(ms(60_000)).start().await;
    let mut write = write();
    write.headers_mut().insert("prefer", "wait=2".parse().expect("a value"));
    let start = Instant::now();
    assert!(tokio::time::timeout(ms(10), send(app.router(), write)).await.is_err());
    let mut metrics = String::new();
    while start.elapsed() < ms(10_000) && !metrics.contains("gateway_write_outcomes_total") {
        tokio::time::sleep(ms(10)).await;
        metrics = app.get("/metrics").await.text;
    }
    assert!(metrics.contains(r#"write_outcomes_total{outcome="unverified"} 1"#), "{metrics}");
    assert!(start.elapsed() > ms(1900) && start.elapsed() <= ms(2100), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_ends_with_its_caller() {
    let app = TestApp::new().start().await;
    let read = request("GET", &attributes_of(CALL)).body(Body::empty()).expect("a request");
    assert!(tokio::time::timeout(ms(1), send(app.router(), read)).await.is_err());
    tokio::time::sleep(ms(1)).await;
    assert_eq!(app.service().shutdown().tasks().len(), 0, "nothing is left running");
    assert!(app.logs.text().contains(r#""http.status":499"#));
}
