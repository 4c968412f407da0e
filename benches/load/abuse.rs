//! What other clients see while one misuses connections: the service as it is shipped, over real
//! sockets, with the simulator as its upstream in this process.
//!
//! `cargo run --release --example abuse -- target/release/attribute-gateway`, or `make load-abuse`. The
//! misuse comes from 127.0.0.3 (and more of 127/8), the others from 127.0.0.2, all on the machine of the
//! service: what the load itself takes of it counts against the service. Needs 13,000 open files
//! (`ulimit -n`). Stops with an error where another client was not served.

#![expect(clippy::print_stdout, reason = "its output is what it is run for")]

mod gateway;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use genesys_simulator::{SimulatedCall, SimulatorSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::gateway::Gateway;

const CALL: &str = "5eed0000-0000-4000-8000-000000000000";
const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";

/// For how long each misuse is measured, and how long it has to build up before.
const MEASURED: Duration = Duration::from_secs(10);
const BUILT_UP: Duration = Duration::from_secs(5);

/// Requests of the other clients: one every so often, every tenth over a connection of its own.
const PACE: Duration = Duration::from_millis(5);

/// Until a client that lost an idle connection reopens it; the others take a tenth of it.
const AGAIN: Duration = Duration::from_secs(5);

/// What one who misuses connections does with each.
#[derive(Clone, Copy)]
enum Misuse {
    /// Sends a head that does not end, a byte a second.
    SlowHead,
    /// Sends a request, and nothing any more.
    Idle,
    /// Sends the head of a write and the first byte of its body.
    HalfBody,
}

impl Gateway {
    async fn with_a_call(program: &str) -> anyhow::Result<Self> {
        let latency = Duration::from_millis(1);
        let settings = SimulatorSettings { latency, ..SimulatorSettings::default() };
        let budget = [("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "10000000")];
        let gateway = Self::start(program, settings, &budget).await?;
        let call = SimulatedCall::new(CALL.to_owned()).customer(CUSTOMER, [("tier", "gold")]);
        gateway.simulator.add_call(call).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(gateway)
    }

    async fn connect(&self, from: Ipv4Addr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(from.into(), 0))?;
        socket.connect(self.address).await
    }

    /// Reads the attributes of the call; the connection, and whether the answer was a 200.
    async fn ask(&self, kept: Option<TcpStream>) -> std::io::Result<(TcpStream, bool)> {
        let mut stream = match kept {
            Some(stream) => stream,
            None => self.connect(Ipv4Addr::new(127, 0, 0, 2)).await?,
        };
        let request =
            format!("GET /v1/conversations/{CALL}/attributes HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(2048);
        while !answer.ends_with(b"}}") && !answer.ends_with(b"}\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok((stream, answer.starts_with(b"HTTP/1.1 200") && !answer.is_empty()))
    }

    /// What the others see for a while.
    async fn others(self: &Arc<Self>) -> anyhow::Result<Seen> {
        let (mut tasks, start, mut number) = (JoinSet::new(), Instant::now(), 0_u32);
        let kept = Arc::new(tokio::sync::Mutex::new(Vec::new()));
        while start.elapsed() < MEASURED {
            tokio::time::sleep_until(start + PACE * number).await;
            number += 1;
            let (gateway, pool, fresh) = (Arc::clone(self), Arc::clone(&kept), number % 10 == 0);
            tasks.spawn(async move {
                let stream = if fresh { None } else { pool.lock().await.pop() };
                let start = Instant::now();
                let asked =
                    tokio::time::timeout(Duration::from_secs(10), gateway.ask(stream)).await;
                let took = start.elapsed();
                match asked {
                    Ok(Ok((stream, good))) => {
                        pool.lock().await.push(stream);
                        (took, good)
                    }
                    _ => (took, false),
                }
            });
        }
        let (mut times, mut good) = (Vec::new(), 0_usize);
        for (took, served) in tasks.join_all().await {
            times.push(took);
            good += usize::from(served);
        }
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        Ok(Seen { asked: times.len(), good, p50: at(50), p99: at(99), memory: self.memory()? })
    }

    /// Resident memory in MiB.
    fn memory(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse::<u64>()? / 1024)
    }

    /// One connection that is misused again and again.
    async fn misuse(self: Arc<Self>, misuse: Misuse, from: Ipv4Addr, held: Arc<AtomicUsize>) {
        loop {
            if let Ok(stream) = self.connect(from).await {
                held.fetch_add(1, Ordering::Relaxed);
                misused(stream, misuse).await;
                held.fetch_sub(1, Ordering::Relaxed);
            }
            let again = if matches!(misuse, Misuse::Idle) { AGAIN } else { AGAIN / 10 };
            // Not all in one moment, or it is the load that has to wait for itself.
            sleep(again.mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}

/// Misuses a connection until the service ends it.
async fn misused(mut stream: TcpStream, misuse: Misuse) {
    let path = format!("/v1/conversations/{CALL}/attributes");
    let first = match misuse {
        Misuse::SlowHead => "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
        Misuse::Idle => "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        Misuse::HalfBody => format!(
            "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
        ),
    };
    if stream.write_all(first.as_bytes()).await.is_err() {
        return;
    }
    let mut buffer = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            () = sleep(Duration::from_secs(1)), if matches!(misuse, Misuse::SlowHead) => {
                if stream.write_all(b"x").await.is_err() {
                    return;
                }
            }
        }
    }
}

struct Seen {
    asked: usize,
    good: usize,
    p50: Duration,
    p99: Duration,
    memory: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = std::env::args().nth(1).context("usage: abuse PATH-OF-THE-GATEWAY")?;
    println!(
        "| misuse | held | others served | p50 | p99 | memory |\n| --- | --- | --- | --- | --- | --- |"
    );
    for (name, misuse, connections, addresses) in [
        ("none", Misuse::Idle, 0, 1),
        ("1,000 heads that do not end, one address", Misuse::SlowHead, 1000, 1),
        ("10,000 idle connections, one address", Misuse::Idle, 10_000, 1),
        ("10,000 idle connections, 20 addresses", Misuse::Idle, 10_000, 20),
        ("1,000 bodies that do not end, one address", Misuse::HalfBody, 1000, 1),
        ("none, afterwards", Misuse::Idle, 0, 1),
    ] {
        let gateway = Arc::new(Gateway::with_a_call(&program).await?);
        let (mut tasks, held) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
        for number in 0..connections {
            let from = Ipv4Addr::new(127, 0, 1, 3 + u8::try_from(number % addresses)?);
            tasks.spawn(Arc::clone(&gateway).misuse(misuse, from, Arc::clone(&held)));
        }
        sleep(BUILT_UP).await;
        let at_begin = held.load(Ordering::Relaxed);
        let seen = gateway.others().await?;
        println!(
            "| {name} | {} | {} of {} | {:.1} ms | {:.1} ms | {} MiB |",
            at_begin,
            seen.good,
            seen.asked,
            seen.p50.as_secs_f64() * 1000.0,
            seen.p99.as_secs_f64() * 1000.0,
            seen.memory
        );
        ensure!(seen.good == seen.asked, "not all of the others were served");
        tasks.abort_all();
    }
    Ok(())
}
