//! TLS of the listening side: versions, client certificates, and certificates that change under load.
//! In real time, over sockets.

mod reload;

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
