//! A day of load in ten minutes, over TLS: calls start and end, some calls upstream fail, all keys and the
//! certificate are replaced twice, and for a tenth of the time upstream is gone.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::authority::Authority;
use super::faults::{add_conversations, faults, show};
use super::history::History;
use super::increments;
use super::judge::Case;
use super::outage::all_fail;
use super::pace::Pace;
use super::soak_report::{Memory, Outage, SoakReport};
use super::stack::{Front, Stack, conversation};
use super::traffic::{LIVE, RAISERS, Traffic, Volume, counters, key};
use super::verdict::Verdict;

pub const CLIENTS: usize = 64;
const VOLUME: Volume = Volume {
    writes: usize::MAX / 2,
    workers: CLIENTS - RAISERS,
    pause_ms: 3_000,
    reads: 80,
    ends_some: false,
    handed_over: 0,
};
const SEED: u64 = 1;
/// Of a hundred calls to the platform, so many fail outside the outage.
const FAILING: u8 = 5;
/// The gateway reads changed files within five seconds; a busy machine takes longer.
const TAKEN: Duration = Duration::from_secs(30);
/// So long a request with the previous key may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(3);
/// Until each late `PATCH` has landed and all reads show everything.
const SETTLED: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);
/// The key of the client that reads the metrics.
const MONITOR: &str = "monitor-key";
const START_TIME: &str = "process_start_time_seconds";
const RESIDENT: &str = "process_resident_memory_bytes";
const EXPIRY: &str = "attribute_gateway_tls_certificate_expiry_timestamp_seconds";

struct Soak {
    stack: Arc<Stack>,
    traffic: Arc<Traffic>,
    folder: PathBuf,
    authority: Authority,
    start: Instant,
    lasting: Duration,
    /// What each conversation began with.
    initial: Mutex<HashMap<String, Value>>,
}

