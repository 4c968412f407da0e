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

/// Puts a certificate that is good until then, and its key, into a folder; it vouches for itself.
fn put(folder: &Path, until: OffsetDateTime) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = until;
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    std::fs::write(folder.join("tls.crt"), &certificate).expect("written");
    std::fs::write(folder.join("ca.crt"), &certificate).expect("written");
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).expect("written");
}

/// Files that are good until then, and TLS that asks clients for certificates.
fn asking(until: OffsetDateTime) -> (TempDir, Arc<ServerTls>) {
    let folder = TempDir::new().expect("a folder");
    put(folder.path(), until);
    let at = |name| folder.path().join(name);
    let settings = config::TlsConfig {
        certificate: at("tls.crt"),
        key: at("tls.key"),
        clients: ClientCertificates::Optional(at("ca.crt")),
        handshake_timeout: Duration::from_secs(5),
    };
    let tls = Arc::new(ServerTls::load(&settings).expect("they go together"));
    (folder, tls)
}

/// What is in use, to be compared.
fn in_use(tls: &ServerTls) -> Arc<TlsMaterial> {
    Arc::clone(&tls.state.lock().material)
}

fn keeps(tls: &Arc<ServerTls>) {
    let (tls, metrics) = (Arc::clone(tls), ServiceMetrics::new(paths::ALL));
    tokio::spawn(async move { tls.watch_files(&metrics).await });
}

#[test]
fn a_certificate_of_its_own_that_has_expired_is_told() {
    let (_folder, good) = asking(day(2));
    assert!(good.check().ok && good.check().detail.starts_with("certificate good until "));
    let (_folder, over) = asking(day(-1));
    assert!(!over.check().ok && over.check().detail.starts_with("certificate expired on "));
}

#[test]
fn where_callers_show_certificates_no_session_is_resumed() {
    let (_folder, tls) = asking(day(2));
    let server = Arc::clone(&in_use(&tls).server);
    assert_eq!((server.send_tls13_tickets, server.session_storage.can_cache()), (0, false));
}

#[tokio::test(start_paused = true)]
async fn the_authorities_of_callers_are_taken_anew_as_well() {
    let (folder, tls) = asking(day(2));
    keeps(&tls);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = in_use(&tls);
    let (other, _) = asking(day(2));
    std::fs::copy(other.path().join("ca.crt"), folder.path().join("ca.crt")).expect("copied");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!Arc::ptr_eq(&before, &in_use(&tls)));
}

#[tokio::test(start_paused = true)]
async fn what_changed_before_anybody_watched_is_taken() {
    let (folder, tls) = asking(day(2));
    put(folder.path(), day(9));
    keeps(&tls);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(in_use(&tls).term.expires > day(8));
}
