//! The metrics at `/metrics`.

use std::collections::BTreeSet;

use axum::body::Body;
use genesys_simulator::{FaultAction, ScriptedFault};
use serde_json::json;

use crate::harness::{CALL, TestApp, attributes_of, ms, request, send};

const ROUTE: &str = "/v1/conversations/{conversationId}/attributes";

async fn figures(app: &TestApp) -> Vec<String> {
    let answer = app.get("/metrics").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.assert_status(200).header("content-type"), kind);
    assert!(answer.text.ends_with("# EOF\n"));
    answer.text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_shown(metrics: &[String], expected: &[&str]) {
    for line in expected {
        let line = format!("attribute_gateway_{line}");
        assert!(metrics.contains(&line), "{line} is not in\n{}", metrics.join("\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_counted_with_calls_outcomes_and_lag() {
    // Answers take 20 ms, and reads show a write 100 ms after it was applied: not the read-backs
    // that leave 0 and 70 ms after the acceptance, but the one 100 ms later.
    let app = TestApp::new().with_lag(ms(100)).start().await;
    let answer = app.write(CALL, "", json!({"tier": "gold", "language": "en", "source": ""})).await;
    answer.assert_status(200);
    let reads = answer.at("/verification/reads");
    let lag = answer.at("/verification/elapsedMs").as_f64().expect("a number") / 1e3 - 0.02;
    let route = format!(r#"{{method="PUT",route="{ROUTE}"#);
    assert_shown(
        &figures(&app).await,
        &[
            r#"write_outcomes_total{outcome="verified"} 1"#,
            r#"write_outcomes_total{outcome="unchanged"} 1"#,
            r#"write_outcomes_total{outcome="cleared"} 1"#,
            &format!("read_backs_sum {reads}.0"),
            "read_backs_count 1",
            &format!("visibility_lag_seconds_sum {lag}"),
            "visibility_lag_seconds_count 1",
            &format!(
                r#"upstream_calls_total{{operation="read",answer="200"}} {}"#,
                1 + reads.as_u64().expect("a number")
            ),
            r#"upstream_calls_total{operation="patch",answer="202"} 1"#,
            r#"upstream_attempts_total{operation="token",answer="200"} 1"#,
            r#"upstream_call_duration_seconds_sum{operation="patch"} 0.02"#,
            &format!(r#"http_requests_total{route}",status="200"}} 1"#),
            &format!(r#"http_request_duration_seconds_count{route}"}} 1"#),
            "keys_lost_total 0",
            "writes_in_flight 0",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn retries_and_lasting_failures_are_told_apart() {
    let status = |code| FaultAction::Status { code, body: None, retry_after: None };
    let app = TestApp::new()
        .with_fault(ScriptedFault::on_read(status(503)))
        .with_fault(ScriptedFault::on_read(status(403)).skip(1))
        .start()
        .await;
    app.read(CALL, "").await.assert_status(200);
    app.read(CALL, "").await.assert_status(502);
    assert_shown(
        &figures(&app).await,
        &[
            r#"upstream_attempts_total{operation="read",answer="503"} 1"#,
            r#"upstream_attempts_total{operation="read",answer="200"} 1"#,
            r#"upstream_attempts_total{operation="read",answer="403"} 1"#,
            r#"upstream_calls_total{operation="read",answer="200"} 1"#,
            r#"upstream_calls_total{operation="read",answer="403"} 1"#,
            r#"upstream_retries_total{operation="read"} 1"#,
            &format!(r#"http_requests_total{{method="GET",route="{ROUTE}",status="502"}} 1"#),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_under_way_shows_as_such() {
    let app = TestApp::new().start().await;
    let write = tokio::spawn(send(
        app.router(),
        request("PUT", &attributes_of(CALL))
            .header("content-type", "application/json")
            .body(json!({"attributes": {"tier": "gold"}}).to_string().into())
            .expect("a request"),
    ));
    tokio::time::sleep(ms(30)).await;
    assert_shown(&figures(&app).await, &["writes_in_flight 1", "pending_write_participants 1"]);
    write.await.expect("it does not panic").assert_status(200);
    assert_shown(&figures(&app).await, &["writes_in_flight 0", "pending_write_participants 0"]);
}

#[tokio::test(start_paused = true)]
async fn no_label_can_grow_without_bound_or_name_anybody() {
    let app = TestApp::new().start().await;
    let _ = app.write(CALL, "", json!({"tier": "gold", "crm key": "canary"})).await;
    let _ = app.write(CALL, "", json!({"crm key": ""})).await;
    for path in ["/v1/conversations/nope/attributes", "/made/up?x=canary", "/problems/made-up"] {
        let _ = app.get(path).await;
    }
    let brew = request("BREW", "/made/up").body(Body::empty());
    let _ = app.send(brew.expect("a request")).await;
    let known: BTreeSet<_> = [
        "operation",
        "answer",
        "outcome",
        "upstream",
        "method",
        "route",
        "status",
        "le",
        "limit",
        "state",
        "version",
    ]
    .into();
    for line in figures(&app).await.iter().filter(|line| !line.starts_with('#')) {
        for part in ["canary", "crm", "tier", "gold", "made", "nope", "BREW", CALL] {
            assert!(!line.contains(part), "{line}");
        }
        let labels =
            line.split_once('{').map_or("", |(_, rest)| rest.split_once("} ").expect("closed").0);
        for label in labels.split("\",").filter(|label| !label.is_empty()) {
            let name = label.split('=').next().expect("a name");
            assert!(known.contains(name), "unknown label `{name}`: {line}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn turns_show_who_waits_how_long_and_how_many_share_a_patch() {
    let app = TestApp::new().with_fault(ScriptedFault::on_patch(FaultAction::Hang)).start().await;
    let write = |key: &str| {
        let request = request("PUT", &attributes_of(CALL))
            .header("content-type", "application/json")
            .body(json!({"attributes": {key: "1"}}).to_string().into());
        tokio::spawn(send(app.router(), request.expect("a request")))
    };
    let first = write("a");
    tokio::time::sleep(ms(30)).await;
    // Its PATCH hangs for two seconds, and these wait for the turn.
    let others = [write("b"), write("c")];
    tokio::time::sleep(ms(100)).await;
    assert!((app.figure("writes_waiting").await - 2.0).abs() < 0.1);
    for task in [first].into_iter().chain(others) {
        task.await.expect("no panic").assert_status(200);
    }
    assert!(app.figure("writes_waiting").await.abs() < 0.1);
    // The first alone, the others together, the first again.
    let batches = (app.figure("batch_writes_count").await, app.figure("batch_writes_sum").await);
    assert!((batches.0 - 3.0).abs() < 0.1 && (batches.1 - 4.0).abs() < 0.1, "{batches:?}");
    let waited = app.figure("write_wait_seconds_sum").await;
    assert!(waited > 3.5 && waited < 4.5, "{waited}");
    // Three proved writes: the first was there for two seconds and the others waited for it.
    assert!((app.figure("write_verified_seconds_count").await - 3.0).abs() < 0.1);
    let proved = app.figure("write_verified_seconds_sum").await;
    assert!(proved > waited + 2.0 && proved < waited + 4.0, "{proved}");
    assert!((app.figure("write_calls_count").await - 3.0).abs() < 0.1);
    assert!((app.figure("snapshot_cache_conversations").await - 1.0).abs() < 0.1);
    assert!(app.figure("snapshot_cache_bytes").await > 500.0);
}

#[tokio::test(start_paused = true)]
async fn a_429_counts_under_the_limit_that_it_names() {
    let named = |key: &str| {
        let body = json!({"status": 429, "limit": {"key": key, "namespace": "x", "value": 300}});
        let action = FaultAction::Status { code: 429, body: Some(body), retry_after: Some(1) };
        ScriptedFault::on_read(action)
    };
    let known = "client.credentials.token.rate.per.minute";
    let app = TestApp::new().with_fault(named(known)).with_fault(named("made.up"));
    let app = app.with_fault(named("made.up.too")).start().await;
    app.read_within(30).await.assert_status(200);
    assert_shown(
        &figures(&app).await,
        &[
            &format!(r#"upstream_throttled_total{{operation="read",limit="{known}"}} 1"#),
            r#"upstream_throttled_total{operation="read",limit="other"} 2"#,
            "call_budget_limit_calls 300",
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn readiness_and_refused_credentials_are_metrics() {
    let app = TestApp::new().start().await;
    assert_shown(&figures(&app).await, &["ready 1", "credentials_refused 0"]);
    let refused = ScriptedFault::on_token(FaultAction::Unauthorized);
    let app = TestApp::new().with_fault(refused).start().await;
    assert_shown(&figures(&app).await, &["ready 0", "credentials_refused 1"]);
}
