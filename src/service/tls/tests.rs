use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::http::paths;

/// Days from now.
fn day(days: i64) -> OffsetDateTime {
    clock::now() + time::Duration::days(days)
}

/// Writes a self-signed certificate that is valid until then, and its key, into a folder.
fn put(folder: &Path, until: OffsetDateTime) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = until;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    std::fs::write(folder.join("tls.crt"), &certificate).expect("written");
    std::fs::write(folder.join("ca.crt"), &certificate).expect("written");
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).expect("written");
}

/// Files that are valid until then, and TLS that requests client certificates.
fn tls_with_client_auth(until: OffsetDateTime) -> (TempDir, ServerTls) {
    let folder = TempDir::new().expect("a folder");
    put(folder.path(), until);
    let at = |name| folder.path().join(name);
    let settings = TlsConfig {
        certificate: at("tls.crt"),
        key: at("tls.key"),
        clients: ClientCertificates::Optional(at("ca.crt")),
        handshake_timeout: toml::Value::from("5s").try_into().expect("a duration"),
    };
    (folder, ServerTls::load(&settings).expect("they match"))
}

fn watch_files(tls: &ServerTls) {
    tokio::spawn(tls.clone().watch(ServiceMetrics::new(paths::ALL)));
}

#[test]
fn an_expired_server_certificate_fails_the_check() {
    let (_folder, good) = tls_with_client_auth(day(2));
    assert!(good.check().ok && good.check().detail.starts_with("certificate valid until "));
    let (_folder, over) = tls_with_client_auth(day(-1));
    assert!(!over.check().ok && over.check().detail.starts_with("certificate expired on "));
}

#[test]
fn client_certificates_disable_session_resumption() {
    let (_folder, tls) = tls_with_client_auth(day(2));
    let server = Arc::clone(&tls.material().server);
    assert_eq!((server.send_tls13_tickets, server.session_storage.can_cache()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn client_authorities_are_reloaded() {
    let (folder, tls) = tls_with_client_auth(day(2));
    watch_files(&tls);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = tls.material();
    let (other, _) = tls_with_client_auth(day(2));
    std::fs::copy(other.path().join("ca.crt"), folder.path().join("ca.crt")).expect("copied");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!Arc::ptr_eq(&before, &tls.material()));
}

#[tokio::test(start_paused = true)]
async fn a_change_before_the_watch_begins_is_loaded() {
    let (folder, tls) = tls_with_client_auth(day(2));
    put(folder.path(), day(9));
    watch_files(&tls);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(tls.material().term.expires > day(8));
}
