//! Limits of connections over sockets: a client that piles them up, or sends too slowly, is cut off, and
//! other clients notice nothing. In real time, with generous limits.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{Demo, Process, attributes_of, client, fetch, ms, until};

/// The first call of the demonstration.
const CALL: &str = "11111111-1111-4111-8111-111111111111";

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";

/// Opens a connection from an address of this machine.
async fn connect(demo: &Demo, from: &str) -> TcpStream {
    let to: SocketAddr = demo.gateway.trim_start_matches("http://").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(format!("{from}:0").parse().expect("an address")).expect("all of 127/8 is ours");
    socket.connect(to).await.expect("it listens")
}

/// Sends this, and returns what comes back, up to the end of an answer of `/livez`.
async fn says(stream: &mut TcpStream, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.expect("it reads");
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.ends_with("\r\n\r\nok\n") {
        let read = timeout(Duration::from_secs(15), stream.read(&mut buffer)).await;
        match read.expect("something comes").expect("no reset") {
            0 => break,
            count => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    text
}

/// Whether the service has ended the connection.
async fn is_ended(stream: &mut TcpStream) -> bool {
    !matches!(timeout(ms(1), stream.read(&mut [0; 64])).await, Err(_) | Ok(Ok(1..)))
}

async fn waits_for_end(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let _ = timeout(Duration::from_secs(15), stream.read(&mut [0; 64])).await.expect("it ends");
    start.elapsed()
}

async fn figures(demo: &Demo) -> String {
    let answer = fetch("GET", &format!("{}/metrics", demo.gateway), "").await;
    String::from_utf8(answer.body().to_vec()).expect("text")
}

#[tokio::test]
async fn an_address_over_its_share_is_refused_and_another_is_served() {
    let few =
        [("GATEWAY__LIMITS__CONNECTIONS", "8"), ("GATEWAY__LIMITS__CONNECTIONS_PER_ADDRESS", "3")];
    let demo = Process::demo(&[], &few).await;
    let mut other = connect(&demo, "127.0.0.2").await;
    assert!(says(&mut other, LIVEZ).await.starts_with("HTTP/1.1 200"));
    let mut pile = Vec::new();
    for _ in 0..40 {
        pile.push(connect(&demo, "127.0.0.3").await);
        // So that each is accepted before the next.
        sleep(ms(5)).await;
    }
    let mut ended = 0;
    for stream in &mut pile {
        ended += usize::from(is_ended(stream).await);
    }
    assert_eq!(ended, 37);
    assert!(says(&mut other, LIVEZ).await.starts_with("HTTP/1.1 200"));
    let mut more = Vec::new();
    for address in ["127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"] {
        let mut stream = connect(&demo, address).await;
        assert!(says(&mut stream, LIVEZ).await.starts_with("HTTP/1.1 200"));
        more.push(stream);
    }
    // All slots are taken now. They come back when connections end.
    let mut refused = connect(&demo, "127.0.0.8").await;
    assert!(waits_for_end(&mut refused).await < ms(1000));
    drop(pile);
    until("slots are free again", async || {
        let mut next = connect(&demo, "127.0.0.8").await;
        next.write_all(LIVEZ.as_bytes()).await.ok()?;
        let read = timeout(Duration::from_secs(5), next.read(&mut [0; 64])).await;
        matches!(read, Ok(Ok(1..))).then_some(())
    })
    .await;
    let metrics = figures(&demo).await;
    let line = metrics.lines().find(|line| line.contains(r#"reason="refused""#));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 35), "{metrics}");
}

#[tokio::test]
async fn the_idle_timeout_is_longer_than_the_header_timeout() {
    let times =
        [("GATEWAY__SERVER__HEADER_TIMEOUT", "400ms"), ("GATEWAY__SERVER__IDLE_TIMEOUT", "2s")];
    let demo = Process::demo(&[], &times).await;
    let mut silent = connect(&demo, "127.0.0.1").await;
    assert!(waits_for_end(&mut silent).await < ms(1500));
    let mut idle = connect(&demo, "127.0.0.1").await;
    let mut slow = connect(&demo, "127.0.0.1").await;
    for stream in [&mut idle, &mut slow] {
        assert!(says(stream, LIVEZ).await.starts_with("HTTP/1.1 200"));
    }
    sleep(ms(900)).await;
    assert!(!is_ended(&mut idle).await && !is_ended(&mut slow).await);
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: ").await.expect("it reads");
    let begun = Instant::now();
    waits_for_end(&mut slow).await;
    assert!(begun.elapsed() < ms(1000), "{:?}", begun.elapsed());
    assert!(!is_ended(&mut idle).await);
    assert!(says(&mut idle, LIVEZ).await.starts_with("HTTP/1.1 200"));
    let waited = waits_for_end(&mut idle).await;
    assert!(waited > ms(1600), "{waited:?}");
    until("the connections are gone", async || {
        let metrics = figures(&demo).await;
        // The one that asks is there itself.
        metrics.contains("attribute_gateway_connections 1\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_head_over_its_limit_is_refused_and_one_below_is_not() {
    let demo = Process::demo(&[], &[("GATEWAY__LIMITS__HEADER_BYTES", "16 KiB")]).await;
    // The bytes arrive in one piece or in several, which must make no difference.
    for (length, status) in [
        (12_000, "HTTP/1.1 200"),
        (16_200, "HTTP/1.1 200"),
        (16_600, "HTTP/1.1 431"),
        (17_900, "HTTP/1.1 431"),
        (20_000, "HTTP/1.1 431"),
        (24_000, "HTTP/1.1 431"),
    ] {
        let mut stream = connect(&demo, "127.0.0.1").await;
        let filler = "x".repeat(length);
        let request = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Filler: {filler}\r\n\r\n");
        let answer = says(&mut stream, &request).await;
        assert!(answer.starts_with(status), "{answer}");
    }
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let demo = Process::demo(&[], &[]).await;
    let path = attributes_of(CALL);
    for (target, version, hosts, status) in [
        ("/livez", "1.1", "Host: x\r\n", "200"),
        ("/livez", "1.1", "Host: [::1]:8080\r\n", "200"),
        ("/livez", "1.0", "", "200"),
        ("/livez", "1.1", "", "400"),
        ("/livez", "1.1", "Host: x\r\nHost: x\r\n", "400"),
        (&path, "1.1", "Host: x\r\nhost: y\r\n", "400"),
        (&path, "1.1", "Host: a b\r\n", "400"),
        ("/nothing", "1.1", "", "400"),
    ] {
        let mut stream = connect(&demo, "127.0.0.1").await;
        let request = format!("GET {target} HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(15), stream.read_to_string(&mut answer)).await;
        read.expect("in time").expect("text");
        assert!(answer.starts_with(&format!("HTTP/{version} {status}")), "{request}: {answer}");
        if status == "400" {
            assert!(answer.contains("\"code\":\"invalid-header\""), "{answer}");
            assert!(answer.contains("\"pointer\":\"Host\""), "{answer}");
        }
    }
}

/// Begins a read of a call's attributes.
async fn begins_read(stream: &mut TcpStream, headers: &str) {
    let path = attributes_of(CALL);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
}

#[tokio::test]
async fn one_address_behind_a_proxy_leaves_room_for_the_others() {
    let env = [
        ("GATEWAY__SERVER__TRUSTED_PROXIES", "127.0.0.8"),
        ("GATEWAY__LIMITS__CONNECTIONS_PER_ADDRESS", "2"),
    ];
    let demo = Process::demo(&[], &env).await;
    demo.set(serde_json::json!({"latency": "1500ms"})).await;
    let greedy = "X-Forwarded-For: 198.51.100.7\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&demo, "127.0.0.8").await;
        begins_read(&mut stream, greedy).await;
        held.push(stream);
    }
    // Both are under way once the platform has been asked; identical reads share a call.
    until("they are under way", async || {
        let calls = demo.sim("calls").await;
        calls
            .as_array()
            .is_some_and(|calls| calls.iter().any(|call| call["kind"] == "read"))
            .then_some(())
    })
    .await;
    sleep(ms(100)).await;
    let mut third = connect(&demo, "127.0.0.8").await;
    begins_read(&mut third, greedy).await;
    let refused = says(&mut third, "").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("overloaded"), "{refused}");
    assert!(refused.contains("retry-after: ") && refused.contains("notApplied"), "{refused}");
    // Other clients are served, and so are paths outside the API.
    let mut other = connect(&demo, "127.0.0.8").await;
    begins_read(&mut other, "X-Forwarded-For: 198.51.100.8\r\n").await;
    assert!(says(&mut connect(&demo, "127.0.0.8").await, LIVEZ).await.starts_with("HTTP/1.1 200"));
    for mut stream in held.into_iter().chain([other]) {
        assert!(says(&mut stream, "").await.starts_with("HTTP/1.1 200"));
    }
    let mut again = connect(&demo, "127.0.0.8").await;
    begins_read(&mut again, greedy).await;
    assert!(says(&mut again, "").await.starts_with("HTTP/1.1 200"), "places come back");
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once_over_connections_too() {
    let demo = Process::demo(&[], &[("GATEWAY__LIMITS__REQUESTS", "2")]).await;
    demo.set(serde_json::json!({"latency": "1500ms"})).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&demo, "127.0.0.1").await;
        begins_read(&mut stream, "").await;
        streams.push(stream);
        sleep(ms(100)).await;
    }
    let begun = Instant::now();
    let refused = says(&mut streams.pop().expect("three"), "").await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: "), "{refused}");
    assert!(begun.elapsed() < ms(1000), "{:?}", begun.elapsed());
    for mut stream in streams {
        assert!(says(&mut stream, "").await.starts_with("HTTP/1.1 200"));
    }
}

/// A connection of so much room, and many requests on it for what is large.
async fn asks_for_much(demo: &Demo, room: u32) -> TcpStream {
    let to: SocketAddr = demo.gateway.trim_start_matches("http://").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(room).expect("as much as it may");
    let mut stream = socket.connect(to).await.expect("it listens");
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_a_slow_one_is_not() {
    let demo = Process::demo(&[], &[("GATEWAY__SERVER__BODY_TIMEOUT", "1s")]).await;
    let _silent = asks_for_much(&demo, 4096).await;
    let mut slow = asks_for_much(&demo, 1 << 20).await;
    let taken = tokio::spawn(async move {
        // Of some 40 MB, 12 within three seconds: it is blocked all the time, and takes something.
        let mut buffer = vec![0; 400 * 1024];
        for _ in 0..30 {
            sleep(ms(100)).await;
            slow.read_exact(&mut buffer).await.expect("it goes on");
        }
        slow
    });
    until("the silent one is cut", async || {
        figures(&demo).await.contains(r#"reason="answerTimeout"} 1"#).then_some(())
    })
    .await;
    let _slow = taken.await.expect("it is not cut");
    assert!(figures(&demo).await.contains(r#"reason="answerTimeout"} 1"#), "one alone");
}

#[tokio::test]
async fn an_answer_that_is_still_taken_when_a_drain_ends_is_not_cut() {
    let env = [("GATEWAY__DEBUG__ENABLED", "true"), ("GATEWAY__LIMITS__BODY_BYTES", "16 MiB")];
    let mut demo = Process::demo(&[], &env).await;
    let to: SocketAddr = demo.gateway.trim_start_matches("http://").parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1 << 16).expect("a small one");
    let mut stream = socket.connect(to).await.expect("it listens");
    // The echo of it is more than systems commonly keep for a client who does not read.
    let body = format!("{{\"{}\":1}}", "x".repeat(8 << 20));
    let head = "POST /v1/debug/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream.write_all(body.as_bytes()).await.expect("it reads");
    let mut begin = vec![0; 4096];
    let count = stream.read(&mut begin).await.expect("an answer");
    demo.process.signal("TERM");
    demo.process.wrote("draining").await;
    let mut rest = Vec::new();
    let _ = timeout(Duration::from_secs(15), stream.read_to_end(&mut rest)).await.expect("an end");
    let text = String::from_utf8_lossy(&begin[..count]);
    let (head, first) = text.split_once("\r\n\r\n").expect("a head");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().expect("a number");
    assert!(length > 8 << 20, "{head}");
    assert_eq!(first.len() + rest.len(), length, "all of it arrives");
    assert_eq!(demo.process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn without_free_files_the_server_accepts_again_later() {
    let demo = Process::demo(&[], &[]).await;
    let mut idle = connect(&demo, "127.0.0.1").await;
    assert!(says(&mut idle, LIVEZ).await.starts_with("HTTP/1.1 200"));
    let id = demo.process.id().to_string();
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("it lives").count();
    let limited = |files: usize| {
        let limit = format!("--nofile={files}:");
        let set = std::process::Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(set.expect("prlimit is there").success());
    };
    limited(files - 3);
    let mut newcomer = connect(&demo, "127.0.0.1").await;
    demo.process.wrote("cannot accept connections").await;
    assert!(says(&mut idle, LIVEZ).await.starts_with("HTTP/1.1 200"), "an open one is served");
    limited(files + 500);
    assert!(says(&mut newcomer, LIVEZ).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_address_that_a_trusted_proxy_tells_is_who_asks() {
    let env = [
        ("GATEWAY__DEBUG__ENABLED", "true"),
        ("GATEWAY__SERVER__TRUSTED_PROXIES", "127.0.0.8, 192.0.2.0/24"),
    ];
    let demo = Process::demo(&[], &env).await;
    for (from, forwarded, received) in [
        ("127.0.0.8", "203.0.113.9, 198.51.100.7, 192.0.2.1", "198.51.100.7"),
        ("127.0.0.9", "198.51.100.8", "127.0.0.9"),
    ] {
        let mut stream = connect(&demo, from).await;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {forwarded}\r\nConnection: close\r\n\r\n",
            attributes_of(CALL)
        );
        assert!(says(&mut stream, &request).await.starts_with("HTTP/1.1 200"));
        let trace = format!("{}/v1/conversations/{CALL}/trace", demo.gateway);
        let trace = fetch("GET", &trace, "").await;
        let trace: serde_json::Value = serde_json::from_slice(trace.body()).expect("JSON");
        let address = trace["requests"][0]["caller"]["address"].as_str().expect("an address");
        assert!(address.starts_with(received), "{trace}");
        demo.process.wrote(&format!(r#""client.address":"{received}""#)).await;
    }
}

#[tokio::test]
async fn access_lines_name_the_address_also_of_a_client_without_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    std::fs::write(&file, client("crm", "k", "")).expect("written");
    let env = [("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"))];
    let demo = Process::demo(&[], &env).await;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n",
        attributes_of(CALL)
    );
    let mut stream = connect(&demo, "127.0.0.7").await;
    assert!(says(&mut stream, &request).await.starts_with("HTTP/1.1 401"));
    let log = demo.process.wrote(r#""problem.code":"unauthenticated""#).await;
    let line = log.lines().find(|line| line.contains("unauthenticated")).expect("a line");
    assert!(line.contains(r#""client.address":"127.0.0.7""#), "{line}");
    assert!(line.contains(r#""http.status":401"#) && !log.contains("203.0.113.9"), "{line}");
}
