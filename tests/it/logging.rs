//! The log: one line a request with everything to find it by, and never a value, secret or token.

use std::time::Duration;

use attribute_gateway::error::ErrorCode;
use attribute_gateway::telemetry::{LogLineFormat, LogOutput, TelemetryOutput};
use axum::body::Body;
use genesys_simulator::{FaultAction, ScriptedFault, SimulatedCall};
use http::Request;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Builder, CALL, CUSTOMER, MemoryOutput, Overheard, TestApp, attributes_of, defective,
    defective_in_patch, request, send, shown,
};
use crate::problems::{CANARY, ROWS, provoke};

const SECRET: &str = "canary-secret-91ab";
/// Stands in every value, of ours and of others.
const MARK: &str = "canary";

/// A platform on which every secret text holds the mark.
fn marked(format: &str, ears: &Overheard) -> Builder {
    let values = [("language", "canary-en"), ("tier", "canary-silver"), ("source", "canary-web")];
    TestApp::new()
        .without_calls()
        .with_call(SimulatedCall::new(CALL).customer(CUSTOMER, values).named("canary Doe"))
        .with_settings(|settings| SECRET.clone_into(&mut settings.client_secret))
        .with_env("GENESYS_CLIENT_SECRET", SECRET)
        .with_env("GATEWAY__LOG__FORMAT", format)
        .with_env("GATEWAY__DEBUG__ENABLED", "true")
        .with_env("GATEWAY__TRACING__HEADERS", "x-key=canary-key")
        .with_env("GATEWAY__TRACING__ENDPOINT", "https://collector.test")
        .recorded_in(&MemoryOutput::default())
        .overheard_by(ears)
}

/// Fails if the text holds a value, the secret, or a token that was used.
#[track_caller]
fn assert_discreet(what: &str, text: &str, ears: &Overheard) {
    assert!(!text.contains(MARK), "{what}: {text}");
    let ears = ears.lock().expect("no holder panics");
    for sent in ears.iter() {
        let credential = sent.split(' ').nth(1).expect("a scheme and a credential");
        assert!(!text.contains(credential), "{what}: {text}");
    }
}

async fn everything_it_tells(app: &TestApp) -> String {
    let mut output = app.logs.text();
    let trace = format!("/v1/conversations/{CALL}/trace");
    for path in ["/metrics", "/readyz?verbose", &trace] {
        // Where clients are known, this is the key of one; elsewhere it is nothing.
        output.push_str(&app.ask(("GET", path), &[shown("k")], "").await.text);
    }
    let spans = app.spans().await;
    assert!(!spans.is_empty(), "there are spans");
    output + &app.records.text() + &app.collector.bodies()
}

/// A problem without what its client may see: the map in the answer to a superseded write.
fn without_the_map(answer: &Answer) -> String {
    let mut problem = answer.json();
    if problem["code"] == "write-superseded" {
        problem["attributes"] = Value::Null;
    }
    problem.to_string()
}

