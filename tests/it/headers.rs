//! The headers of answers.

use axum::body::Body;
use genesys_simulator::RequestKind;
use serde_json::json;

use crate::harness::{AGENT, Answer, CALL, CUSTOMER, TestApp, attributes_of, ms, request};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn read(app: &TestApp, headers: &[(&str, &str)]) -> Answer {
    let start = request("GET", &attributes_of(CALL));
    let request =
        headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
    app.send(request.body(Body::empty()).expect("a request")).await
}

async fn write(app: &TestApp, headers: &[(&str, &str)], value: &str) -> Answer {
    let body = json!({"attributes": {"tier": value}}).to_string();
    app.put(&attributes_of(CALL), headers, body).await
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_knows_the_map_gets_304_until_it_changes() {
    let app = TestApp::new().start().await;
    let tag = read(&app, &[]).await.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 24, "{tag}");
    for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let answer = read(&app, &[("if-none-match", &known)]).await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
        assert_eq!(answer.header("etag"), tag);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let written = write(&app, &[], "gold").await;
    assert_ne!(written.header("etag"), tag);
    let answer = read(&app, &[("if-none-match", &tag)]).await;
    assert_eq!(answer.assert_status(200).header("etag"), written.header("etag"));
}

#[tokio::test(start_paused = true)]
async fn an_etag_covers_the_requested_keys_of_a_fresh_read() {
    let app = TestApp::new().start().await;
    let tag = async |query: &str| app.read(CALL, query).await.header("etag").to_owned();
    let whole = tag("").await;
    assert_eq!(tag(&format!("?participant={CUSTOMER}")).await, whole);
    assert_ne!(tag(&format!("?participant={AGENT}")).await, whole);
    let narrowed = tag("?keys=tier").await;
    assert_ne!(narrowed, whole);
    assert_eq!(tag("?key=tier&key=tier").await, narrowed);
    assert_eq!(tag("?participant=all").await, "");
    let unproved = app.write(CALL, "?verify=none", json!({"tier": "gold"})).await;
    assert_eq!(unproved.assert_status(202).header("etag"), "");
    let refused = app.read(CALL, "?participant=supervisor").await;
    assert_eq!(refused.assert_status(404).header("etag"), "");
}

#[tokio::test(start_paused = true)]
async fn replicas_agree_on_tags_and_another_secret_makes_others() {
    let tag = async |secret: &str| {
        let app = TestApp::new()
            .with_settings(|settings| settings.client_secret = secret.to_owned())
            .with_env("GENESYS_CLIENT_SECRET", secret);
        read(&app.start().await, &[]).await.header("etag").to_owned()
    };
    let first = tag("one secret").await;
    assert_eq!(tag("one secret").await, first);
    assert_ne!(tag("another secret").await, first);
}

