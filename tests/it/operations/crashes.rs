//! `kill -9` at any moment: what was accepted is made, in order, and nothing is sent blindly.
//!
//! The simulator survives the gateway, and its ledger judges. `SOAK=full` kills ten times as often.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use attribute_gateway::genesys::HttpClientSettings;
use bytes::Bytes;
use genesys_simulator::{RequestKind, Simulator, SimulatorSettings};
use http::{Request, Response};
use serde_json::{Value, json};

use crate::commands::address;
use crate::harness::{CALL, Process, attributes_of, customer_call, fetch, ms, until};

/// The keys that the operations write in turn.
const KEYS: [&str; 2] = ["tier", "crm"];
/// Writes of one process.
const WRITES: usize = 6;

/// A platform that outlives the processes, and what they share.
struct Scene {
    simulator: Simulator,
    url: String,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let settings =
            SimulatorSettings { latency: ms(8), lag: ms(10), ..SimulatorSettings::default() };
        let simulator = Simulator::new(settings);
        simulator.add_call(customer_call()).expect("a sound conversation");
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = simulator.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { simulator, url, folder: tempfile::tempdir().expect("a folder") }
    }

    async fn start(&self) -> (Process, String) {
        let settings = self.simulator.settings();
        let path = self.folder.path().join("store.db");
        let env = [
            ("GENESYS_CLIENT_ID", settings.client_id.as_str()),
            ("GENESYS_CLIENT_SECRET", settings.client_secret.as_str()),
            ("GATEWAY__GENESYS__API_URL", &self.url),
            ("GATEWAY__GENESYS__LOGIN_URL", &self.url),
            ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "100000"),
            ("GATEWAY__STORE__PATH", path.to_str().expect("text")),
        ];
        let process = Process::start(&["serve"], &env);
        let address = address(&process).await;
        (process, format!("http://{address}"))
    }
}

/// Sends a write to be carried out later; `None` if the process was killed before its answer.
async fn accept(gateway: String, key: &'static str, value: String) -> Option<String> {
    let request = Request::put(format!("{gateway}{}", attributes_of(CALL)))
        .header("content-type", "application/json")
        .header("prefer", "respond-async")
        .body(Bytes::from(json!({"attributes": {key: value}}).to_string()))
        .expect("a request");
    let transport = HttpClientSettings::new(Duration::from_secs(5), 1 << 20).transport();
    let answer: Response<Bytes> = transport.expect("a client").send(request).await.ok()?;
    assert_eq!(answer.status(), 202, "{answer:?}");
    Some(answer.headers()["location"].to_str().expect("text").to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_outlives_any_kill_and_is_sent_once() {
    let kills = if std::env::var("SOAK").is_ok_and(|soak| soak == "full") { 200 } else { 20 };
    let scene = Scene::new().await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut accepted: Vec<(&str, String, String)> = Vec::new();
    for kill in 0..kills {
        let (mut process, gateway) = scene.start().await;
        let writes = async {
            for number in 0..WRITES {
                let (key, value) = (KEYS[number % KEYS.len()], format!("{kill}-{number}"));
                if let Some(location) = accept(gateway.clone(), key, value.clone()).await {
                    accepted.push((key, value, location));
                }
            }
        };
        let patience = ms(random.u64(0..250));
        let _ = tokio::time::timeout(patience, writes).await;
        process.signal("KILL");
        process.ended().await;
    }
    assert!(accepted.len() > usize::try_from(kills).expect("small"), "hardly any was accepted");
    let (_process, gateway) = scene.start().await;
    for (key, value, location) in &accepted {
        let ended = until("it ends", async || {
            let answer = fetch("GET", &format!("{gateway}{location}"), "").await;
            let operation: Value = serde_json::from_slice(answer.body()).expect("JSON");
            (!["queued", "running"].contains(&operation["state"].as_str()?)).then_some(operation)
        });
        let ended = ended.await;
        assert_eq!(ended["state"], "done", "{key}={value}: {ended:#}");
    }
    judge(&scene.simulator, &accepted);
}

fn judge(simulator: &Simulator, accepted: &[(&str, String, String)]) {
    for key in KEYS {
        let ledger = simulator.ledger();
        let written = ledger.iter().filter_map(|entry| entry.changes.get(key)?.clone());
        let written: Vec<_> = written.collect();
        let mut times = BTreeMap::<_, usize>::new();
        for value in &written {
            *times.entry(value).or_default() += 1;
        }
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "applied twice: {twice:?}");
        let wanted = accepted.iter().filter(|(of, ..)| *of == key).map(|(_, value, _)| value);
        let mut rest = written.iter();
        for value in wanted {
            assert!(rest.any(|found| found == value), "{key}={value} is lost or out of order");
        }
    }
    // Before a PATCH leaves again, a read has looked.
    let mut last = BTreeMap::new();
    let mut reads = 0;
    for call in simulator.calls() {
        match call.kind {
            RequestKind::Read => reads += 1,
            RequestKind::Patch => {
                let body = call.body.map(|body| body.to_string());
                if let Some(before) = last.insert(body.clone(), reads) {
                    assert!(before < reads, "sent again without a read: {body:?}");
                }
            }
            _ => {}
        }
    }
}