/// Runs for so long; fails if anything is not as it has to be.
pub async fn run(program: &str, seconds: u64) -> anyhow::Result<()> {
    ensure!(seconds >= 60, "--seconds is at least 60");
    let folder =
        std::env::temp_dir().join(format!("attribute-gateway-soak-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = Soak::start(program, &folder, Duration::from_secs(seconds)).await;
    let result = match result {
        Ok(soak) => Arc::new(soak).run().await,
        Err(error) => Err(error),
    };
    match &result {
        Ok(()) => std::fs::remove_dir_all(&folder)?,
        Err(_) => println!("soak: the gateway's log and files are in {}", folder.display()),
    }
    result
}

/// The file of all clients, with the keys of these rounds.
fn write_clients(folder: &Path, rounds: &[usize]) -> anyhow::Result<()> {
    let hash = |key: &str| format!("\"{}\"", hex::encode(digest(&SHA256, key.as_bytes())));
    let mut text = format!(
        "[[auth.clients]]\nname = \"monitor\"\nkey_sha256 = {}\naccess = \"read\"\nallow = []\n",
        hash(MONITOR)
    );
    for client in 0..CLIENTS {
        let keys: Vec<_> = rounds.iter().map(|round| hash(&key(client, *round))).collect();
        let keys = keys.join(", ");
        writeln!(text, "[[auth.clients]]\nname = \"client-{client}\"\nkey_sha256 = [{keys}]")?;
    }
    std::fs::write(folder.join("clients.new"), text)?;
    Ok(std::fs::rename(folder.join("clients.new"), folder.join("clients.toml"))?)
}

impl Soak {
    async fn start(program: &str, folder: &Path, lasting: Duration) -> anyhow::Result<Self> {
        let authority = Authority::new("soak");
        let files = authority.server_between(-1, 24).put_into(folder);
        let [certificate, key] = files.each_ref().map(|file| file.to_string_lossy());
        write_clients(folder, &[0])?;
        let [clients, store] = ["clients.toml", "store.sqlite"].map(|name| folder.join(name));
        let variables = [
            ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "600000"),
            ("GATEWAY__SERVER__TLS__CERTIFICATE", certificate.as_ref()),
            ("GATEWAY__SERVER__TLS__KEY", key.as_ref()),
            ("GATEWAY__AUTH__CLIENTS_FILE", &*clients.to_string_lossy()),
            // In memory, the answers of a day's idempotency keys would look like a leak.
            ("GATEWAY__STORE__PATH", &*store.to_string_lossy()),
        ];
        let settings =
            json!({"latency": "10ms", "lag": "10ms", "lag_spread": "300ms", "seed": SEED});
        let pem = authority.pem();
        let front = Front { authority: Some(&pem), log: Some(&folder.join("gateway.log")) };
        let stack = Arc::new(Stack::start_with(program, &variables, settings, &front).await?);
        let initial = Mutex::new(add_conversations(&stack).await?);
        stack.inject(faults(SEED, FAILING)).await?;
        let traffic = Traffic::new(Arc::clone(&stack), SEED, VOLUME, true);
        let (folder, start) = (folder.to_owned(), Instant::now());
        Ok(Self { stack, traffic, folder, authority, start, lasting, initial })
    }

    async fn run(self: Arc<Self>) -> anyhow::Result<()> {
        let started = self.metric(START_TIME).await?;
        let pace = Pace::start(&self.stack);
        let traffic = Arc::clone(&self.traffic);
        let clients = tokio::spawn(async move { traffic.run().await });
        let memory = tokio::spawn(Arc::clone(&self).sample());
        let calls = tokio::spawn(Arc::clone(&self).turn_over());
        let outage = self.events().await?;
        let (memory, turned_over) = (memory.await??, calls.await?);
        turned_over?;
        self.traffic.stop();
        clients.await??;
        self.stack.heal().await?;
        sleep(SETTLED).await;
        ensure!((self.metric(START_TIME).await? - started).abs() < 0.5, "it was restarted");
        let ended = self.stack.end_gateway()?;
        ensure!(ended.success(), "on SIGTERM the gateway ended with {ended}");
        self.judge(&pace, memory, outage).await
    }

    async fn judge(&self, pace: &Pace, memory: Memory, outage: Outage) -> anyhow::Result<()> {
        let initial = self.initial.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (ledger, calls) = (self.stack.ledger().await?, self.stack.calls().await?);
        let history = History::read(&ledger, &calls, &initial);
        let (answers, ended) = self.traffic.results();
        let mut verdict = Verdict::default();
        Case::new(&answers, &history, &ended, &[]).judge(&mut verdict);
        increments::judge(&answers, &history, &counters(), &mut verdict);
        pace.judge(&answers, &mut verdict);
        show(SEED, &answers, &history, self.start.elapsed());
        let log = std::fs::read_to_string(self.folder.join("gateway.log"))?;
        let sent = self.traffic.sent();
        println!(
            "soak: {} s, {CLIENTS} clients, {} calls ended",
            self.lasting.as_secs(),
            ended.len()
        );
        SoakReport { sent, answers: &answers, log: &log, verdict: &verdict, memory, outage }.show()
    }

    /// After so many tenths of the time.
    fn tenth(&self, number: u32) -> Instant {
        self.start + self.lasting / 10 * number
    }

    /// What happens when.
    async fn events(&self) -> anyhow::Result<Outage> {
        sleep_until(self.tenth(2)).await;
        self.replace_keys(1).await?;
        sleep_until(self.tenth(3)).await;
        self.replace_certificate(48).await?;
        sleep_until(self.tenth(4)).await;
        self.stack.heal().await?;
        self.stack.inject(all_fail()).await?;
        let from = self.stack.now();
        sleep_until(self.tenth(5)).await;
        let to = self.stack.now();
        self.stack.heal().await?;
        self.stack.inject(faults(SEED + 1, FAILING)).await?;
        sleep_until(self.tenth(6)).await;
        self.replace_keys(2).await?;
        sleep_until(self.tenth(7)).await;
        self.replace_certificate(72).await?;
        sleep_until(self.start + self.lasting).await;
        Ok(Outage { from, to })
    }

    /// As the documentation says: both keys are accepted until all clients use the new one.
    async fn replace_keys(&self, round: usize) -> anyhow::Result<()> {
        write_clients(&self.folder, &[round - 1, round])?;
        self.until("the new keys", async || Ok(self.status(&key(0, round)).await? == 200)).await?;
        self.traffic.use_next_keys();
        sleep(ON_ITS_WAY).await;
        write_clients(&self.folder, &[round])?;
        self.until("the end of the old keys", async || {
            Ok(self.status(&key(0, round - 1)).await? == 401)
        })
        .await
    }

    async fn replace_certificate(&self, hours: i64) -> anyhow::Result<()> {
        let before = self.metric(EXPIRY).await?;
        self.authority.server_between(-1, hours).put_into(&self.folder);
        self.until("the new certificate", async || Ok(self.metric(EXPIRY).await? > before)).await
    }

    async fn until(
        &self,
        what: &str,
        is_so: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + TAKEN;
        while !is_so().await? {
            ensure!(Instant::now() < end, "{what}: not within {} s", TAKEN.as_secs());
            sleep(SECOND / 4).await;
        }
        Ok(())
    }

    async fn scrape(&self, key: &str) -> anyhow::Result<reqwest::Response> {
        let request = self.stack.client.get(format!("{}/metrics", self.stack.gateways[0]));
        Ok(request.header("x-api-key", key).send().await?)
    }

    async fn status(&self, key: &str) -> anyhow::Result<u16> {
        Ok(self.scrape(key).await?.status().as_u16())
    }

    async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.scrape(MONITOR).await?.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        ensure!(value.is_some(), "/metrics has no {name}");
        Ok(value.unwrap_or_default().parse()?)
    }

    /// Looks at the memory once a second.
    async fn sample(self: Arc<Self>) -> anyhow::Result<Memory> {
        let mut memory = Memory::new(self.lasting);
        while self.start.elapsed() < self.lasting {
            memory.add(self.start.elapsed(), self.metric(RESIDENT).await?);
            sleep(SECOND).await;
        }
        Ok(memory)
    }

    fn began(&self, conversation: String, map: Value) {
        let mut initial = self.initial.lock().unwrap_or_else(PoisonError::into_inner);
        initial.insert(conversation, map);
    }

    /// Once a second a call ends and another one starts.
    async fn turn_over(self: Arc<Self>) -> anyhow::Result<()> {
        for number in LIVE.. {
            if self.start.elapsed() + SECOND > self.lasting {
                break;
            }
            sleep(SECOND).await;
            let (id, map) = (conversation(number), json!({"foreign_0": "start"}));
            self.began(id.clone(), map.clone());
            self.stack.add(&id, &map).await?;
            self.traffic.turn_over().await?;
        }
        Ok(())
    }
}