#[tokio::test(start_paused = true)]
async fn a_sound_request_id_is_kept_and_any_other_replaced() {
    let app = TestApp::new().start().await;
    assert_eq!(
        read(&app, &[("x-request-id", "crm-1:a.b_C")]).await.header("x-request-id"),
        "crm-1:a.b_C"
    );
    let long = "x".repeat(129);
    for unsound in ["", "a b", "a\"b", "é", long.as_str()] {
        let answer = read(&app, &[("x-request-id", unsound), ("accept", "text/html")]).await;
        let id = answer.header("x-request-id").to_owned();
        assert_ne!(id, unsound);
        assert!(uuid::Uuid::try_parse(&id).is_ok(), "{id}");
        answer.assert_problem(406, "not-acceptable", "notApplied");
    }
    assert_ne!(app.get("/livez").await.header("x-request-id"), "");
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_logged_and_passed_on() {
    let app = TestApp::new().start().await;
    read(&app, &[("traceparent", TRACE), ("x-request-id", "r-1")]).await.assert_status(200);
    read(&app, &[("traceparent", "nonsense"), ("x-request-id", "r-2")]).await.assert_status(200);
    let calls = app.simulator.calls().into_iter().filter(|call| call.kind == RequestKind::Read);
    let traces: Vec<_> = calls.map(|call| call.headers.get("traceparent").cloned()).collect();
    let [Some(passed), None] = traces.as_slice() else { panic!("{traces:?}") };
    assert_eq!(passed[..35], TRACE[..35], "the same trace");
    let log = app.logs.text();
    let line = |id: &str| {
        log.lines().find(|line| line.contains("\"access\"") && line.contains(id)).expect(id)
    };
    assert!(line("r-1").contains(r#""trace.id":"0af7651916cd43dd8448eb211c80319c""#));
    assert!(!line("r-2").contains("trace.id"));
}

#[tokio::test(start_paused = true)]
async fn server_timing_tells_where_the_time_went() {
    let app = TestApp::new().with_lag(ms(0)).start().await;
    let timing = |read: u8, patch: u8, verify: u8, total: u8| {
        format!(
            "queue;dur=0.000, token;dur=0.000, read;dur={read}.000, patch;dur={patch}.000, \
             verify;dur={verify}.000, total;dur={total}.000"
        )
    };
    assert_eq!(write(&app, &[], "gold").await.header("server-timing"), timing(20, 20, 20, 60));
    assert_eq!(read(&app, &[]).await.header("server-timing"), timing(20, 0, 0, 20));
    let refused = read(&app, &[("accept", "text/html")]).await;
    assert_eq!(refused.header("server-timing"), timing(0, 0, 0, 0));
    assert_eq!(app.get("/livez").await.header("server-timing"), "");
}

#[tokio::test(start_paused = true)]
async fn preferences_count_as_told_and_others_are_ignored() {
    let app = TestApp::new().start().await;
    let prefer = async |value: &str, tier: &str| write(&app, &[("prefer", value)], tier).await;
    let minimal = prefer("return=minimal, wait=7", "gold").await;
    assert_eq!((minimal.status, minimal.text.as_str()), (204, ""));
    assert_eq!(minimal.header("preference-applied"), "wait=7, return=minimal");
    assert_ne!(minimal.header("etag"), "");
    for (value, applied) in [
        ("wait=3600", "wait=60"),
        ("wait=0.5", ""),
        ("wait=-1", ""),
        ("wait=soon", ""),
        ("respond-async", ""),
        ("return=representation", ""),
        ("wait=2;x=y, handling=strict", "wait=2"),
    ] {
        let answer = prefer(value, "gold").await;
        assert_eq!(answer.assert_status(200).header("preference-applied"), applied, "{value}");
    }
    app.simulator.set_settings(|settings| settings.lag = ms(60_000));
    let late = prefer("wait=1, return=minimal", "platinum").await;
    assert_eq!(late.assert_status(202).header("preference-applied"), "wait=1");
    assert!(late.took <= ms(1100), "{:?}", late.took);
    let late = write(&app, &[], "diamond").await;
    assert!(late.took > ms(4000) && late.took <= ms(5100), "the default of 5 s: {:?}", late.took);
}

#[tokio::test(start_paused = true)]
async fn attributes_are_kept_by_no_cache_and_given_to_no_other_origin() {
    let app = TestApp::new().start().await;
    let answers = [
        read(&app, &[("origin", "https://elsewhere.example")]).await,
        write(&app, &[("origin", "https://elsewhere.example")], "gold").await,
        app.read("nope", "").await,
        app.read("0dd00000-0000-4000-8000-000000000001", "").await,
    ];
    for answer in answers {
        assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.status);
        let cors = answer.headers.keys().any(|name| name.as_str().starts_with("access-control"));
        assert!(!cors, "{:?}", answer.headers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_used_again_is_said_to_be_closing() {
    let app = TestApp::new().start().await;
    let length = ("content-length", "26");
    let body = r#"{"attributes":{"tier":""}}"#;
    let path = attributes_of(CALL);
    // Refused before its body was read: what is left of it would be taken for the next request.
    let refused = app.put("/v1/conversations/x/attributes", &[length], body).await;
    assert_eq!((refused.status, refused.header("connection")), (400, "close"));
    let read = app.put(&path, &[length], body).await;
    assert_eq!((read.status, read.header("connection")), (200, ""));
    app.service().shutdown().begin(ms(1000));
    for path in ["/readyz", path.as_str()] {
        let answer = app.get(path).await;
        assert_eq!((answer.status, answer.header("connection")), (503, "close"));
    }
}

#[tokio::test(start_paused = true)]
async fn accept_patch_is_sent_on_options_and_415() {
    let app = TestApp::new().start().await;
    let (path, yaml) = (attributes_of(CALL), [("content-type", "application/yaml")]);
    let accepted = "application/json, application/merge-patch+json";
    for (method, path, status, accepted) in [
        ("PATCH", path.as_str(), 415, accepted),
        ("PATCH", &format!("{path}?view=flat"), 415, accepted),
        ("OPTIONS", &path, 405, accepted),
        ("POST", &path, 405, accepted),
        ("PUT", &path, 415, ""),
        ("PATCH", &format!("{path}/tier"), 405, ""),
        ("OPTIONS", "/livez", 405, ""),
    ] {
        let answer = app.ask((method, path), &yaml, "a: 1").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.header("accept-patch"), accepted, "{method} {path}");
        assert_eq!(answer.header("allow").is_empty(), status == 415, "{method} {path}");
    }
}