#[tokio::test(start_paused = true)]
async fn no_value_or_secret_is_in_logs_metrics_or_problems() {
    for format in ["json", "text"] {
        let mut tokens = 0;
        for (code, ..) in ROWS {
            let ears = Overheard::default();
            let (app, answer) = provoke(code, marked(format, &ears)).await;
            assert_discreet(code.as_str(), &without_the_map(&answer), &ears);
            let output = everything_it_tells(&app).await;
            assert!(output.contains("\nattribute_gateway_build_info"), "the metrics were written");
            assert_discreet(code.as_str(), &output, &ears);
            tokens += ears.lock().expect("no holder panics").len();
        }
        assert!(tokens > ROWS.len(), "tokens were overheard");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_repeats_values_is_logged_without_them() {
    let ears = Overheard::default();
    let status = FaultAction::Status { code: 401, body: None, retry_after: None };
    let app = marked("json", &ears)
        .with_fault(ScriptedFault::on_patch(FaultAction::EchoRejection))
        .with_fault(ScriptedFault::on_read(FaultAction::GarbageJson).skip(2))
        .with_fault(ScriptedFault::on_patch(FaultAction::ResetAfter))
        .with_fault(ScriptedFault::on_read(status).skip(4))
        .start()
        .await;
    let awkward =
        json!({"tier": format!("{CANARY} \"quoted\"\n<&>"), "note": CANARY, "tiny": "canary"});
    let rejected = app.write(CALL, "", awkward.clone()).await;
    rejected.assert_problem(502, "upstream-rejected", "notApplied");
    assert!(rejected.text.contains("invalid.value"), "{}", rejected.text);
    assert_discreet("the rejection", &rejected.text, &ears);
    let read = app.read(CALL, "").await;
    assert!(read.text.contains("canary-silver"), "callers see values: {}", read.text);
    for query in ["", "?verify=none", "?dryRun=true"] {
        let _ = app.write(CALL, query, awkward.clone()).await;
        let _ = app.read(CALL, "?participant=all").await;
    }
    let whole = app.get(&format!("/v1/conversations/{CALL}")).await;
    assert!(whole.text.contains("canary Doe"), "callers see names: {}", whole.text);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(app.truth(CUSTOMER)["note"], CANARY);
    assert!(app.records.text().contains(r#""record":"outcome""#), "writes are recorded");
    assert_discreet("the log", &everything_it_tells(&app).await, &ears);
}

#[tokio::test(start_paused = true)]
async fn other_write_forms_are_logged_without_values() {
    let ears = Overheard::default();
    let rejects = ScriptedFault::on_patch(FaultAction::EchoRejection);
    let app = marked("json", &ears).with_fault(rejects).start().await;
    let path = attributes_of(CALL);
    let (one, flat) = (format!("{path}/tier"), format!("{path}/tier?view=flat"));
    let (text, json) = (("content-type", "text/plain"), ("content-type", "application/json"));
    let rejected = app.ask(("PUT", &flat), &[text], CANARY).await;
    rejected.assert_status(200);
    assert_eq!(rejected.at("/code"), "upstream-rejected");
    assert_discreet("the flat rejection", &rejected.text, &ears);
    let merge = format!(r#"{{"attributes":{{"a":"{CANARY}","b":null,"c":["{CANARY}"]}}}}"#);
    for (method, path, headers, body) in [
        ("PUT", &one, &[json], format!(r#"{{"key":"{CANARY}","value":["{CANARY}"]}}"#)),
        ("PUT", &one, &[json], format!(r#"{{"value":"{CANARY}"#)),
        ("PATCH", &path, &[json], merge),
        ("PUT", &one, &[("content-type", "text/csv")], CANARY.to_owned()),
    ] {
        let mistaken = app.ask((method, path), headers, body).await;
        assert!((400..500).contains(&mistaken.status), "{}", mistaken.text);
        assert_discreet("a mistake", &mistaken.text, &ears);
    }
    app.ask(("PUT", &one), &[text], CANARY).await.assert_status(200);
    let read = app.ask(("GET", &one), &[("accept", "text/plain")], "").await;
    assert_eq!(read.assert_status(200).text, CANARY, "callers see values");
    app.ask(("DELETE", &one), &[], "").await.assert_status(200);
    assert_discreet("the log", &everything_it_tells(&app).await, &ears);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_logged_by_location_with_unknown_effect() {
    let (output, log) = LogOutput::captured();
    let telemetry = TelemetryOutput::new(output, LogLineFormat::Json, "trace").expect("a filter");
    let _here = tracing::dispatcher::set_default(telemetry.dispatch());
    let before = std::panic::take_hook();
    telemetry.install();
    let router = defective(CANARY);
    let read = request("GET", &attributes_of(CALL)).body(Body::empty()).expect("a request");
    let read = send(router.clone(), read).await;
    let unsent = send(router.clone(), numbered("PUT", CALL, "crm-0")).await;
    let sending = defective_in_patch(CANARY);
    let write = send(sending, numbered("PUT", CALL, "crm-1")).await;
    let alive =
        send(router, request("GET", "/livez").body(Body::empty()).expect("a request")).await;
    std::panic::set_hook(before);
    read.assert_problem(500, "internal", "notApplied");
    unsent.assert_problem(500, "internal", "notApplied");
    write.assert_problem(500, "internal", "unknown");
    alive.assert_status(200);
    let text = log.text();
    for output in [&read.text, &write.text, &text] {
        assert!(!output.contains(MARK) && !output.contains("on purpose"), "{output}");
    }
    let place = r#""message":"panicked","code.file":"tests/it/harness/defect.rs","code.line":"#;
    assert_eq!(text.matches(place).count(), 3, "{text}");
    let line = lines(&text)
        .into_iter()
        .find(|line| line["request.id"] == "crm-1" && line["target"] == "access");
    let line = line.expect("the write has its line");
    assert_eq!((&line["effect"], &line["http.status"]), (&json!("unknown"), &json!(500)));
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line is a JSON object")).collect()
}

fn numbered(method: &str, conversation: &str, id: &str) -> Request<Body> {
    request(method, &attributes_of(conversation))
        .header("content-type", "application/json")
        .header("x-request-id", id)
        .body(json!({"attributes": {"tier": CANARY}}).to_string().into())
        .expect("a request")
}

const OTHER: &str = "0dd00000-0000-4000-8000-000000000001";
const ROUTE: &str = "/v1/conversations/{conversationId}/attributes";

/// Request id, method, status, upstream calls, milliseconds, effect, code.
type Found = (&'static str, &'static str, u16, u32, f64, &'static str, Option<&'static str>);

const FOUND: [Found; 5] = [
    ("r-1", "GET", 200, 1, 20.0, "notApplied", None),
    ("r-2", "PUT", 200, 3, 60.0, "applied", None),
    ("r-3", "PUT", 200, 1, 20.0, "notApplied", None),
    ("r-4", "PUT", 404, 1, 20.0, "notApplied", Some("conversation-not-found")),
    ("r-5", "POST", 405, 0, 0.0, "notApplied", Some("method-not-allowed")),
];

#[tokio::test(start_paused = true)]
async fn each_request_has_one_line_with_all_that_it_can_be_found_by() {
    let app = TestApp::new().reading_first().with_lag(Duration::ZERO).start().await;
    for (method, conversation, id) in [
        ("GET", CALL, "r-1"),
        ("PUT", CALL, "r-2"),
        ("PUT", CALL, "r-3"),
        ("PUT", OTHER, "r-4"),
        ("POST", CALL, "r-5"),
    ] {
        let _ = app.send(numbered(method, conversation, id)).await;
    }
    let all = lines(&app.logs.text());
    let shown = |id: &str| {
        let mut found =
            all.iter().filter(|line| line["target"] == "access" && line["request.id"] == id);
        let line = found.next().expect("a line").clone();
        assert!(found.next().is_none(), "two lines for {id}");
        assert!(line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')));
        line
    };
    let read = shown("r-1");
    let correlation = &app.simulator.calls().into_iter().find(|call| call.conversation.is_some());
    assert_eq!(read["correlation.id"], correlation.as_ref().expect("a call").correlation_id);
    for (id, method, status, calls, took, effect, code) in FOUND {
        let line = shown(id);
        let conversation = if id == "r-4" { OTHER } else { CALL };
        for (field, value) in [
            ("http.method", json!(method)),
            ("http.route", json!(ROUTE)),
            ("http.status", json!(status)),
            ("duration_ms", json!(took)),
            ("conversation.id", json!(conversation)),
            ("upstream.calls", json!(calls)),
            ("effect", json!(effect)),
            ("problem.code", json!(code)),
            ("level", json!("INFO")),
        ] {
            assert_eq!(line[field], value, "{field} of {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn probes_and_scrapes_are_logged_at_debug_and_all_else_at_info() {
    let app = TestApp::new().start().await;
    for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics", "/docs", "/nowhere"] {
        let _ = app.get(path).await;
    }
    let found: Vec<_> = lines(&app.logs.text())
        .into_iter()
        .filter(|line| line["target"] == "access")
        .map(|line| format!("{} {}", line["level"], line["http.route"]))
        .collect();
    let debug = ["/livez", "/readyz", "/readyz", "/metrics"].map(|path| ("DEBUG", path));
    let expected = debug.iter().chain(&[("INFO", "/docs"), ("INFO", "-")]);
    let expected: Vec<_> = expected.map(|(level, path)| format!("{level:?} {path:?}")).collect();
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn the_line_holds_the_same_as_text() {
    let builder = TestApp::new().with_lag(Duration::ZERO).with_env("GATEWAY__LOG__FORMAT", "text");
    let app = builder.start().await;
    let _ = app.send(numbered("PUT", CALL, "t-1")).await;
    let text = app.logs.text();
    let found: Vec<_> = text.lines().filter(|line| line.contains("request.id=\"t-1\"")).collect();
    let [line] = found.as_slice() else { panic!("one line, not {found:?}") };
    let line = line.split_once("  INFO access: ").expect("time and level first").1;
    let line = line.split(" correlation.id=").next().expect("one");
    assert_eq!(
        line,
        format!(
            "http.method=\"PUT\" http.route=\"{ROUTE}\" http.status=200 duration_ms=60.0 \
             request.id=\"t-1\" conversation.id={CALL} upstream.calls=3 effect=\"applied\""
        )
    );
    assert!(!ErrorCode::ALL.iter().any(|code| text.contains(code.as_str())), "{text}");
}
