//! Several replicas over one simulated platform and a real Redis: one token, one budget, one truth.
//!
//! Time is real here, because Redis lives in real time.

mod operations;
mod outages;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use attribute_gateway::config;
use attribute_gateway::genesys::{JitterSource, in_process};
use attribute_gateway::service::{ClientSource, Replicas, Service, ServiceParts, StoreParts};
use attribute_gateway::telemetry::LogLosses;
use axum::body::Body;
use genesys_simulator::{
    FaultAction, RequestKind, ScriptedFault, SimulatedCall, Simulator, SimulatorSettings,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::harness::{
    Answer, CALL, CUSTOMER, Process, attributes_of, customer_call, fetch, ms, request, send, until,
};
use crate::store::server::RedisServer;

/// Replicas, and what they share.
struct Cluster {
    simulator: Simulator,
    redis: RedisServer,
    settings: Vec<(&'static str, String)>,
}

impl Cluster {
    async fn new(settings: SimulatorSettings, gateway: &[(&'static str, &str)]) -> Self {
        let simulator = Simulator::new(settings);
        simulator.add_call(customer_call()).expect("a sound conversation");
        let settings = gateway.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { simulator, redis: RedisServer::start(&[]).await, settings }
    }

    fn env(&self, replica: &str) -> BTreeMap<String, String> {
        let platform = self.simulator.settings();
        let mut env: BTreeMap<String, String> = [
            ("GENESYS_CLIENT_ID", platform.client_id.as_str()),
            ("GENESYS_CLIENT_SECRET", platform.client_secret.as_str()),
            ("GATEWAY__VERIFY__SETTLE", "1s"),
            ("GATEWAY__STORE__BACKEND", "redis"),
            ("GATEWAY__STORE__REDIS__URL", &self.redis.url()),
            ("GATEWAY__STORE__REDIS__REPLICA", replica),
            ("GATEWAY__STORE__REDIS__EXPECTED_REPLICAS", "3"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.extend(self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        env
    }

    /// Starts a replica in this process. Dropping it is like a crash.
    async fn replica(&self, name: &str) -> Service {
        self.replica_with(name, &[]).await.expect("it starts")
    }

    async fn replica_with(&self, name: &str, more: &[(&str, &str)]) -> anyhow::Result<Service> {
        let mut env = self.env(name);
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let source = config::ConfigSource { file: None, env };
        let config = config::load(&source).expect("a sound configuration").config;
        let credentials = config.credentials().expect("both are set");
        let parts = ServiceParts {
            transport: in_process(self.simulator.router(), 1 << 20),
            jitter: JitterSource::random(),
            log: LogLosses::default(),
            audit: None,
            tls: None,
            client_registry: ClientSource::from_auth(&config.auth).expect("sound callers"),
            spans: None,
            store: StoreParts::open(&config.store, &credentials)?,
            replicas: Replicas::open(&config, &credentials).await?,
        };
        Ok(Service::build(&config, &credentials, parts))
    }

    async fn three(&self) -> Vec<Service> {
        let replicas = join_all(["one", "two", "three"].map(|name| self.replica(name))).await;
        join_all(replicas.iter().map(Service::started)).await;
        replicas
    }

    fn truth(&self, key: &str) -> Value {
        let map = self.simulator.attributes(CALL, CUSTOMER).expect("it exists");
        serde_json::to_value(map).expect("JSON")[key].clone()
    }
}

/// Runs futures at the same time, and returns what they return, in order.
async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Result<F::Output, Pin<Box<F>>>> =
        futures.into_iter().map(|future| Err(Box::pin(future))).collect();
    poll_fn(|context| {
        for one in &mut running {
            if let Err(future) = one
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *one = Ok(output);
            }
        }
        if running.iter().all(Result::is_ok) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(Result::ok).collect()
}

fn platform() -> SimulatorSettings {
    SimulatorSettings { latency: ms(5), lag: ms(150), ..SimulatorSettings::default() }
}

/// After a start with an empty Redis, no value counts as unchanged for so long.
const SOON_PROVED: (&str, &str) = ("GATEWAY__VERIFY__OUTSTANDING", "3s");

const PLENTY: (&str, &str) = ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "100000");

async fn read(replica: &Service, conversation: &str) -> Answer {
    send(
        replica.router(),
        request("GET", &attributes_of(conversation)).body(Body::empty()).expect("a request"),
    )
    .await
}

async fn write(replica: &Service, query: &str, headers: &[(&str, &str)], map: Value) -> Answer {
    let mut request = request("PUT", &format!("{}{query}", attributes_of(CALL)))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = json!({ "attributes": map }).to_string();
    send(replica.router(), request.body(body.into()).expect("a request")).await
}

async fn readiness(replica: &Service) -> Answer {
    send(
        replica.router(),
        request("GET", "/readyz?verbose").body(Body::empty()).expect("a request"),
    )
    .await
}

#[tokio::test]
async fn three_replicas_start_with_one_token_and_renew_it_once() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    assert_eq!(cluster.simulator.count(RequestKind::Token), 1);
    for answer in join_all(replicas.iter().map(|replica| read(replica, CALL))).await {
        answer.assert_status(200);
    }
    // All replicas see a 401 at the same time.
    assert_eq!(cluster.simulator.kill_tokens(), 1);
    for answer in join_all(replicas.iter().map(|replica| read(replica, CALL))).await {
        answer.assert_status(200);
    }
    assert_eq!(cluster.simulator.count(RequestKind::Token), 2);
    let ready = readiness(&replicas[0]).await;
    for line in ["store: ok: reachable", "store.budget: ok", "3 replicas seen"] {
        assert!(ready.text.contains(line), "{}", ready.text);
    }
}

#[tokio::test]
async fn the_platform_can_tell_replicas_apart() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    let names = ["one", "two", "three"];
    for (replica, name) in replicas.iter().zip(names) {
        write(replica, "", &[], json!({ "tier": name })).await.assert_status(200);
    }
    let ledger = request("GET", "/__sim/ledger").body(Body::empty()).expect("a request");
    let ledger = send(cluster.simulator.router(), ledger).await.json();
    let agent = |name| format!("attribute-gateway/{} ({name})", env!("CARGO_PKG_VERSION"));
    let agents: Vec<_> =
        ledger.as_array().expect("a list").iter().map(|e| &e["user_agent"]).collect();
    assert_eq!(agents, names.map(agent).each_ref());
}

fn is_paused(answer: &Answer) -> bool {
    answer.status == 503 && answer.text.contains("upstream-rate-limited")
}

#[tokio::test]
async fn a_429_pauses_all_replicas() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    for replica in &replicas {
        read(replica, CALL).await.assert_status(200);
    }
    let throttle = FaultAction::Throttle { retry_after: Some(8) };
    cluster.simulator.inject(ScriptedFault::on_read(throttle));
    let paused = Instant::now();
    // Another path than the one just read, which is still in memory.
    let answer = read(&replicas[0], &conversation(1)).await;
    assert_ne!(answer.status, 200, "{}", answer.text);
    until("the others know of it", async || {
        let other = conversation(2);
        let ready = join_all(replicas[1..].iter().map(|replica| read(replica, &other))).await;
        ready.iter().all(is_paused).then_some(())
    })
    .await;
    assert!(paused.elapsed() < Duration::from_secs(6), "they learned it too late");
    let calls = cluster.simulator.count(RequestKind::Read);
    for replica in &replicas {
        let answer = read(replica, &conversation(3)).await;
        assert!(is_paused(&answer), "{}", answer.text);
    }
    assert_eq!(cluster.simulator.count(RequestKind::Read), calls, "a call left during the pause");
    until("calls go on", async || {
        let answers = join_all(replicas.iter().map(|replica| read(replica, CALL))).await;
        answers.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
    assert!(paused.elapsed() >= Duration::from_secs(7), "{:?}", paused.elapsed());
}

#[tokio::test]
async fn a_slow_redis_delays_writes_and_spoils_none() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    // At first, a read waits for the credits of a new budget.
    for replica in &replicas {
        until("it reads", async || (read(replica, CALL).await.status == 200).then_some(())).await;
    }
    for (number, replica) in replicas.iter().enumerate() {
        let pause = redis::cmd("CLIENT").arg("PAUSE").arg(500).to_owned();
        cluster.redis.command::<()>(&pause).await;
        let started = Instant::now();
        let (read, written) = tokio::join!(
            async {
                let answer = read(replica, CALL).await;
                (answer.status, started.elapsed())
            },
            write(replica, "", &[], json!({ "tier": number.to_string() })),
        );
        assert_eq!(read.0, 200);
        assert!(read.1 < ms(400), "a read waited for Redis: {:?}", read.1);
        written.assert_status(200).assert_outcomes(&[("tier", "verified")]);
        assert_eq!(cluster.truth("tier"), number.to_string());
    }
}

#[tokio::test]
async fn a_note_of_another_version_refuses_the_write() {
    let refusing = ("GATEWAY__STORE__REDIS__ON_OUTAGE", "refuse");
    let cluster = Cluster::new(platform(), &[PLENTY, refusing]).await;
    let replica = cluster.replica("one").await;
    replica.started().await;
    write(&replica, "", &[], json!({"tier": "gold"})).await.assert_status(200);
    let keys: Vec<String> = cluster.redis.command(redis::cmd("KEYS").arg("*:patch:*")).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let garbage = redis::cmd("SET").arg(&keys[0]).arg("of another version").to_owned();
    cluster.redis.command::<()>(&garbage).await;
    let patches = cluster.simulator.count(RequestKind::Patch);
    let answer = write(&replica, "", &[], json!({"tier": "silver"})).await;
    answer.assert_problem(503, "store-unavailable", "notApplied");
    assert_eq!(cluster.simulator.count(RequestKind::Patch), patches);
    let ready = readiness(&replica).await.text;
    assert!(ready.contains("store: failed: ") && ready.contains("another version"), "{ready}");
}

#[tokio::test]
async fn a_server_that_cannot_be_used_refuses_the_start() {
    let cluster = Cluster::new(platform(), &[]).await;
    let wrong = [("GATEWAY__STORE__REDIS__URL", cluster.redis.url().replace("//", "//:wrong@"))];
    let wrong = wrong.each_ref().map(|(name, url)| (*name, url.as_str()));
    let refused = cluster.replica_with("one", &wrong).await.err().expect("a wrong password");
    assert!(refused.to_string().contains("refuses the user or password"), "{refused}");
}

/// Reads in turn, until the end.
async fn keep_reading(replica: &Service, first: usize, until: Instant) {
    let mut number = first;
    while Instant::now() < until {
        number += 7;
        let answer = read(replica, &conversation(number % CONVERSATIONS)).await;
        assert!(matches!(answer.status, 200 | 429 | 503), "{}", answer.text);
        if answer.status != 200 {
            sleep(ms(50)).await;
        }
    }
}

const CONVERSATIONS: usize = 100;

fn conversation(number: usize) -> String {
    format!("5eed0000-0000-4000-8000-{:012}", number + 1000)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one scenario, step by step")]
async fn replicas_use_nearly_all_of_the_budget_and_never_more() {
    const WINDOW: Duration = Duration::from_secs(5);
    let limit = Some(3600); // 300 a window
    let settings =
        SimulatorSettings { requests_per_minute: limit, rate_window: WINDOW, ..platform() };
    let gateway = [
        ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "3600"),
        ("GATEWAY__GENESYS__RATE_WINDOW", "5s"),
        ("GATEWAY__GENESYS__CEILINGS__WRITES", "100"),
        ("GATEWAY__GENESYS__CEILINGS__READS", "100"),
        ("GATEWAY__READS__MAX_AGE", "0s"),
    ];
    let cluster = Cluster::new(settings, &gateway).await;
    for number in 0..CONVERSATIONS {
        let call = SimulatedCall::new(conversation(number));
        let participant = format!("c0000000-0000-4000-8000-{number:012}");
        cluster
            .simulator
            .add_call(call.customer(participant, [("tier", "silver")]))
            .expect("sound");
    }
    let replicas = cluster.three().await;
    let start = Instant::now();
    let end = start + Duration::from_secs(16);
    // The first replica gets most of the load, later another one does.
    let loads = [(0, 12, end), (1, 1, end), (2, 1, start + ms(5000)), (2, 12, end)];
    let clients = loads.into_iter().flat_map(|(replica, clients, end)| {
        let replica = &replicas[replica];
        (0..clients).map(move |client| keep_reading(replica, client * 13, end))
    });
    join_all(clients).await;
    let reads: Vec<_> = cluster
        .simulator
        .calls()
        .into_iter()
        .filter(|call| call.kind == RequestKind::Read)
        .collect();
    assert!(reads.iter().all(|call| call.was_answered(200)), "a replica got a 429");
    let within = |from: Instant| {
        reads.iter().filter(|call| from <= call.at && call.at < from + WINDOW).count()
    };
    let most = reads.iter().map(|call| within(call.at)).max().expect("calls");
    assert!(most <= 300, "{most} calls in a window");
    let steady = within(start + ms(6000)) + within(start + ms(11_000));
    assert!(steady >= 540, "only {steady} of 600 calls were used");
}

/// Counts up by reading and writing back, until it has succeeded `times` times.
async fn count_up(replica: &Service, times: usize) -> usize {
    let mut lost = 0;
    for _ in 0..times {
        loop {
            let shown = read(replica, CALL).await;
            shown.assert_status(200);
            let value = shown.json()["attributes"]["counter"]
                .as_str()
                .map_or(0, |text| text.parse::<usize>().expect("a number"));
            let next = json!({"counter": (value + 1).to_string()});
            let headers = [("if-match", shown.header("etag")), ("prefer", "wait=30")];
            let answer = write(replica, "", &headers, next).await;
            match answer.status {
                200 => break,
                412 => lost += 1,
                other => panic!("{other}: {}", answer.text),
            }
        }
    }
    lost
}

#[tokio::test]
async fn no_increment_is_lost_across_replicas() {
    let cluster = Cluster::new(platform(), &[PLENTY]).await;
    let replicas = cluster.three().await;
    let counts = replicas.iter().flat_map(|replica| [count_up(replica, 4), count_up(replica, 4)]);
    let lost: usize = join_all(counts).await.into_iter().sum();
    assert_eq!(cluster.truth("counter"), "24");
    assert!(lost > 0, "they never met");
}

#[tokio::test]
async fn a_value_that_another_replica_is_replacing_is_not_called_unchanged() {
    let settings = SimulatorSettings { lag: ms(1500), ..platform() };
    let cluster = Cluster::new(settings, &[PLENTY, SOON_PROVED]).await;
    let replicas = cluster.three().await;
    // Until then, nothing is known of earlier writes.
    sleep(Duration::from_secs(6)).await;
    let same = write(&replicas[1], "", &[], json!({"tier": "silver"})).await;
    same.assert_status(200).assert_outcomes(&[("tier", "unchanged")]);
    let patches = cluster.simulator.count(RequestKind::Patch);
    let first = write(&replicas[0], "?verify=none", &[], json!({"tier": "gold"})).await;
    first.assert_status(202);
    // Reads still show `silver`.
    let second = write(&replicas[1], "", &[("prefer", "wait=10")], json!({"tier": "silver"})).await;
    second.assert_status(200).assert_outcomes(&[("tier", "verified")]);
    sleep(ms(1600)).await;
    assert_eq!(cluster.truth("tier"), "silver");
    assert_eq!(cluster.simulator.count(RequestKind::Patch), patches + 2);
}

#[tokio::test]
async fn writes_of_replicas_to_one_participant_keep_all_keys() {
    let cluster =
        Cluster::new(platform(), &[PLENTY, ("GATEWAY__GENESYS__PATCH_BODY", "full")]).await;
    cluster.simulator.set_settings(|settings| {
        settings.semantics = genesys_simulator::PatchSemantics::Replace;
    });
    let replicas = cluster.three().await;
    let writes = (0..12).map(|number| {
        let map = json!({ format!("key{number}"): number.to_string() });
        let replica = &replicas[number % 3];
        async move { write(replica, "", &[("prefer", "wait=30")], map).await }
    });
    for answer in join_all(writes).await {
        answer.assert_status(200);
    }
    for number in 0..12 {
        assert_eq!(cluster.truth(&format!("key{number}")), number.to_string(), "key{number}");
    }
    assert_eq!(cluster.truth("language"), "en");
}

fn url_in(text: &str) -> String {
    let rest = &text[text.find("http://").expect("a URL")..];
    rest.split(|c: char| c.is_whitespace() || "\",)".contains(c)).next().unwrap_or(rest).to_owned()
}

fn first_id(conversations: &Value) -> String {
    let found = conversations.to_string();
    let is_id = |text: &&str| text.len() == 36 && text.matches('-').count() == 4;
    found.split('"').find(is_id).expect("a conversation").to_owned()
}
