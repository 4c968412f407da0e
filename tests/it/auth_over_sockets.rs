//! Known clients, with the program itself over sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use attribute_gateway::app::key_digest;
use attribute_gateway::genesys::{HttpClientSettings, HttpTransport};
use bytes::Bytes;
use http::Request;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::commands::{banner_commands, pasted};
use crate::harness::{Ended, Process, client, once, replace};

const CREDENTIALS: [(&str, &str); 2] =
    [("GENESYS_CLIENT_ID", "demo"), ("GENESYS_CLIENT_SECRET", "demo-secret")];

/// Two changes of the file, each taken within five seconds.
const IN_TIME: Duration = Duration::from_secs(10);

/// Status of the answer to a request with this key.
async fn status(url: &str, key: &str) -> u16 {
    status_by(
        HttpClientSettings::new(Duration::from_secs(20), 1 << 20).transport().expect("a client"),
        url,
        key,
    )
    .await
}

/// The same by a client that keeps its connections.
async fn status_by(transport: HttpTransport, url: &str, key: &str) -> u16 {
    let request = Request::get(url).header("x-api-key", key).body(Bytes::new()).expect("a request");
    transport.send(request).await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn new_key_prints_an_entry_that_authenticates_its_key() {
    let Ended { code, out, err } = once(&["new-key", "crm"], &[]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let key = out.split_whitespace().find(|word| word.starts_with("agk_")).expect("a key");
    assert_eq!(out.matches(key).count(), 1, "it is shown once: {out}");
    let (_, entry) = out.split_once("\n\n[[auth.clients]]").expect("an entry");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    std::fs::write(&file, format!("[[auth.clients]]{entry}")).expect("written");
    let env = ("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"));
    let checked = once(&["check-config"], &[CREDENTIALS[0], CREDENTIALS[1], env]).await;
    assert_eq!(checked.code, 0, "{}", checked.err);
    let demo = Process::demo(&[], &[env]).await;
    let metrics = format!("{}/metrics", demo.gateway);
    assert_eq!([status(&metrics, key).await, status(&metrics, "agk_x").await], [200, 401]);
    assert_eq!(once(&["new-key", "a b"], &[]).await.code, 1);
    std::fs::write(&file, "[[auth.clients]]\nname = \"crm\"\n").expect("written");
    let checked = once(&["check-config"], &[CREDENTIALS[0], CREDENTIALS[1], env]).await;
    assert!(checked.code == 1 && checked.err.contains("key_sha256"), "{}", checked.err);
}

#[tokio::test]
async fn an_open_reachable_address_needs_an_explicit_setting() {
    let open = [CREDENTIALS[0], CREDENTIALS[1], ("GATEWAY__SERVER__BIND", "0.0.0.0:0")];
    for command in ["serve", "check-config"] {
        let ended = once(&[command], &open).await;
        assert!(ended.code == 1 && ended.err.contains("auth.mode"), "{command}: {}", ended.err);
    }
    let meant = [&open[..], &[("GATEWAY__AUTH__MODE", "none")]].concat();
    assert_eq!(once(&["check-config"], &meant).await.code, 0);
    let serve = Process::start(&["serve"], &meant);
    let log = serve.wrote("\"serving\"").await;
    assert!(log.contains("any program that reaches this address can read and write"), "{log}");
}

#[tokio::test]
async fn a_reachable_demo_prints_working_commands_with_a_key() {
    let demo = Process::demo(&[], &[("GATEWAY__SERVER__BIND", "0.0.0.0:0")]).await;
    let mut codes = Vec::new();
    for line in banner_commands(&demo.banner) {
        assert!(line.contains("-H 'X-API-Key: demo-key'"), "{line}");
        codes.push(pasted(&line).await.0);
    }
    assert_eq!(codes, ["200", "200", "409"]);
    let attributes = format!("{}/v1/conversations", demo.gateway.replace("0.0.0.0", "127.0.0.1"));
    assert_eq!(status(&attributes, "another").await, 401);
}

#[tokio::test]
async fn the_compose_file_brings_a_caller_whose_key_it_tells() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/compose/clients.toml");
    let env = ("GATEWAY__AUTH__CLIENTS_FILE", file);
    let compose = include_str!("../../docker-compose.yml");
    assert!(compose.contains("-H 'X-API-Key: demo-key'"), "its key is shown");
    assert!(compose.contains("./deploy/compose:/etc/attribute-gateway:ro"), "the file is there");
    let bind = ("GATEWAY__SERVER__BIND", "127.0.0.1:0");
    // In front of the platform itself this key is refused.
    let api = ("GATEWAY__GENESYS__API_URL", "http://127.0.0.1:1");
    let serve = Process::start(&["serve"], &[CREDENTIALS[0], CREDENTIALS[1], env, bind, api]);
    let log = serve.wrote("\"serving\"").await;
    let line = log.lines().find(|line| line.contains("\"serving\"")).expect("the line");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let metrics =
        format!("http://{}/metrics", line["server.address"].as_str().expect("an address"));
    assert_eq!([status(&metrics, "demo-key").await, status(&metrics, "x").await], [200, 401]);
}

/// A client that has nothing to do with it, all the time; what it was answered.
fn busy(url: Arc<str>, stop: Arc<AtomicU32>) -> JoinHandle<Vec<u16>> {
    tokio::spawn(async move {
        let mut answers = Vec::new();
        let transport = HttpClientSettings::new(Duration::from_secs(20), 1 << 20)
            .transport()
            .expect("a client");
        while stop.load(Ordering::Relaxed) == 0 {
            answers.push(status_by(transport.clone(), &url, "other-key").await);
        }
        answers
    })
}

#[tokio::test]
async fn a_key_rotation_under_load_refuses_no_valid_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("clients.toml");
    let digest = |key: &str| format!("\"{}\"", key_digest(key.as_bytes()).to_hex());
    let names = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| digest(key)).collect();
        let crm = format!("[[auth.clients]]\nname = \"crm\"\nkey_sha256 = [{}]\n", keys.join(", "));
        crm + &client("other", "other-key", "")
    };
    std::fs::write(&file, names(&["one"])).expect("written");
    let env = ("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"));
    let demo = Process::demo(&[], &[env]).await;
    let url = Arc::<str>::from(format!("{}/metrics", demo.gateway));
    let stop = Arc::new(AtomicU32::new(0));
    let others: Vec<_> = (0..4).map(|_| busy(Arc::clone(&url), Arc::clone(&stop))).collect();
    for (old, new) in [("one", "two"), ("two", "three")] {
        let start = Instant::now();
        replace(&file, &names(&[old, new]));
        while status(&url, new).await != 200 {
            assert_eq!(status(&url, old).await, 200);
            assert!(start.elapsed() < IN_TIME, "the new key is not taken");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        replace(&file, &names(&[new]));
        while status(&url, old).await != 401 {
            assert_eq!(status(&url, new).await, 200);
            assert!(start.elapsed() < IN_TIME, "the old key is not given up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    stop.store(1, Ordering::Relaxed);
    let mut asked = 0;
    for other in others {
        let answers = other.await.expect("no panic");
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
        asked += answers.len();
    }
    assert!(asked > 50, "there was load: {asked}");
}
