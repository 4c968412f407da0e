//! `kill -9` at any moment: what was accepted is made, in order, and nothing is sent blindly.
//!
//! The simulator survives the gateway, and its ledger judges. `KILLS=200` kills ten times as often.

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
use crate::store::server::RedisServer;

/// The keys that the operations write in turn.
const KEYS: [&str; 2] = ["tier", "crm"];
/// Writes of one process.
const WRITES: usize = 6;

/// A platform that outlives the processes, and what they share.
struct Scene {
    simulator: Simulator,
    url: String,
    /// The settings of the store.
    store: Vec<(&'static str, String)>,
}

impl Scene {
    async fn new(store: Vec<(&'static str, String)>) -> Self {
        let settings =
            SimulatorSettings { latency: ms(8), lag: ms(10), ..SimulatorSettings::default() };
        let simulator = Simulator::new(settings);
        simulator.add_call(customer_call()).expect("a sound conversation");
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = simulator.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { simulator, url, store }
    }

    async fn start(&self, replica: &str) -> (Process, String) {
        let settings = self.simulator.settings();
        let mut env = vec![
            ("GENESYS_CLIENT_ID", settings.client_id.as_str()),
            ("GENESYS_CLIENT_SECRET", settings.client_secret.as_str()),
            ("GATEWAY__GENESYS__API_URL", &self.url),
            ("GATEWAY__GENESYS__LOGIN_URL", &self.url),
            ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "100000"),
            // A killed process leaves its part of the budget unused for one window.
            ("GATEWAY__GENESYS__RATE_WINDOW", "1s"),
            ("GATEWAY__STORE__REDIS__REPLICA", replica),
        ];
        env.extend(self.store.iter().map(|(name, value)| (*name, value.as_str())));
        let process = Process::start(&["serve"], &env);
        let address = address(&process).await;
        (process, format!("http://{address}"))
    }
}

/// How often the tests kill: `KILLS`, or 20 times.
fn kills() -> usize {
    std::env::var("KILLS").map_or(20, |kills| kills.parse().expect("a number"))
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

/// An accepted write: key, value and location.
type Accepted = (&'static str, String, String);

/// Hands writes over to a gateway until it is killed after a random time.
async fn write_until_killed(
    (mut process, gateway): (Process, String),
    round: usize,
    random: &mut fastrand::Rng,
    accepted: &mut Vec<Accepted>,
) {
    let writes = async {
        for number in 0..WRITES {
            let (key, value) = (KEYS[number % KEYS.len()], format!("{round}-{number}"));
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

async fn judge_all(scene: &Scene, gateway: &str, accepted: &[Accepted]) {
    assert!(accepted.len() > kills(), "hardly any was accepted");
    for (key, value, location) in accepted {
        let ended = until("it ends", async || {
            let answer = fetch("GET", &format!("{gateway}{location}"), "").await;
            let operation: Value = serde_json::from_slice(answer.body()).expect("JSON");
            (!["queued", "running"].contains(&operation["state"].as_str()?)).then_some(operation)
        });
        let ended = ended.await;
        assert_eq!(ended["state"], "done", "{key}={value}: {ended:#}");
    }
    judge(&scene.simulator, accepted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_outlives_any_kill_and_is_sent_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.db").to_str().expect("text").to_owned();
    let scene = Scene::new(vec![("GATEWAY__STORE__PATH", path)]).await;
    let (mut random, mut accepted) = (fastrand::Rng::with_seed(7), Vec::new());
    for round in 0..kills() {
        let gateway = scene.start("one").await;
        write_until_killed(gateway, round, &mut random, &mut accepted).await;
    }
    let (_process, gateway) = scene.start("one").await;
    judge_all(&scene, &gateway, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_killed_leaves_its_writes_to_others() {
    let redis = RedisServer::start(&[]).await;
    let scene = Scene::new(vec![
        ("GATEWAY__STORE__BACKEND", "redis".to_owned()),
        ("GATEWAY__STORE__REDIS__URL", redis.url()),
    ])
    .await;
    let (mut random, mut accepted) = (fastrand::Rng::with_seed(7), Vec::new());
    let mut replicas = Vec::new();
    for name in ["one", "two"] {
        replicas.push((name, scene.start(name).await));
    }
    for round in 0..kills() {
        // The other one takes over, sometimes in the middle of a PATCH.
        let (name, gateway) = replicas.remove(random.usize(0..2));
        write_until_killed(gateway, round, &mut random, &mut accepted).await;
        replicas.push((name, scene.start(name).await));
    }
    judge_all(&scene, &replicas[0].1.1, &accepted).await;
}

fn judge(simulator: &Simulator, accepted: &[Accepted]) {
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
