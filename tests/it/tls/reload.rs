//! TLS files that change while the service runs.

use super::*;

#[tokio::test]
async fn certificates_change_under_load_and_no_caller_is_refused() {
    let (gateway, authority, _) = Secured::knowing("optional").await;
    let gateway = Arc::new(gateway);
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let own = Arc::new(authority.client("crm.example").pem());
    // Each of a kind, over one connection and over new ones: by certificate, and by key.
    let kinds = [(true, true), (true, false), (false, true), (false, false)];
    let callers = kinds.map(|(by_certificate, anew)| {
        let own = by_certificate.then(|| Arc::clone(&own));
        gateway.asks_on((own, anew), &stop, &served)
    });
    let mut shown = gateway.shown().await;
    for _ in 0..2 {
        gateway.authority.server().put_into(gateway.folder.path());
        shown = until("the new certificate is shown", async || {
            let now = gateway.shown().await;
            (now != shown).then_some(now)
        })
        .await;
    }
    // A key that is not of the certificate: what was there stays in use.
    let other = gateway.authority.server();
    std::fs::write(gateway.folder.path().join("tls.key"), other.key).expect("writable");
    let report = until("the fault is logged", async || {
        let report = gateway.text("/readyz?verbose").await;
        report.contains("do not match").then_some(report)
    })
    .await;
    assert!(report.starts_with("ready"), "{report}");
    assert_eq!(gateway.shown().await, shown);
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("nobody was refused");
    }
    assert!(served.load(Ordering::Relaxed) > 50, "{served:?}");
    let log = gateway.demo.process.wrote("the previous ones stay in use").await;
    assert!(!log.contains("PRIVATE"), "{log}");
    let metrics = gateway.text("/metrics").await;
    for line in
        [r#"tls_reloads_total{outcome="taken"} 2"#, r#"tls_reloads_total{outcome="refused"} 1"#]
    {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_pipe_as_a_certificate_file_blocks_nothing() {
    let mut gateway = Secured::start(&[]).await;
    let pipe = gateway.folder.path().join("tls.key");
    std::fs::remove_file(&pipe).expect("it was there");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let report = until("the pipe is logged", async || {
        let report = gateway.text("/readyz?verbose").await;
        report.contains("is not a regular file").then_some(report)
    })
    .await;
    assert!(report.starts_with("ready"), "{report}");
    gateway.demo.process.signal("TERM");
    assert_eq!(gateway.demo.process.ended().await.code(), Some(0));
}

/// Asks for something over a connection that is kept; the status, and whether it stays open.
async fn asks_over(stream: &mut TlsStream<TcpStream>, path: &str) -> (String, bool) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let (mut text, mut buffer) = (String::new(), vec![0; 65536]);
    loop {
        let read = tokio::time::timeout(Duration::from_secs(15), stream.read(&mut buffer)).await;
        let count = read.expect("something comes").expect("no reset");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if count == 0 || length.is_some_and(|length| Ok(body.len()) == length.parse()) {
            return (head[9..12].to_owned(), !head.contains("connection: close"));
        }
    }
}

/// Waits until the gateway has closed the connection.
async fn is_closed(stream: &mut TlsStream<TcpStream>) -> bool {
    let read = tokio::time::timeout(ms(8000), stream.read(&mut [0; 64])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn new_authorities_close_the_connections_with_certificates() {
    let (gateway, old, file) = Secured::knowing("optional").await;
    let (new, own) = (Authority::new("new"), old.client("crm.example"));
    let mut kept = gateway.handshake_as(Some(&own), &[&TLS13], &[]).await.expect("known");
    let mut plain = gateway.handshake(&[&TLS13], &[]).await.expect("optional");
    let known = ("200".to_owned(), true);
    assert_eq!(asks_over(&mut kept, "/metrics").await, known);
    // While both are trusted, every client can connect again.
    std::fs::write(&file, old.pem() + &new.pem()).expect("writable");
    let theirs = new.client("crm.example");
    until("the new authority is trusted", async || {
        gateway.status_on("/metrics", Some(&theirs)).await.filter(|status| *status == 200)
    })
    .await;
    assert!(is_closed(&mut kept).await);
    let mut kept = gateway.handshake_as(Some(&own), &[&TLS13], &[]).await.expect("known");
    assert_eq!(asks_over(&mut kept, "/metrics").await, known);
    std::fs::write(&file, new.pem()).expect("writable");
    until("the old authority is no longer trusted", async || {
        gateway.status_on("/metrics", Some(&own)).await.is_none().then_some(())
    })
    .await;
    assert!(is_closed(&mut kept).await);
    assert_eq!(gateway.status_on("/metrics", Some(&theirs)).await, Some(200));
    assert_eq!(asks_over(&mut plain, "/livez").await, known, "who shows none is left alone");
}

#[tokio::test]
async fn a_connection_is_known_until_its_certificate_expires() {
    for client_auth in ["optional", "required"] {
        let (gateway, authority, _) = Secured::knowing(client_auth).await;
        let own = authority.client_for("crm.example", time::Duration::seconds(4));
        let mut kept = gateway.handshake_as(Some(&own), &[&TLS13], &[]).await.expect("known");
        assert_eq!(asks_over(&mut kept, "/metrics").await, ("200".to_owned(), true));
        // It ends with the certificate, since no new one could be made.
        assert!(is_closed(&mut kept).await);
        assert_eq!(gateway.status_on("/livez", Some(&own)).await, None);
    }
}

#[tokio::test]
async fn an_invalid_certificate_does_not_replace_a_valid_one() {
    let gateway = Secured::start(&[]).await;
    let good = gateway.shown().await;
    for (hours, report) in [((-48, -24), "expired on"), ((24, 48), "not valid before")] {
        gateway.authority.server_between(hours.0, hours.1).put_into(gateway.folder.path());
        until("the fault is logged", async || {
            gateway.text("/readyz?verbose").await.contains(report).then_some(())
        })
        .await;
        assert_eq!(gateway.shown().await, good);
    }
    gateway.authority.server_between(-1, 1).put_into(gateway.folder.path());
    until("the good one is shown", async || (gateway.shown().await != good).then_some(())).await;
    let checks = gateway.text("/readyz?verbose").await;
    assert!(checks.contains("tls: ok: certificate valid until"), "{checks}");
}

#[tokio::test]
async fn a_start_with_an_invalid_certificate_waits_for_the_next() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().expect("a folder"));
    let [certificate, key] = authority.server_between(-48, -24).put_into(folder.path());
    let env = [
        ("GATEWAY__SERVER__TLS__CERTIFICATE", certificate.to_str().expect("text")),
        ("GATEWAY__SERVER__TLS__KEY", key.to_str().expect("text")),
    ];
    let demo = Process::demo(&[], &env).await;
    demo.process.wrote("the certificate of server.tls is expired on").await;
    // Another one that is over is no worse than the one in use.
    authority.server_between(-24, -12).put_into(folder.path());
    demo.process.wrote("the files of server.tls were reloaded").await;
}

#[tokio::test]
async fn sighup_takes_the_files_also_if_they_have_not_changed() {
    let secured = Secured::start(&[]).await;
    secured.demo.process.signal("HUP");
    let log = secured.demo.process.wrote("the files of server.tls were reloaded").await;
    assert!(log.contains("SIGHUP: reloading server.tls"), "{log}");
    assert_eq!(secured.status_for(None).await, Some(200));
    assert!(secured.text("/metrics").await.contains("_tls_certificate_expiry_seconds "));
}

impl Secured {
    /// Asks again and again until stopped, over new connections or over one, with a certificate or
    /// a key; counts the answers.
    fn asks_on(
        self: &Arc<Self>,
        (own, anew): (Option<Arc<String>>, bool),
        stop: &Arc<AtomicBool>,
        served: &Arc<AtomicUsize>,
    ) -> JoinHandle<()> {
        let (gateway, stop, served) = (Arc::clone(self), Arc::clone(stop), Arc::clone(served));
        tokio::spawn(async move {
            let with_own = |builder: ClientBuilder| match &own {
                Some(own) => {
                    builder.identity(reqwest::Identity::from_pem(own.as_bytes()).expect("PEM"))
                }
                None => builder,
            };
            let kept = gateway.client(with_own);
            while !stop.load(Ordering::Relaxed) {
                let client = if anew { gateway.client(with_own) } else { kept.clone() };
                let asks = client.get(format!("{}/metrics", gateway.demo.gateway));
                let asks = if own.is_none() { asks.bearer_auth("k") } else { asks };
                let answer = asks.send().await.expect("nobody is refused");
                assert_eq!(answer.status(), 200);
                served.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(ms(10)).await;
            }
        })
    }

    /// The certificate that is shown to a new client.
    async fn shown(&self) -> Vec<u8> {
        let stream = self.handshake(&[&TLS13], &[]).await.expect("a handshake");
        stream.get_ref().1.peer_certificates().expect("one is shown")[0].to_vec()
    }
}
