//! The way to Genesys Cloud: whose certificates are trusted, and the proxy. Over sockets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use genesys_simulator::{Simulator, SimulatorSettings};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::harness::{Authority, Ended, once};

/// The simulator behind TLS, with a certificate of this authority.
async fn platform(authority: &Authority) -> SocketAddr {
    let identity = authority.server();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they go together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let router = Simulator::new(SimulatorSettings::default()).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let serve = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    router.clone().oneshot(request.map(Body::new))
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    address
}

/// A proxy that opens tunnels, and what it was asked.
async fn proxy() -> (SocketAddr, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::<Mutex<String>>::default();
    let notes = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let notes = Arc::clone(&notes);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a head"));
                }
                let head = String::from_utf8(head).expect("text");
                let target =
                    head.split(' ').nth(1).expect("a target").replace("localhost", "127.0.0.1");
                notes.lock().expect("no holder panics").push_str(&head);
                let mut upstream = TcpStream::connect(target).await.expect("it listens");
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("it reads");
                let _ = copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    (address, asked)
}

/// `check-config --online` against this platform.
async fn tried(platform: SocketAddr, env: &[(&str, &str)]) -> Ended {
    let settings = SimulatorSettings::default();
    let url = format!("https://localhost:{}", platform.port());
    let account = [
        ("GENESYS_CLIENT_ID", settings.client_id.as_str()),
        ("GENESYS_CLIENT_SECRET", settings.client_secret.as_str()),
        ("GATEWAY__GENESYS__API_URL", &url),
        ("GATEWAY__GENESYS__LOGIN_URL", &url),
        ("RUST_LOG", "trace"),
    ];
    once(&["check-config", "--online"], &[&account, env].concat()).await
}

#[tokio::test]
async fn an_unknown_upstream_authority_needs_configuration() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().expect("a folder"));
    let platform = platform(&authority).await;
    let file = folder.path().join("ca.pem");
    let ca_file = file.to_str().expect("text");
    let refused = tried(platform, &[]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.out.contains("failed   token"), "{refused:?}");
    let certificate = "invalid peer certificate";
    assert!(refused.out.contains(certificate), "{refused:?}");
    assert!(refused.out.contains("genesys.ca_file"), "{refused:?}");
    std::fs::write(&file, Authority::new("ours").pem()).expect("writable");
    let foreign = tried(platform, &[("GATEWAY__GENESYS__CA_FILE", ca_file)]).await;
    assert_eq!(foreign.code, 1, "{foreign:?}");
    std::fs::write(&file, authority.pem()).expect("writable");
    let taken = tried(platform, &[("GATEWAY__GENESYS__CA_FILE", ca_file)]).await;
    assert!(taken.code == 0 && taken.out.contains("token: fetched"), "{taken:?}");
    std::fs::write(&file, "nonsense").expect("writable");
    let unusable = tried(platform, &[("GATEWAY__GENESYS__CA_FILE", ca_file)]).await;
    assert!(
        unusable.err.contains(ca_file) && unusable.err.contains("genesys.ca_file"),
        "{unusable:?}"
    );
}

#[tokio::test]
async fn calls_use_the_proxy_and_only_it_gets_the_password() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().expect("a folder"));
    let platform = platform(&authority).await;
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("writable");
    let (proxy, asked) = proxy().await;
    let url = format!("http://gateway:hunter2@{proxy}");
    let env = [
        ("GATEWAY__GENESYS__CA_FILE", file.to_str().expect("text")),
        ("GATEWAY__GENESYS__PROXY", url.as_str()),
    ];
    let ended = tried(platform, &env).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let asked = asked.lock().expect("no holder panics").clone();
    assert!(
        asked.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", platform.port())),
        "{asked}"
    );
    // gateway:hunter2
    let authorization = "proxy-authorization: basic z2f0zxdhetpodw50zxiy\r\n";
    assert!(asked.to_ascii_lowercase().contains(authorization), "{asked}");
    let shown = once(&["print-config"], &env).await;
    for text in [&ended.out, &ended.err, &shown.out] {
        assert!(!text.contains("hunter2") && !text.contains("Z2F0ZXdheTpodW50ZXIy"), "{text}");
    }
    assert!(shown.out.contains("proxy = \"********\""), "{}", shown.out);
}

#[tokio::test]
async fn the_proxy_of_the_environment_has_exceptions() {
    let (authority, folder) = (Authority::new("ours"), tempfile::tempdir().expect("a folder"));
    let platform = platform(&authority).await;
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).expect("writable");
    let (proxy, asked) = proxy().await;
    let url = format!("http://{proxy}");
    let env = [
        ("GATEWAY__GENESYS__CA_FILE", file.to_str().expect("text")),
        ("HTTPS_PROXY", url.as_str()),
    ];
    let direct = tried(platform, &[&env[..], &[("NO_PROXY", "localhost")]].concat()).await;
    assert_eq!(direct.code, 0, "{direct:?}");
    assert_eq!(*asked.lock().expect("no test panics with it"), "");
    let proxied = tried(platform, &env).await;
    assert_eq!(proxied.code, 0, "{proxied:?}");
    let asked = asked.lock().expect("no test panics with it").clone();
    assert!(asked.starts_with(&format!("CONNECT localhost:{} ", platform.port())), "{asked}");
}
