//! What clients see of one that asks for twenty times its share, and how the budget is divided when all
//! want more than there is: the service as it is shipped, over real sockets, with the simulator as its
//! upstream in this process.
//!
//! `cargo run --release --example flood -- target/release/attribute-gateway`, or `make load-flood`. The
//! same is tested exactly, under paused time, in `tests/it/fair_shares.rs`. Stops with an error where a client
//! within its share was refused or delayed, or the shares do not follow the weights.

#![expect(clippy::print_stdout, reason = "its output is what it is run for")]

mod flood_report;
mod gateway;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use attribute_gateway::app::key_digest;
use genesys_simulator::{RequestKind, SimulatedCall, SimulatorSettings};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::flood_report::{CALLERS, ClientAnswer, Run, WEIGHTS, judge, judge_shares, show};
use self::gateway::Gateway;

/// Calls that the platform grants a second, counted over ten; two percent are kept for what has begun.
const BUDGET: u64 = 100;
const USABLE: f64 = 98.0;

/// Conversations of each client, and those that all of them ask for.
const OWN: u64 = 200;
const SHARED: u64 = 40;
const ALL_OF_THEM: usize = 9;

/// Until the window is full, and for how long it is measured then.
const BUILT_UP: Duration = Duration::from_secs(12);
const MEASURED: Duration = Duration::from_secs(30);

/// With and without the flood in turn: the machine is not the same all the time. A round in which this
/// process itself was held up for longer than this does not count; so many are tried.
const ROUNDS: usize = 3;
const QUIET: Duration = Duration::from_millis(20);
const TRIES: usize = 12;

/// How often it is looked whether this process itself is held up.
const WAKE: Duration = Duration::from_millis(10);

/// Most places for requests where it is tried to take all of them, and the connections that try it.
const PLACES: &str = "200";
const HOLDERS: usize = 400;

/// Until a connection that holds no place any more is made again.
const AGAIN: Duration = Duration::from_secs(2);

/// What one client asks for, as a part of its share, half of the calls for reads and half for writes.
#[derive(Clone, Copy)]
struct Load {
    caller: usize,
    times: f64,
    /// Whether half of it is about conversations that others ask for as well.
    shares: bool,
}

/// The service, and how it is asked.
struct Service {
    gateway: Gateway,
    client: reqwest::Client,
    /// Who may call; looked at again and again.
    _callers: tempfile::NamedTempFile,
}

fn conversation(owner: usize, number: u64) -> String {
    format!("5eed0000-0000-4000-8000-{owner}{number:011}")
}

impl Service {
    async fn start(program: &str, more: &[(&str, &str)]) -> anyhow::Result<Self> {
        let per_minute = BUDGET * 60;
        let settings = SimulatorSettings {
            latency: Duration::from_millis(20),
            lag: Duration::from_millis(50),
            requests_per_minute: Some(u32::try_from(per_minute)?),
            rate_window: Duration::from_secs(10),
            keep_records: 100_000,
            ..SimulatorSettings::default()
        };
        let mut file = tempfile::NamedTempFile::new()?;
        for (name, share) in CALLERS {
            let digest = key_digest(name.as_bytes()).to_hex();
            let rights = format!("access = \"write\"\nshare = {share}");
            writeln!(
                file,
                "[[auth.clients]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n{rights}"
            )?;
        }
        let (path, per_minute) = (file.path().to_string_lossy(), per_minute.to_string());
        let mut variables = vec![
            ("GATEWAY__AUTH__CLIENTS_FILE", &*path),
            ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", &per_minute),
            ("GATEWAY__GENESYS__RATE_WINDOW", "10s"),
        ];
        variables.extend(more);
        let gateway = Gateway::start(program, settings, &variables).await?;
        let owners = (0..CALLERS.len()).map(|owner| (owner, OWN));
        for (owner, count) in owners.chain([(ALL_OF_THEM, SHARED)]) {
            for number in 0..count {
                let customer = format!("c0000000-0000-4000-8000-{owner}{number:011}");
                let call = SimulatedCall::new(conversation(owner, number))
                    .customer(&customer, [("a", "1")]);
                gateway.simulator.add_call(call).map_err(|error| anyhow::anyhow!("{error:?}"))?;
            }
        }
        let client = reqwest::Client::builder().build()?;
        Ok(Self { gateway, client, _callers: file })
    }

