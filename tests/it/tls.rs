//! TLS of the listening side: versions, client certificates, and certificates that change under load.
//! In real time, over sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Response};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Authority, Demo, Identity, Process, client, ms, once, until};

/// A gateway with TLS, and the CA that its clients have to trust.
pub(crate) struct Secured {
    pub(crate) demo: Demo,
    pub(crate) authority: Authority,
    folder: TempDir,
}

impl Secured {
    async fn start(env: &[(&str, &str)]) -> Self {
        let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().expect("a folder"));
        let [certificate, key] = authority.server().put_into(folder.path());
        let files = [
            ("GATEWAY__SERVER__TLS__CERTIFICATE", certificate.to_str().expect("text")),
            ("GATEWAY__SERVER__TLS__KEY", key.to_str().expect("text")),
        ];
        let demo = Process::demo(&[], &[&files, env].concat()).await;
        Self { demo, authority, folder }
    }

    /// One that knows the client `crm` by its certificate and `web` by the key `k`, and its authority of
    /// clients with the file that it stands in.
    async fn knowing(client_auth: &str) -> (Self, Authority, PathBuf) {
        let (callers, folder) = (Authority::new("callers"), tempfile::tempdir().expect("a folder"));
        let folder = folder.keep();
        let [ca, clients] = ["ca.pem", "clients.toml"].map(|name| folder.join(name));
        std::fs::write(&ca, callers.pem()).expect("writable");
        let entry = "[[auth.clients]]\nname = \"crm\"\ncertificate = \"CN=crm.example\"\n";
        std::fs::write(&clients, entry.to_owned() + &client("web", "k", "")).expect("writable");
        let env = [
            ("GATEWAY__SERVER__TLS__CLIENT_AUTH", client_auth),
            ("GATEWAY__SERVER__TLS__CLIENT_CA", ca.to_str().expect("text")),
            ("GATEWAY__AUTH__CLIENTS_FILE", clients.to_str().expect("text")),
        ];
        (Self::start(&env).await, callers, ca)
    }

    /// One that asks its clients for certificates.
    async fn asking(client_auth: &str) -> (Self, Authority) {
        Self::asking_with(client_auth, &[]).await
    }

    /// The same, with more of an environment.
    pub(crate) async fn asking_with(client_auth: &str, more: &[(&str, &str)]) -> (Self, Authority) {
        let (callers, folder) = (Authority::new("callers"), tempfile::tempdir().expect("a folder"));
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, callers.pem()).expect("writable");
        let env = [
            ("GATEWAY__SERVER__TLS__CLIENT_AUTH", client_auth),
            ("GATEWAY__SERVER__TLS__CLIENT_CA", file.to_str().expect("text")),
        ];
        (Self::start(&[&env[..], more].concat()).await, callers)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let url = self.demo.gateway.strip_prefix("https://").expect("the banner shows https");
        url.parse().expect("an address")
    }

    fn client(&self, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusted = Certificate::from_pem(self.authority.pem().as_bytes()).expect("PEM");
        let builder = Client::builder().tls_certs_only([trusted]).no_proxy();
        change(builder.timeout(Duration::from_secs(15))).build().expect("a client")
    }

    /// The status of `/livez` for a client with this certificate; `None` if it gets no answer.
    async fn status_for(&self, identity: Option<&Identity>) -> Option<u16> {
        self.status_on("/livez", identity).await
    }

    /// The same of this path.
    async fn status_on(&self, path: &str, identity: Option<&Identity>) -> Option<u16> {
        self.ask(path, identity, None).await.map(|answer| answer.status().as_u16())
    }

    /// What a client with this certificate and this key is answered.
    async fn ask(
        &self,
        path: &str,
        identity: Option<&Identity>,
        key: Option<&str>,
    ) -> Option<Response> {
        let client = self.client(|builder| match identity {
            Some(identity) => {
                let identity = reqwest::Identity::from_pem(identity.pem().as_bytes());
                builder.identity(identity.expect("PEM"))
            }
            None => builder,
        });
        let request = client.get(format!("{}{path}", self.demo.gateway));
        let request = key.iter().fold(request, |request, key| request.header("x-api-key", *key));
        request.send().await.ok()
    }

    async fn text(&self, path: &str) -> String {
        let client = self.client(|builder| builder);
        // Where clients are known, this is the key of one; elsewhere it is nothing.
        let asks = client.get(format!("{}{path}", self.demo.gateway)).bearer_auth("k");
        asks.send().await.expect("an answer").text().await.expect("text")
    }

    /// A handshake in these versions alone, offering these protocols.
    async fn handshake(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.handshake_as(None, versions, protocols).await
    }

    /// The same, with this certificate.
    async fn handshake_as(
        &self,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_slice(self.authority.pem().as_bytes());
        roots.add(trusted.expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let config = config.expect("known versions").with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                config.with_client_auth_cert(vec![chain], key).expect("they go together")
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address()).await.expect("it listens");
        let host = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(host, stream).await
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_http_1_1_over_them() {
    let gateway = Secured::start(&[]).await;
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut stream = gateway.handshake(&[version], &["h2", "http/1.1"]).await.expect("spoken");
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(name));
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it reads");
        let mut text = String::new();
        // Reads to the end without an error only if the end was announced.
        stream.read_to_string(&mut text).await.expect("a proper end");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    }
    let error = gateway.handshake(&[&TLS13], &["h2"]).await.expect_err("there is no HTTP/2");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

