//! What only sockets and processes show: hang-ups, slow and flooding clients, and signals. In real
//! time, so nothing here asserts how long something took but by generous bounds.

use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::{Collector, Demo, Process, attributes_of, client, fetch, once, until};

/// The first call of the demonstration, and its customer.
const CALL: &str = "11111111-1111-4111-8111-111111111111";

impl Demo {
    fn attributes(&self) -> String {
        format!("{}{}", self.gateway, attributes_of(CALL))
    }

    /// Opens a connection and sends this.
    async fn sends(&self, bytes: &str) -> TcpStream {
        let address = self.gateway.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(bytes.as_bytes()).await.expect("it reads");
        stream
    }

    /// Sends the head of a write with these headers, and then `rest`.
    async fn begins_write(&self, headers: &str, rest: &str) -> TcpStream {
        let path = attributes_of(CALL);
        let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        self.sends(&format!("{head}{headers}\r\n{rest}")).await
    }

    async fn ledger_shows(&self, key: &str, value: &str) {
        until("the write lands", async || {
            let ledger = self.sim("ledger").await;
            let written =
                |entry: &Value| entry["changes"][key] == value && entry["writer"] == "gateway";
            ledger.as_array().expect("entries").iter().any(written).then_some(())
        })
        .await;
    }

    /// Waits until the simulator has got the read before a write, whose answer is still to come.
    async fn read_is_under_way(&self) {
        until("the read arrives", async || (self.reads_so_far().await > 0).then_some(())).await;
    }

    /// How many reads the simulator has got.
    async fn reads_so_far(&self) -> usize {
        let calls = self.sim("calls").await;
        let calls = calls.as_array().expect("calls");
        calls.iter().filter(|call| call["kind"] == "read").count()
    }
}