    /// One request; a connection that fails counts as status 0.
    async fn ask(
        self: Arc<Self>,
        caller: usize,
        conversation: String,
        write: Option<u64>,
    ) -> ClientAnswer {
        let url =
            format!("http://{}/v1/conversations/{conversation}/attributes", self.gateway.address);
        let request = match write {
            None => self.client.get(url),
            Some(number) => {
                let key = format!("{}_{}", CALLERS[caller].0, number % 50);
                let body = json!({ "attributes": { key: number.to_string() } }).to_string();
                self.client.put(url).header("content-type", "application/json").body(body)
            }
        };
        let start = Instant::now();
        let answer = request.header("x-api-key", CALLERS[caller].0).send().await;
        let status = match answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                answer.bytes().await.map_or(0, |_| status)
            }
            Err(_) => 0,
        };
        ClientAnswer { caller, write: write.is_some(), status, took: start.elapsed() }
    }

    /// Asks as often as `load` says, whatever becomes of it. What was asked while it is measured.
    async fn run(self: Arc<Self>, load: Load, write: bool) -> Vec<ClientAnswer> {
        let share = USABLE * f64::from(u32::try_from(CALLERS[load.caller].1).unwrap_or(1));
        let calls = if write { 3.0 } else { 1.0 };
        let every = Duration::from_secs_f64(
            2.0 * calls * f64::from(u32::try_from(WEIGHTS).unwrap_or(1)) / share / load.times,
        );
        let (start, mut tasks, mut number) = (Instant::now(), JoinSet::new(), 0_u32);
        let mut early = JoinSet::new();
        while start.elapsed() < BUILT_UP + MEASURED {
            let owner = if load.shares && fastrand::bool() { ALL_OF_THEM } else { load.caller };
            let count = if owner == ALL_OF_THEM { SHARED } else { OWN };
            let asked = conversation(owner, fastrand::u64(..count));
            let measured = if start.elapsed() < BUILT_UP { &mut early } else { &mut tasks };
            let value = write.then_some(u64::from(number));
            measured.spawn(Arc::clone(&self).ask(load.caller, asked, value));
            number += 1;
            sleep_until(start + every * number).await;
        }
        drop(early.join_all().await);
        tasks.join_all().await
    }

    /// Runs all loads concurrently.
    async fn all(self: &Arc<Self>, loads: &[Load]) -> Vec<ClientAnswer> {
        let mut tasks = JoinSet::new();
        for load in loads {
            for write in [false, true] {
                tasks.spawn(Arc::clone(self).run(*load, write));
            }
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }

    /// Calls in the measured time that upstream has seen for the conversations of each client.
    fn calls(&self, start: Instant) -> [u64; 3] {
        let measured = start + BUILT_UP..start + BUILT_UP + MEASURED;
        let mut each = [0; 3];
        for call in self.gateway.simulator.calls() {
            let is_call = matches!(call.kind, RequestKind::Read | RequestKind::Patch);
            let owner = call.conversation.as_deref().and_then(|id| id.as_bytes().get(24));
            let owner = owner.map_or(ALL_OF_THEM, |digit| usize::from(digit - b'0'));
            if let Some(count) = each.get_mut(owner)
                && is_call
                && measured.contains(&call.at)
            {
                *count += 1;
            }
        }
        each
    }

    /// Holds a place: sends the head of a write as the flooding client, and no body, again and again.
    async fn hold(self: Arc<Self>) {
        let path = format!("/v1/conversations/{}/attributes", conversation(0, 0));
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000\r\n\r\n{{",
            CALLERS[0].0
        );
        // Not all in one moment, or it is the load that has to wait for itself.
        let pause = || AGAIN.mul_f64(0.5 + fastrand::f64());
        sleep(pause()).await;
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.gateway.address).await
                && stream.write_all(head.as_bytes()).await.is_ok()
            {
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
            }
            sleep(pause()).await;
        }
    }
}

/// Wakes up again and again, and looks how late.
async fn lateness() -> Duration {
    let (start, mut late) = (Instant::now(), Vec::new());
    while start.elapsed() < BUILT_UP + MEASURED {
        let due = Instant::now() + WAKE;
        sleep_until(due).await;
        late.push(due.elapsed());
    }
    late.sort_unstable();
    late.get(late.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
}

/// Runs `loads` on a fresh service, while so many connections hold slots.
async fn run(
    program: &str,
    name: &str,
    loads: &[Load],
    (holders, variables): (usize, &[(&str, &str)]),
) -> anyhow::Result<(Run, [u64; 3])> {
    let service = Arc::new(Service::start(program, variables).await?);
    let mut holding = JoinSet::new();
    for _ in 0..holders {
        holding.spawn(Arc::clone(&service).hold());
    }
    let start = Instant::now();
    let (answers, late) = tokio::join!(service.all(loads), lateness());
    let run = Run { answers, late };
    show(name, &run);
    Ok((run, service.calls(start)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = std::env::args().nth(1).context("usage: flood PATH-OF-THE-GATEWAY")?;
    // reqwest is built without a TLS provider of its own and wants one even for plain http.
    let provider = rustls::crypto::ring::default_provider();
    ensure!(provider.install_default().is_ok(), "a TLS provider is installed already");
    println!(
        "{BUDGET} calls a second, weights {CALLERS:?}\n\n\
         | load | caller | reads, p50 / p99 | writes, p50 / p99 | answers | timers late, p99 |\n\
         | --- | --- | --- | --- | --- | --- |"
    );
    let others = [1, 2].map(|caller| Load { caller, times: 0.8, shares: true });
    let flood = Load { caller: 0, times: 20.0, shares: true };
    let with_flood = [flood, others[0], others[1]];
    let few = [("GATEWAY__LIMITS__REQUESTS", PLACES)];
    let (mut calm, mut flooded, mut crowded) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TRIES {
        let without = run(&program, "calm", &others, (0, &[])).await?.0;
        let with = run(&program, "one floods", &with_flood, (0, &[])).await?.0;
        let held = run(&program, "and holds places", &with_flood, (HOLDERS, &few)).await?.0;
        if [&without, &with, &held].iter().all(|run| run.late <= QUIET) {
            calm.push(without);
            flooded.push(with);
            crowded.push(held);
        }
        if calm.len() == ROUNDS {
            break;
        }
    }
    ensure!(calm.len() == ROUNDS, "the machine is not quiet enough to tell anything");
    let hungry = [0, 1, 2].map(|caller| Load { caller, times: 3.0, shares: false });
    let (_, each) = run(&program, "all are hungry", &hungry, (0, &[])).await?;
    println!();
    // All results are printed, also when one is bad.
    let crowded = judge("and holds places", &calm, &crowded);
    let flooded = judge("one floods", &calm, &flooded);
    judge_shares(each).and(flooded).and(crowded)
}