#[tokio::test]
async fn tls_1_1_is_refused_and_so_is_plain_http() {
    const EXTENSIONS: &[u8] = &[0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 29];
    let gateway = Secured::start(&[]).await;
    // TLS 1.1, a random of zeros, one suite (ECDHE-RSA-AES128-SHA), no compression; the signatures and
    // groups that are taken in later versions.
    let hello = [&[0x03, 0x02][..], &[0; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0], EXTENSIONS].concat();
    let length = u8::try_from(hello.len()).expect("short");
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
    let mut stream = TcpStream::connect(gateway.address()).await.expect("it listens");
    stream.write_all(&record).await.expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // An alert, fatal: protocol_version.
    assert_eq!((answer.first(), &answer[answer.len() - 2..]), (Some(&21), &[2, 70][..]));
    let mut stream = TcpStream::connect(gateway.address()).await.expect("it listens");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_ended() {
    let times = [
        ("GATEWAY__SERVER__TLS__HANDSHAKE_TIMEOUT", "300ms"),
        ("GATEWAY__SERVER__HEADER_TIMEOUT", "1m"),
    ];
    let gateway = Secured::start(&times).await;
    let mut stream = TcpStream::connect(gateway.address()).await.expect("it listens");
    stream.write_all(&[22, 3, 1]).await.expect("it reads");
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 64])).await;
    assert!(ended.is_ok(), "it is still open");
    assert!(gateway.text("/metrics").await.contains(r#"reason="handshakeTimeout"} 1"#));
}

#[tokio::test]
async fn required_certificates_must_be_valid() {
    let (gateway, callers) = Secured::asking("required").await;
    let foreign = Authority::new("callers").client("crm.example");
    assert_eq!(gateway.status_for(Some(&callers.client("crm.example"))).await, Some(200));
    assert_eq!(gateway.status_for(Some(&foreign)).await, None);
    assert_eq!(gateway.status_for(Some(&callers.expired("crm.example"))).await, None);
    assert_eq!(gateway.status_for(None).await, None);
}

#[tokio::test]
async fn optional_certificates_may_be_absent_but_not_invalid() {
    let (gateway, callers) = Secured::asking("optional").await;
    let foreign = Authority::new("callers").client("crm.example");
    assert_eq!(gateway.status_for(None).await, Some(200));
    assert_eq!(gateway.status_for(Some(&callers.client("crm.example"))).await, Some(200));
    assert_eq!(gateway.status_for(Some(&foreign)).await, None);
    assert_eq!(gateway.status_for(Some(&callers.expired("crm.example"))).await, None);
}

#[tokio::test]
async fn a_client_is_known_by_its_valid_certificate_subject() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    let entry = "[[auth.clients]]\nname = \"crm\"\ncertificate = \"CN=crm.example\"\n";
    std::fs::write(&file, entry).expect("writable");
    let known = ("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"));
    let (gateway, callers) = Secured::asking_with("optional", &[known]).await;
    let (good, other) = (callers.client("crm.example"), callers.client("web.example"));
    assert_eq!(gateway.status_on("/metrics", Some(&good)).await, Some(200));
    let refused = gateway.ask("/metrics", Some(&other), None).await.expect("an answer");
    assert_eq!(refused.status(), 401);
    let why = refused.text().await.expect("text");
    assert!(why.contains(r#"the certificate subject \"CN=web.example\""#), "{why}");
    assert_eq!(gateway.status_on("/metrics", None).await, Some(401));
    assert_eq!(gateway.status_on("/livez", None).await, Some(200));
    // The connection never comes about.
    assert_eq!(gateway.status_on("/metrics", Some(&callers.expired("crm.example"))).await, None);
}

#[tokio::test]
async fn a_caller_with_a_key_and_a_certificate_has_to_show_both() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    let both = "certificate = \"CN=genesys.example\"";
    let entries = [client("crm", "crm-key", both), client("ivr", "ivr-key", both)];
    std::fs::write(&file, entries.concat()).expect("writable");
    let known = ("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"));
    let (gateway, callers) = Secured::asking_with("optional", &[known]).await;
    let (theirs, other) = (callers.client("genesys.example"), callers.client("web.example"));
    let asked = async |identity, key| {
        let answer = gateway.ask("/metrics", identity, key).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    for key in ["crm-key", "ivr-key"] {
        assert_eq!(asked(Some(&theirs), Some(key)).await.0, 200);
        for identity in [None, Some(&other)] {
            let (status, report) = asked(identity, Some(key)).await;
            assert!(status == 401 && report.contains("its certificate as well"), "{report}");
        }
    }
    let (status, report) = asked(Some(&theirs), None).await;
    assert!(status == 401 && report.contains("a key as well"), "{report}");
    assert_eq!(asked(Some(&theirs), Some("wrong")).await.0, 401);
}

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