/// Everything up to the end of the connection, or of the answer that it holds.
async fn answer(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut text)).await;
    // A connection that is reset after the answer has brought it all the same.
    let _ = read.expect("the connection ends");
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn a_chunked_body_is_read_whatever_its_pieces() {
    let demo = Process::demo(&[], &[]).await;
    let body = r#"{"attributes":{"crm_customer_id":"CRM-1"}}"#;
    let pieces: Vec<_> = body.chars().map(|piece| format!("1\r\n{piece}\r\n")).collect();
    let chunks = pieces.concat() + "0\r\n\r\n";
    let headers = "Transfer-Encoding: chunked\r\nConnection: close\r\n";
    let text = answer(demo.begins_write(headers, &chunks).await).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.contains(r#""outcomes":{"crm_customer_id":"verified"}"#), "{text}");
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused_before_its_end() {
    let demo = Process::demo(&[], &[]).await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    // The last chunk never comes.
    let stream = demo.begins_write("Transfer-Encoding: chunked\r\n", &chunk.repeat(2)).await;
    let text = answer(stream).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains(r#""code":"body-too-large""#), "{text}");
    assert_eq!(demo.sim("ledger").await, json!([]));
}

#[tokio::test]
async fn a_caller_that_sends_too_slowly_is_let_go() {
    let patience =
        [("GATEWAY__SERVER__BODY_TIMEOUT", "300ms"), ("GATEWAY__SERVER__HEADER_TIMEOUT", "300ms")];
    let demo = Process::demo(&[], &patience).await;
    let start = Instant::now();
    let text = answer(demo.begins_write("Content-Length: 100\r\n", r#"{"attributes""#).await).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains(r#""code":"request-timeout""#), "{text}");
    assert!(text.to_ascii_lowercase().contains("connection: close"), "{text}");
    // A head that does not end holds no request, so the connection just ends.
    assert_eq!(answer(demo.sends("GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ").await).await, "");
    // The deadline of 5 s and the default patience of 10 s are further away.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(fetch("GET", &demo.attributes(), "").await.status(), 200);
    assert_eq!(demo.sim("ledger").await, json!([]));
}

#[tokio::test]
async fn a_flood_of_headers_or_garbage_is_refused() {
    let demo = Process::demo(&[], &[]).await;
    let many = (0..5000).map(|n| format!("X-Flood-{n}: {n}\r\n")).collect::<Vec<_>>().concat();
    let long = format!("X-Flood: {}\r\n", "x".repeat(1 << 20));
    for headers in [many, long] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        let address = demo.gateway.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // It may close before it has read it all.
        let _ = stream.write_all(request.as_bytes()).await;
        let text = answer(stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431 "), "{text}");
    }
    for nonsense in ["\0\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PUT\r\n\r\n"] {
        let text = answer(demo.sends(nonsense).await).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    }
    assert_eq!(fetch("GET", &demo.attributes(), "").await.status(), 200);
}

#[tokio::test]
async fn a_write_goes_on_when_its_caller_hangs_up() {
    let demo = Process::demo(&[], &[]).await;
    demo.set(json!({"latency": "500ms"})).await;
    let body = r#"{"attributes":{"crm_customer_id":"CRM-2"}}"#;
    let head = format!("Content-Length: {}\r\nX-Request-Id: hung-up\r\n", body.len());
    let stream = demo.begins_write(&head, body).await;
    demo.read_is_under_way().await;
    drop(stream);
    assert_eq!(demo.sim("ledger").await, json!([]), "it hung up before the PATCH");
    demo.ledger_shows("crm_customer_id", "CRM-2").await;
    let log = demo.process.wrote(r#""request.id":"hung-up""#).await;
    let line = log.lines().find(|line| line.contains("hung-up")).expect("a line");
    assert!(
        line.contains(r#""http.status":499"#) && line.contains(r#""effect":"unknown""#),
        "{line}"
    );
}

#[tokio::test]
async fn sigterm_lets_a_running_write_finish_and_refuses_new_ones() {
    let mut demo = Process::demo(&[], &[]).await;
    demo.set(json!({"latency": "700ms", "lag": "0s"})).await;
    let (url, body) = (demo.attributes(), r#"{"attributes":{"crm_customer_id":"CRM-3"}}"#);
    let running = tokio::spawn(async move { fetch("PUT", &url, body).await });
    demo.read_is_under_way().await;
    demo.process.signal("TERM");
    let ready = format!("{}/readyz", demo.gateway);
    let unready = until("/readyz is 503", async || {
        let answer = fetch("GET", &ready, "").await;
        (answer.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(answer)
    })
    .await;
    assert_eq!(unready.body(), "not ready: lifecycle\n");
    let refused = fetch("PUT", &demo.attributes(), body).await;
    let problem: Value = serde_json::from_slice(refused.body()).expect("a problem");
    assert_eq!((refused.status().as_u16(), &problem["code"]), (503, &json!("shutting-down")));
    assert_eq!(
        (&refused.headers()["retry-after"], &problem["effect"]),
        (&"1".parse().expect("a value"), &json!("notApplied"))
    );
    assert!(!running.is_finished(), "it was still running all that time");
    let answer = running.await.expect("it does not panic");
    let written: Value = serde_json::from_slice(answer.body()).expect("JSON");
    assert_eq!(answer.status(), 200, "{written}");
    assert_eq!(written["outcomes"], json!({"crm_customer_id": "verified"}));
    assert_eq!(demo.process.ended().await.code(), Some(0));
    assert!(
        demo.process.written().contains(r#""message":"stopped""#),
        "{}",
        demo.process.written()
    );
}

#[tokio::test]
async fn ctrl_c_without_work_ends_it_at_once_with_success() {
    let mut demo = Process::demo(&[], &[]).await;
    let start = Instant::now();
    demo.process.signal("INT");
    assert_eq!(demo.process.ended().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn sigquit_drains_as_sigterm_does() {
    let mut demo = Process::demo(&[], &[]).await;
    demo.process.signal("QUIT");
    assert_eq!(demo.process.ended().await.code(), Some(0));
    let log = demo.process.written();
    assert!(log.contains("draining") && log.contains(r#""message":"stopped""#), "{log}");
}

#[tokio::test]
async fn signals_without_a_meaning_end_nobody() {
    let mut demo = Process::demo(&[], &[]).await;
    for name in ["USR1", "USR2", "PIPE", "HUP"] {
        demo.process.signal(name);
    }
    demo.process.wrote("SIGHUP: neither auth.clients_file nor server.tls is set").await;
    assert_eq!(fetch("GET", &demo.attributes(), "").await.status(), 200);
    demo.process.signal("TERM");
    assert_eq!(demo.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sighup_reloads_the_clients_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    std::fs::write(&file, client("crm", "k", "")).expect("written");
    let env = [("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"))];
    let demo = Process::demo(&[], &env).await;
    // A file that has not changed is read again only if somebody asks for it.
    demo.process.signal("HUP");
    let log = demo.process.wrote(r#""message":"clients file reloaded","callers":2"#).await;
    assert!(log.contains("SIGHUP: reloading auth.clients_file"), "{log}");
    std::fs::write(&file, "[[auth.clients]]\nname = 1\n").expect("written");
    demo.process.signal("HUP");
    demo.process.wrote("the previous clients stay in force").await;
}

#[tokio::test]
async fn log_lines_lost_to_a_full_disk_are_counted_and_reported() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let bind = port.local_addr().expect("an address").to_string();
    drop(port);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let env = [
        ("GENESYS_CLIENT_ID", "x"),
        ("GENESYS_CLIENT_SECRET", "x"),
        ("GATEWAY__SERVER__BIND", bind.as_str()),
        ("GATEWAY__GENESYS__API_URL", "http://127.0.0.1:1"),
        ("GATEWAY__GENESYS__LOGIN_URL", "http://127.0.0.1:1"),
    ];
    let mut serve = tokio::process::Command::new(env!("CARGO_BIN_EXE_attribute-gateway"));
    let serve = serve.env_clear().envs(env).stdout(full).kill_on_drop(true).spawn();
    let _serve = serve.expect("it starts");
    until("it listens", async || TcpStream::connect(&bind).await.ok()).await;
    until("the loss is reported", async || {
        let ready = fetch("GET", &format!("http://{bind}/readyz?verbose"), "").await;
        let text = String::from_utf8_lossy(ready.body()).into_owned();
        let line = text.lines().find(|line| line.starts_with("log: "))?;
        let full = "log: failed: cannot be written: No space left on device";
        (line.starts_with(full) && line.ends_with("lost since the start")).then_some(())
    })
    .await;
    let metrics = fetch("GET", &format!("http://{bind}/metrics"), "").await;
    let text = String::from_utf8_lossy(metrics.body()).into_owned();
    let name = "attribute_gateway_log_lines_lost_total ";
    let lost = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
    assert!(lost.parse::<u64>().expect("a number") > 0, "{lost}");
    assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut demo = Process::demo(&[], &[]).await;
    demo.set(json!({"latency": "20s"})).await;
    let url = demo.attributes();
    let running = tokio::spawn(async move {
        let write = fetch("PUT", &url, r#"{"attributes":{"crm_customer_id":"CRM-4"}}"#);
        tokio::time::timeout(Duration::from_mins(1), write).await
    });
    demo.read_is_under_way().await;
    demo.process.signal("TERM");
    demo.process.wrote("draining").await;
    let start = Instant::now();
    demo.process.signal("INT");
    assert_eq!(demo.process.ended().await.code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    running.abort();
}

#[tokio::test]
async fn the_trace_level_log_has_no_value_or_secret() {
    let secret = "canary-secret-77d0";
    let collector = Collector::default();
    let collecting = collector.serve().await;
    let env = [
        ("RUST_LOG", "trace"),
        ("GATEWAY__SIMULATOR__CLIENT_SECRET", secret),
        ("GATEWAY__TRACING__ENDPOINT", &collecting),
        ("GATEWAY__TRACING__HEADERS", "x-key=canary-key"),
    ];
    let demo = Process::demo(&[], &env).await;
    let fault = json!({"on": {"kind": "patch"}, "action": "echo_rejection"});
    let faults = format!("{}/__sim/faults", demo.simulator);
    assert_eq!(fetch("POST", &faults, fault.to_string()).await.status(), 201);
    let write = r#"{"attributes":{"crm_customer_id":"canary-1"}}"#;
    assert_eq!(fetch("PUT", &demo.attributes(), write).await.status(), 502);
    assert_eq!(fetch("PUT", &demo.attributes(), write).await.status(), 200);
    let read = fetch("GET", &demo.attributes(), "").await;
    assert!(String::from_utf8_lossy(read.body()).contains("canary-1"));
    demo.process.signal("TERM");
    let mut demo = demo;
    demo.process.ended().await;
    let log = demo.process.written();
    let spans = collector.spans();
    let requests = spans.iter().filter(|span| span.kind == SpanKind::Server as i32);
    assert_eq!(requests.count(), 3, "those of the last moment too");
    let log = log[demo.banner.len()..].to_owned() + &collector.bodies();
    assert!(log.contains(r#""level":"TRACE""#), "{log}");
    for hidden in ["canary", "Bearer ", "Basic ", "access_token"] {
        assert!(!log.contains(hidden), "`{hidden}` in {log}");
    }
    // The simulator's tokens are 86 letters and digits; nothing else is that long.
    let words = log.split(|character: char| !character.is_ascii_alphanumeric());
    assert_eq!(words.filter(|word| word.len() >= 60).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn sigterm_in_the_middle_of_writes_loses_no_audit_record() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("audit.jsonl");
    let path = file.to_str().expect("plain");
    let mut demo = Process::demo(&[], &[("GATEWAY__AUDIT__TO", path)]).await;
    demo.set(json!({"latency": "300ms", "lag": "0s"})).await;
    let writes: Vec<_> = (0..40)
        .map(|number| {
            let url = demo.attributes();
            let body = json!({"attributes": {format!("key_{number}"): "canary"}}).to_string();
            tokio::spawn(async move { fetch("PUT", &url, body).await.status().as_u16() })
        })
        .collect();
    demo.read_is_under_way().await;
    demo.process.signal("TERM");
    let mut statuses = Vec::new();
    for write in writes {
        statuses.push(write.await.expect("it does not panic"));
    }
    assert_eq!(demo.process.ended().await.code(), Some(0));
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(!text.contains("canary"), "{text}");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a whole line")).collect();
    let of = |kind: &str| lines.iter().filter(|line| line["record"] == kind).count();
    assert_eq!(of("outcome"), statuses.len(), "{text}");
    let applied = statuses.iter().filter(|status| **status == 200).count();
    let recorded = |line: &&Value| line["record"] == "outcome" && line["effect"] == "applied";
    assert_eq!(lines.iter().filter(recorded).count(), applied);
    assert!(applied > 0 && of("intent") >= applied, "{statuses:?}");
    assert_eq!(lines[0]["client.address"], "127.0.0.1");
}

#[tokio::test]
async fn a_file_size_limit_is_reported_like_a_full_disk() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("audit.jsonl");
    let mut demo =
        Process::demo(&[], &[("GATEWAY__AUDIT__TO", path.to_str().expect("plain"))]).await;
    demo.process.limit_files(4096);
    let body = json!({"attributes": {"tier": "gold"}}).to_string();
    let refused = until("a write is refused", async || {
        let answer = fetch("PUT", &demo.attributes(), body.clone()).await;
        (answer.status() != StatusCode::OK).then_some(answer)
    })
    .await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem = String::from_utf8_lossy(refused.body());
    assert!(problem.contains("audit-unavailable"), "{problem}");
    assert_eq!(fetch("GET", &demo.attributes(), "").await.status(), 200, "reads go on");
    demo.process.signal("TERM");
    assert_eq!(demo.process.ended().await.code(), Some(0));
}

/// Writes four times with 300 keys each: no pipe holds as many records.
async fn writes_much(demo: &Demo) {
    let keys: serde_json::Map<_, _> = (0..300).map(|n| (format!("k{n}"), json!("v"))).collect();
    for _ in 0..4 {
        let body = json!({ "attributes": keys }).to_string();
        assert_eq!(fetch("PUT", &demo.attributes(), body).await.status(), 200);
    }
}

/// A demonstration whose audit goes into a pipe that is open at both ends.
async fn recording_into_a_pipe() -> (Demo, tokio::net::unix::pipe::Receiver, tempfile::TempDir) {
    let directory = tempfile::TempDir::new().expect("a directory");
    let pipe = directory.path().join("audit.pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("runs").success());
    let mut reader = tokio::net::unix::pipe::OpenOptions::new();
    let reader = reader.read_write(true).open_receiver(&pipe).expect("opens");
    let env = [
        ("GATEWAY__AUDIT__TO", pipe.to_str().expect("plain")),
        ("GATEWAY__AUDIT__ON_FAILURE", "drop"),
    ];
    (Process::demo(&[], &env).await, reader, directory)
}

#[tokio::test]
async fn a_second_signal_flushes_the_audit_for_a_second() {
    for reads in [true, false] {
        let (mut demo, mut reader, _directory) = recording_into_a_pipe().await;
        writes_much(&demo).await;
        // Keeps the drain from ending by itself.
        demo.set(json!({"latency": "20s"})).await;
        let (before, url) = (demo.reads_so_far().await, demo.attributes());
        let held = tokio::spawn(async move { fetch("GET", &url, "").await });
        until("it is under way", async || (demo.reads_so_far().await > before).then_some(())).await;
        demo.process.signal("TERM");
        demo.process.wrote("draining").await;
        demo.process.signal("TERM");
        demo.process.wrote("ended at once").await;
        if !reads {
            // A reader that sees it alive takes its content as lost.
            assert_eq!(demo.process.ended().await.code(), Some(130));
        }
        // Takes all that comes until nothing does.
        let mut text = Vec::new();
        let wait = Duration::from_millis(700);
        let _ = tokio::time::timeout(wait, reader.read_to_end(&mut text)).await;
        if reads {
            assert_eq!(demo.process.ended().await.code(), Some(130));
        }
        let whole = String::from_utf8_lossy(&text).matches('\n').count();
        let log = demo.process.written();
        assert_eq!(log.contains("could not be written in time"), !reads, "{log}");
        let lost = format!("\"audit.lost\":{}", 4 - whole);
        assert_eq!((whole < 4, log.contains(&lost)), (!reads, !reads), "{log}");
        held.abort();
    }
}

#[tokio::test]
async fn pending_records_are_written_before_the_process_ends() {
    let (mut demo, reader, _directory) = recording_into_a_pipe().await;
    writes_much(&demo).await;
    demo.process.signal("TERM");
    demo.process.wrote("draining").await;
    let mut lines = tokio::io::BufReader::new(reader).lines();
    for _ in 0..4 {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await;
        let line = line.expect("in time").expect("readable").expect("a line");
        let record: Value = serde_json::from_str(&line).expect("a whole line");
        assert_eq!(record["keys"].as_array().map(Vec::len), Some(300));
    }
    assert_eq!(demo.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn on_a_full_disk_writes_follow_the_configured_mode() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let link = directory.path().join("audit.jsonl");
    // A link, so that nothing could ever rename the device itself.
    std::os::unix::fs::symlink("/dev/full", &link).expect("linked");
    let to = ("GATEWAY__AUDIT__TO", link.to_str().expect("plain"));
    for (on_failure, status) in [("block", 503), ("drop", 200)] {
        let demo = Process::demo(&[], &[to, ("GATEWAY__AUDIT__ON_FAILURE", on_failure)]).await;
        let body = r#"{"attributes":{"tier":"gold"}}"#;
        let answer = fetch("PUT", &demo.attributes(), body).await;
        assert_eq!(answer.status(), status, "{on_failure}");
        let entries = demo.sim("ledger").await.as_array().expect("entries").len();
        assert_eq!(entries, usize::from(status == 200), "{on_failure}");
        let metrics = fetch("GET", &format!("{}/metrics", demo.gateway), "").await;
        let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
        assert!(metrics.contains("attribute_gateway_audit_lost_total 1\n"), "{metrics}");
        demo.process.wrote("audit records cannot be written").await;
        let ready = fetch("GET", &format!("{}/readyz?verbose", demo.gateway), "").await;
        let text = String::from_utf8_lossy(ready.body()).into_owned();
        assert!(ready.status() == 200 && text.contains("audit: failed: "), "{text}");
        assert!(text.contains("No space left on device"), "{text}");
    }
}

#[tokio::test]
async fn records_on_standard_output_are_whole_lines() {
    let mut demo = Process::demo(&[], &[("GATEWAY__AUDIT__TO", "stdout")]).await;
    for number in 0..20 {
        let body = json!({"attributes": {"tier": number.to_string()}}).to_string();
        assert_eq!(fetch("PUT", &demo.attributes(), body).await.status(), 200);
    }
    demo.process.signal("TERM");
    demo.process.ended().await;
    let written = demo.process.written();
    let log = written[demo.banner.len()..].lines();
    let lines: Vec<Value> =
        log.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of = |target: &str| lines.iter().filter(|line| line["target"] == target).count();
    assert_eq!((of("audit"), of("access")), (40, 20));
}

#[tokio::test]
async fn an_audit_file_that_cannot_be_opened_is_told_at_the_start() {
    let env = [("GATEWAY__AUDIT__TO", "/no/such/directory/audit.jsonl")];
    let ended = once(&["demo"], &env).await;
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("cannot open the audit file"), "{}", ended.err);
}
