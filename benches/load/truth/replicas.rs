//! Three gateways that share a real Redis, killed and started again at random while clients write through
//! all of them. Redis is restarted once. Every answer is judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::faults::{Plan, Tally, TruthCase, settings};
use super::judge::Downtime;
use super::stack::{Ended, Front, Stack, free_address, start, wait_for};
use super::traffic::counters;

const REPLICAS: usize = 3;

/// Between two kills, and until the replica is started again, in milliseconds.
const KILL_AFTER: std::ops::Range<u64> = 1_000..5_000;
const DOWN_FOR: std::ops::Range<u64> = 0..2_500;

/// Which kill is that of Redis.
const REDIS_KILL: std::ops::Range<u32> = 2..5;

/// Runs all seeds; whether nothing false was said.
pub async fn run(program: &str, plan: Plan) -> anyhow::Result<bool> {
    let mut tally = Tally::default();
    for seed in plan.seeds() {
        // While Redis is away, `local` promises `If-Match` within one replica only.
        let local = seed.is_multiple_of(3);
        let cluster = Cluster::start(program, seed, local).await?;
        let counters = if local { Vec::new() } else { counters() };
        let case =
            TruthCase { stack: Arc::clone(&cluster.stack), seed, plan, counters, handed_over: 20 };
        let done = AtomicBool::new(false);
        let during =
            async |traffic: std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>>>>| {
                let traffic = async {
                    let result = traffic.await;
                    done.store(true, Ordering::Relaxed);
                    result
                };
                let (traffic, down) = tokio::join!(traffic, cluster.kill_some(seed, &done));
                traffic.and(down)
            };
        tally.add(case.run(during).await?);
        cluster.tell_writers(local).await?;
    }
    // A repeat after a kill waits for the time that the first request had.
    Ok(tally.show("replicas", plan, 90.0))
}

struct Cluster {
    stack: Arc<Stack>,
    program: String,
    on_outage: &'static str,
    /// The address of each replica, and its process.
    replicas: tokio::sync::Mutex<Vec<(String, Option<Ended>)>>,
    redis: Redis,
}

impl Cluster {
    async fn start(program: &str, seed: u64, local: bool) -> anyhow::Result<Self> {
        let redis = Redis::start().await?;
        let mut stack = Stack::platform(program, settings(seed), &Front::default()).await?;
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            let at = free_address()?.to_string();
            stack.gateways.push(format!("http://{at}"));
            replicas.push((at, None));
        }
        let cluster = Self {
            stack: Arc::new(stack),
            program: program.to_owned(),
            on_outage: if local { "local" } else { "refuse" },
            replicas: replicas.into(),
            redis,
        };
        for number in 0..REPLICAS {
            cluster.raise(number).await?;
        }
        Ok(cluster)
    }

    /// Starts a replica, and waits until it is ready.
    async fn raise(&self, number: usize) -> anyhow::Result<()> {
        let name = format!("replica-{number}");
        let variables = [
            ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "600000"),
            ("GATEWAY__STORE__BACKEND", "redis"),
            ("GATEWAY__STORE__REDIS__URL", &self.redis.url()),
            ("GATEWAY__STORE__REDIS__REPLICA", &name),
            ("GATEWAY__STORE__REDIS__EXPECTED_REPLICAS", "3"),
            ("GATEWAY__STORE__REDIS__ON_OUTAGE", self.on_outage),
        ];
        let mut replicas = self.replicas.lock().await;
        let (at, process) = &mut replicas[number];
        *process = Some(self.stack.gateway(&self.program, at, &variables, None)?);
        wait_for(&self.stack.client, &format!("http://{at}/readyz")).await
    }

    /// Kills one process after the other, until `done`; when which replica was down.
    async fn kill_some(&self, seed: u64, done: &AtomicBool) -> anyhow::Result<Vec<Downtime>> {
        let mut random = fastrand::Rng::with_seed(seed.wrapping_mul(7_919));
        let redis_kill = random.u32(REDIS_KILL);
        let (mut down, mut kills) = (Vec::new(), 0);
        loop {
            sleep(Duration::from_millis(random.u64(KILL_AFTER))).await;
            if done.load(Ordering::Relaxed) {
                println!("  {kills} times a replica or Redis was killed");
                return Ok(down);
            }
            kills += 1;
            if kills == redis_kill {
                self.redis.kill().await;
                sleep(Duration::from_millis(random.u64(DOWN_FOR))).await;
                self.redis.start_again().await?;
                continue;
            }
            let (replica, from) = (random.usize(..REPLICAS), self.stack.now());
            self.replicas.lock().await[replica].1 = None;
            sleep(Duration::from_millis(random.u64(DOWN_FOR))).await;
            self.raise(replica).await?;
            down.push(Downtime { replica, from, to: self.stack.now() });
        }
    }

    /// Prints how many writes came from which replica.
    async fn tell_writers(&self, local: bool) -> anyhow::Result<()> {
        let ledger = self.stack.ledger().await?;
        let count = |number: usize| {
            let name = format!("(replica-{number})");
            let of = |agent: &str| agent.ends_with(&name);
            ledger.iter().filter(|entry| entry["user_agent"].as_str().is_some_and(of)).count()
        };
        let counts: Vec<usize> = (0..REPLICAS).map(count).collect();
        let mode = if local { "local" } else { "refuse" };
        println!("  writes of each replica {counts:?}; on_outage {mode}");
        anyhow::ensure!(counts.iter().all(|count| *count > 0), "a replica wrote nothing");
        Ok(())
    }
}

/// A real server in a directory of its own, which writes every change to its disk.
struct Redis {
    port: String,
    directory: tempfile::TempDir,
    process: tokio::sync::Mutex<Option<Ended>>,
}

impl Redis {
    async fn start() -> anyhow::Result<Self> {
        let port = free_address()?.port().to_string();
        let redis = Self { port, directory: tempfile::tempdir()?, process: None.into() };
        redis.start_again().await?;
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    async fn kill(&self) {
        *self.process.lock().await = None;
    }

    async fn start_again(&self) -> anyhow::Result<()> {
        let program = std::env::var("REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let directory = self.directory.path().to_string_lossy();
        let args = [
            ["--port", &self.port],
            ["--bind", "127.0.0.1"],
            ["--save", ""],
            ["--appendonly", "yes"],
            ["--appendfsync", "always"],
            ["--dir", &directory],
        ];
        *self.process.lock().await = Some(start(&program, &args.concat(), &[], None)?);
        for _ in 0..200 {
            if self.answers().await.is_ok_and(|answers| answers) {
                return Ok(());
            }
            sleep(Duration::from_millis(25)).await;
        }
        anyhow::bail!("{program} does not answer")
    }

    async fn answers(&self) -> anyhow::Result<bool> {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", self.port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok(&answer == b"+PONG")
    }
}