#[tokio::test]
async fn healthcheck_asks_a_service_with_tls_whatever_its_certificate() {
    let gateway = Secured::start(&[]).await;
    let healthcheck = async |bind: SocketAddr| {
        let env = [
            ("GATEWAY__SERVER__BIND", bind.to_string()),
            ("GATEWAY__SERVER__TLS__CERTIFICATE", "/nowhere.crt".to_owned()),
            ("GATEWAY__SERVER__TLS__KEY", "/nowhere.key".to_owned()),
        ];
        once(&["healthcheck"], &env.each_ref().map(|(name, value)| (*name, value.as_str()))).await
    };
    let well = healthcheck(gateway.address()).await;
    assert_eq!(well.code, 0, "{well:?}");
    let url = format!("{}/readyz", gateway.demo.gateway);
    let unknown = once(&["healthcheck", "--url", &url], &[]).await;
    assert_eq!(unknown.code, 1, "the certificate of another is verified: {unknown:?}");
    let (asking, _) = Secured::asking("required").await;
    let well = healthcheck(asking.address()).await;
    assert_eq!(well.code, 0, "it lives, and asks for a certificate: {well:?}");
}

#[tokio::test]
async fn unusable_files_are_named_at_the_start_and_by_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new("ours");
    let [certificate, key] = authority.server().put_into(folder.path());
    let [certificate, key] = [certificate, key].map(|file| file.to_str().expect("text").to_owned());
    for (certificate, key, report) in [
        ("/nowhere.crt", key.as_str(), "no certificate can be read from /nowhere.crt"),
        (&certificate, "/nowhere.key", "no private key can be read from /nowhere.key"),
        (&key, &key, "no certificate can be read from"),
        (&certificate, &certificate, "no private key can be read from"),
    ] {
        let env = [
            ("GENESYS_CLIENT_ID", "x"),
            ("GENESYS_CLIENT_SECRET", "y"),
            ("GATEWAY__SERVER__BIND", "127.0.0.1:0"),
            ("GATEWAY__SERVER__TLS__CERTIFICATE", certificate),
            ("GATEWAY__SERVER__TLS__KEY", key),
        ];
        for command in ["serve", "check-config"] {
            let ended = once(&[command], &env).await;
            assert_eq!(ended.code, 1, "{ended:?}");
            assert!(ended.err.contains(report), "{ended:?}");
            assert!(!ended.err.contains("PRIVATE"), "{ended:?}");
        }
    }
}
