//! The live view: who may use it, what it shows, and that no viewer can hold it up; and the trace of one
//! call as a lease.

use std::time::Duration;

use attribute_gateway::http::PeerInfo;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::harness::{
    Answer, Builder, CALL, Process, TestApp, attributes_of, client, ms, once, request, send, shown,
};

const EVENTS: &str = "/v1/live/events";
const OPERATOR: &str = "operate = true\naccess = \"read\"\nallow = []";

fn trace_of(conversation: &str) -> String {
    format!("/v1/conversations/{conversation}/trace")
}

fn with_operator() -> Builder {
    TestApp::new().with_clients(&[client("crm", "k", ""), client("ops", "o", OPERATOR)])
}

async fn ask_as(app: &TestApp, key: &str, method: &str, path: &str) -> Answer {
    app.ask((method, path), &[shown(key)], "").await
}

/// A viewer's stream.
struct Viewer(Body);

impl Viewer {
    async fn open(app: &TestApp, key: &str) -> Self {
        let (name, value) = shown(key);
        let request = request("GET", EVENTS).header(name, value).body(Body::empty());
        let answer = app.router().oneshot(request.expect("a request")).await.expect("infallible");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self(answer.into_body())
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        let frame = self.0.frame().await?.expect("no error").into_data().expect("bytes");
        let text = String::from_utf8(frame.to_vec()).expect("text");
        let data = text.strip_prefix("data: ").and_then(|text| text.strip_suffix("\n\n"));
        Some(serde_json::from_str(data.expect("one event")).expect("JSON"))
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_client_that_may_operate_uses_the_live_view_and_it_sees_no_attribute() {
    let app = with_operator().start().await;
    let trace = trace_of(CALL);
    let asked =
        [("GET", "/live"), ("GET", EVENTS), ("GET", trace.as_str()), ("POST", trace.as_str())];
    for (method, path) in asked {
        let refused = ask_as(&app, "k", method, path).await;
        refused.assert_problem(403, "operate-not-allowed", "notApplied");
        let stranger = app.ask((method, path), &[], "").await;
        stranger.assert_problem(401, "unauthenticated", "notApplied");
        let schemes: Vec<_> = stranger.headers.get_all("www-authenticate").iter().collect();
        let is_basic = |scheme: &&http::HeaderValue| scheme.as_bytes().starts_with(b"Basic realm=");
        assert!(schemes.iter().any(is_basic), "{schemes:?}");
    }
    let page = ask_as(&app, "o", "GET", "/live").await;
    page.assert_status(200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text.contains("<script src=\"docs/live.js\">"), "{}", page.text);
    assert_eq!(page.text.matches("<script").count(), 1);
    assert!(!page.text.contains("://") && !page.text.contains("style="), "{}", page.text);
    let script = app.get("/docs/live.js").await;
    assert_eq!(script.assert_status(200).header("content-type"), "text/javascript");
    // The right adds nothing to the rights on attributes.
    let path = attributes_of(CALL);
    let read = ask_as(&app, "o", "GET", &format!("{path}?keys=tier")).await;
    read.assert_problem(403, "attribute-not-allowed", "notApplied");
    assert_eq!(ask_as(&app, "o", "GET", &path).await.at("/attributes"), json!({}));
    let write = json!({"attributes": {"tier": "gold"}}).to_string();
    let write = app.put(&path, &[shown("o")], write).await;
    write.assert_problem(403, "read-only-client", "notApplied");
}

/// A request for the page from the client at `address`, over a connection from `socket`.
async fn page_from(app: &TestApp, address: &str, socket: &str) -> Answer {
    let mut peer = PeerInfo::from_address(address.parse().expect("an address"));
    peer.socket = socket.parse().expect("an address");
    let mut request: Request<Body> =
        request("GET", "/live").header("host", "x").body(Body::empty()).expect("one");
    request.extensions_mut().insert(peer);
    send(app.router(), request).await
}

#[tokio::test(start_paused = true)]
async fn without_clients_only_this_machine_may_operate() {
    let app = TestApp::new().start().await;
    for local in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
        let socket = if local.starts_with("[::f") { "127.0.0.1:9" } else { local };
        page_from(&app, local, socket).await.assert_status(200);
    }
    for (address, socket) in [
        ("192.0.2.7:9", "192.0.2.7:9"),
        ("192.0.2.7:9", "127.0.0.1:9"),
        ("127.0.0.1:9", "10.0.0.1:9"),
    ] {
        let refused = page_from(&app, address, socket).await;
        refused.assert_problem(403, "operate-not-allowed", "notApplied");
    }
    app.get(EVENTS).await.assert_problem(403, "operate-not-allowed", "notApplied");
}

#[tokio::test(start_paused = true)]
#[expect(clippy::too_many_lines, reason = "one event, member by member")]
async fn an_event_shows_the_state_and_no_key_value_or_number() {
    let app = with_operator().with_lag(ms(100)).start().await;
    let body = json!({"attributes": {"canary-key": "canary-value"}}).to_string();
    app.put(&attributes_of(CALL), &[shown("k")], body).await.assert_status(200);
    let search = [shown("k"), ("content-type", "application/json")];
    let found = ("POST", "/v1/conversations/search");
    app.ask(found, &search, r#"{"ani":"+15550100111"}"#).await.assert_status(200);
    ask_as(&app, "k", "GET", "/v1/conversations/nope/attributes").await.assert_status(400);
    ask_as(&app, "wrong", "GET", &attributes_of(CALL)).await.assert_status(401);
    tokio::time::sleep(Duration::from_secs(3)).await;

    let event = Viewer::open(&app, "o").await.next().await.expect("an event");
    let text = event.to_string();
    for hidden in ["canary", "15550100111", "loyalty", "tier", "silver"] {
        assert!(!text.contains(hidden), "{hidden} is in {event:#}");
    }
    assert_eq!(event["ready"], true);
    assert!(event["at"].as_str().is_some_and(|at| at.ends_with('Z')));
    let budget = &event["budget"];
    assert_eq!((&budget["limit"], &budget["windowSeconds"]), (&json!(300), &json!(60.0)));
    assert!(budget["available"].as_u64().is_some_and(|left| (200..300).contains(&left)));
    assert!(budget.get("throttledSeconds").is_none());
    let calls = u64::try_from(app.upstream_calls()).expect("few") + 1;
    assert_eq!(budget["clients"], json!([{"client": "crm", "calls": calls}]), "{event:#}");
    let upstream: Vec<_> = event["upstream"].as_array().expect("a list").iter().collect();
    let state = |one: &&Value| (one["name"].clone(), one["state"].clone());
    let ok = ["conversations", "analytics", "token"].map(|name| (json!(name), json!("ok")));
    assert_eq!(upstream.iter().map(state).collect::<Vec<_>>(), ok);
    assert_eq!(
        (&event["token"]["state"], &event["token"]["ageSeconds"]),
        (&json!("valid"), &json!(3))
    );
    assert!(event["token"]["expiresInSeconds"].as_u64().is_some_and(|left| left > 60));
    assert_eq!(event["writes"], json!({"waiting": 0, "inFlight": 0}));
    let lag = &event["visibilityLag"];
    assert!(lag["p50Ms"].as_f64().is_some_and(|lag| (50.0..=200.0).contains(&lag)), "{event:#}");
    assert_eq!(lag["p50Ms"], lag["p95Ms"]);
    let operations = event["operations"].as_array().expect("a list");
    let seen: Vec<_> = operations
        .iter()
        .map(|one| {
            json!([
                one["method"],
                one["client"],
                one["conversationId"],
                one["status"],
                one["code"],
                one["effect"]
            ])
        })
        .collect();
    // Newest first; a stranger is not shown.
    let expected = [
        json!(["GET", "crm", null, 400, "invalid-conversation-id", "notApplied"]),
        json!(["POST", "crm", null, 200, null, "notApplied"]),
        json!(["PUT", "crm", CALL, 200, null, "applied"]),
    ];
    assert_eq!(seen, expected);
    assert!(operations[2]["calls"].as_u64().is_some_and(|calls| calls >= 2));
    assert!(operations[2]["durationMs"].as_f64().is_some_and(|took| took >= 100.0));
}

#[tokio::test(start_paused = true)]
async fn a_throttle_of_upstream_and_the_last_twenty_operations_are_shown() {
    let fault = genesys_simulator::FaultAction::Throttle { retry_after: Some(30) };
    let fault = genesys_simulator::ScriptedFault::on_read(fault);
    let app = with_operator().with_fault(fault).start().await;
    for _ in 0..25 {
        let _ = ask_as(&app, "k", "GET", &attributes_of(CALL)).await;
    }
    let mut viewer = Viewer::open(&app, "o").await;
    let event = viewer.next().await.expect("an event");
    assert_eq!(event["operations"].as_array().map(Vec::len), Some(20));
    assert_eq!(event["operations"][0]["code"], "upstream-rate-limited");
    assert_eq!(event["budget"]["available"], 0);
    let left = event["budget"]["throttledSeconds"].as_f64().expect("throttled");
    let next = viewer.next().await.expect("an event")["budget"]["throttledSeconds"].as_f64();
    assert!((left - next.expect("throttled") - 1.0).abs() < 0.01, "an event a second");
}

#[tokio::test(start_paused = true)]
async fn there_are_at_most_64_viewers_and_without_any_nothing_runs() {
    let app = with_operator().start().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut viewers = Vec::new();
    for _ in 0..64 {
        viewers.push(Viewer::open(&app, "o").await);
    }
    assert_eq!(tasks(), before + 1, "one task for all");
    for _ in 64..100 {
        let refused = tokio::time::timeout(ms(100), ask_as(&app, "o", "GET", EVENTS)).await;
        let refused = refused.expect("an answer that ends");
        refused.assert_problem(503, "overloaded", "notApplied");
        assert_eq!(refused.header("retry-after"), "1");
    }
    let counted = async || ask_as(&app, "o", "GET", "/metrics").await.text;
    assert!(counted().await.contains("\nattribute_gateway_live_viewers 64\n"));
    viewers.pop();
    assert!(counted().await.contains("\nattribute_gateway_live_viewers 63\n"));
    viewers.push(Viewer::open(&app, "o").await);
    drop(viewers);
    tokio::time::sleep(ms(1100)).await;
    assert_eq!(tasks(), before, "the task has ended");
    Viewer::open(&app, "o").await.next().await.expect("it starts again");
}

#[tokio::test(start_paused = true)]
async fn a_viewer_that_stops_reading_is_dropped_and_others_go_on() {
    let app = with_operator().start().await;
    let mut stalled = Vec::new();
    for _ in 0..63 {
        stalled.push(Viewer::open(&app, "o").await);
    }
    let mut reads = Viewer::open(&app, "o").await;
    for _ in 0..20 {
        reads.next().await.expect("it goes on");
    }
    // Their places are free, although their connections are not closed yet.
    for _ in 0..63 {
        let _ = Viewer::open(&app, "o").await;
    }
    let mut left = 0;
    while stalled[0].next().await.is_some() {
        left += 1;
        assert!(left <= 16, "it is not dropped");
    }
    assert_eq!(left, 16, "what was unread, and then the end");
    reads.next().await.expect("it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_streams() {
    let app = with_operator().start().await;
    let mut viewer = Viewer::open(&app, "o").await;
    viewer.next().await.expect("an event");
    app.service().shutdown().begin(Duration::from_secs(10));
    let end = tokio::time::timeout(ms(10), viewer.next()).await;
    assert_eq!(end.expect("at once"), None);
    let refused = ask_as(&app, "o", "GET", EVENTS).await;
    refused.assert_problem(503, "shutting-down", "notApplied");
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_a_lease_that_ends_by_itself() {
    let other = "5eed0000-0000-4000-8000-00000000dead";
    let operator = "operate = true";
    let clients = [client("ops", "o", operator), client("crm", "k", "")];
    let app = TestApp::new().with_clients(&clients).start().await;
    ask_as(&app, "k", "GET", &attributes_of(CALL)).await.assert_status(200);
    let off = ask_as(&app, "o", "GET", &trace_of(CALL)).await;
    off.assert_problem(404, "not-found", "notApplied");

    let on = ask_as(&app, "o", "POST", &format!("{}?for=90s", trace_of(CALL))).await;
    assert_eq!(
        on.assert_status(200).json(),
        json!({"conversationId": CALL, "expiresInSeconds": 90})
    );
    ask_as(&app, "k", "GET", &attributes_of(CALL)).await.assert_status(200);
    ask_as(&app, "k", "GET", &attributes_of(other)).await.assert_status(404);
    let trace = ask_as(&app, "o", "GET", &trace_of(CALL)).await;
    assert_eq!(trace.at("/requests").as_array().map(Vec::len), Some(1), "what came since");
    assert_eq!(trace.at("/requests/0/caller/client"), "crm");
    assert_eq!(trace.at("/requests/0/attempts/0/operation"), "read");
    ask_as(&app, "o", "GET", &trace_of(other)).await.assert_status(404);
    ask_as(&app, "k", "GET", &trace_of(CALL)).await.assert_status(403);

    tokio::time::sleep(Duration::from_secs(89)).await;
    ask_as(&app, "o", "GET", &trace_of(CALL)).await.assert_status(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ask_as(&app, "o", "GET", &trace_of(CALL)).await.assert_status(404);
    ask_as(&app, "k", "GET", &attributes_of(CALL)).await.assert_status(200);
    let again = ask_as(&app, "o", "POST", &trace_of(CALL)).await;
    assert_eq!(again.at("/expiresInSeconds"), 600);
    let trace = ask_as(&app, "o", "GET", &trace_of(CALL)).await;
    assert_eq!(trace.at("/requests"), json!([]), "nothing of an earlier lease, or between");
}

#[tokio::test(start_paused = true)]
async fn at_most_32_calls_are_traced_and_for_an_hour_at_most() {
    let app = TestApp::new().with_clients(&[client("ops", "o", "operate = true")]).start().await;
    let path = |number: usize| trace_of(&format!("5eed0000-0000-4000-8000-{number:012}"));
    for wrong in ["0s", "61m", "ten", ""] {
        let refused = ask_as(&app, "o", "POST", &format!("{}?for={wrong}", path(0))).await;
        refused.assert_problem(400, "invalid-query", "notApplied");
    }
    for number in 0..32 {
        ask_as(&app, "o", "POST", &format!("{}?for=1h", path(number))).await.assert_status(200);
    }
    let refused = ask_as(&app, "o", "POST", &path(32)).await;
    refused.assert_problem(503, "overloaded", "notApplied");
    ask_as(&app, "o", "POST", &format!("{}?for=1s", path(0))).await.assert_status(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    ask_as(&app, "o", "POST", &path(32)).await.assert_status(200);
}

#[tokio::test]
async fn top_shows_one_frame_and_a_stream_outlasts_the_idle_timeout() {
    let demo = Process::demo(&[], &[("GATEWAY__SERVER__IDLE_TIMEOUT", "1s")]).await;
    let shown = once(&["top", "--once", "--url", &demo.gateway], &[]).await;
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in ["limit 300 in 60 s", "conversations ok", "token      valid", "CONVERSATION"] {
        assert!(shown.out.contains(part), "no `{part}` in {}", shown.out);
    }
    let address = demo.gateway.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("GET {EVENTS} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let (mut text, mut buffer) = (String::new(), vec![0; 65536]);
    while text.matches("data: ").count() < 4 {
        let count = stream.read(&mut buffer).await.expect("it goes on");
        assert!(count > 0, "the stream has ended after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let nobody = once(&["top", "--once", "--url", "http://127.0.0.1:1"], &[]).await;
    assert!(nobody.code == 1 && !nobody.err.is_empty(), "{nobody:?}");
}

#[tokio::test]
async fn top_shows_its_key_and_says_why_it_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path.to_str().expect("text").to_owned()
    };
    let clients = [client("ops", "o", OPERATOR), client("crm", "k", "")].concat();
    let clients = file("clients.toml", &clients);
    let demo = Process::demo(&[], &[("GATEWAY__AUTH__CLIENTS_FILE", clients.as_str())]).await;
    let (url, key) = (["top", "--once", "--url", demo.gateway.as_str()], file("key", "o\n"));
    let by_file = once(&[url.as_slice(), &["--key-file", &key]].concat(), &[]).await;
    let by_variable = once(&url, &[("GATEWAY_KEY", "o")]).await;
    for shown in [by_file, by_variable] {
        assert!(shown.code == 0 && shown.out.contains("limit 300"), "{shown:?}");
    }
    for (env, why) in [
        (&[("GATEWAY_KEY", "k")][..], "this client may not operate"),
        (&[("GATEWAY_KEY", "wrong")], "answered 401"),
        (&[], "answered 401"),
    ] {
        let refused = once(&url, env).await;
        assert!(refused.code == 1 && refused.err.contains(why), "{refused:?}");
    }
}
