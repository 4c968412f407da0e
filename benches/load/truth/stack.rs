//! A gateway and a simulated platform, each a process of its own, and the platform's control API. All
//! that is known of either comes over a socket as JSON.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How often it is asked whether a process answers, and for how long.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: u32 = 400;

/// How often the platform's clock is read at the start; the quickest answer counts.
const CLOCK_READS: u32 = 40;

/// So long an unused connection is kept where TLS is used, so that handshakes go on.
const IDLE: Duration = Duration::from_secs(1);

/// How clients meet the gateway: by default over plain HTTP, and its log is thrown away.
#[derive(Default)]
pub struct Front<'a> {
    /// PEM of the authority of its certificate, if it uses TLS.
    pub authority: Option<&'a str>,
    /// The file for its log.
    pub log: Option<&'a Path>,
}

/// The customer of every conversation here.
pub const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";

/// A running pair. Both processes end with it.
pub struct Stack {
    /// Where the gateway listens, as a URL.
    pub gateway: String,
    /// Where the platform listens, as a URL.
    platform: String,
    /// What asks both.
    pub client: reqwest::Client,
    clock: Clock,
    /// The gateway, and the platform.
    processes: Mutex<[Ended; 2]>,
}

/// The platform's time as this process counts it.
#[derive(Clone, Copy)]
pub struct Clock {
    base: Instant,
    base_us: u64,
}

impl Clock {
    /// Microseconds since the platform's start.
    pub fn now(self) -> u64 {
        self.base_us + u64::try_from(self.base.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn start(
    program: &str,
    command: &str,
    variables: &[(&str, &str)],
    log: Option<&Path>,
) -> anyhow::Result<Ended> {
    let log = log.map(std::fs::File::create).transpose()?;
    let child = Command::new(program)
        .arg(command)
        .env_clear()
        .envs(variables.iter().copied())
        .stdout(log.map_or_else(Stdio::null, Stdio::from))
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start `{program} {command}`"))?;
    Ok(Ended(child))
}

impl Stack {
    /// Starts both with these variables for the gateway, and these settings of the platform, and waits
    /// until they answer.
    pub async fn start(
        program: &str,
        variables: &[(&str, &str)],
        settings: Value,
    ) -> anyhow::Result<Self> {
        Self::start_with(program, variables, settings, &Front::default()).await
    }

    /// The same, where clients meet the gateway as `front` says.
    pub async fn start_with(
        program: &str,
        variables: &[(&str, &str)],
        settings: Value,
        front: &Front<'_>,
    ) -> anyhow::Result<Self> {
        let (at, sim_at) = (free_address()?.to_string(), free_address()?.to_string());
        let scheme = if front.authority.is_some() { "https" } else { "http" };
        let (gateway, platform) = (format!("{scheme}://{at}"), format!("http://{sim_at}"));
        let simulate = [
            ("GATEWAY__SIMULATOR__BIND", sim_at.as_str()),
            ("GATEWAY__SIMULATOR__REQUESTS_PER_MINUTE", "0"),
            ("GATEWAY__SIMULATOR__LAG", "0s"),
        ];
        let simulator = start(program, "simulate", &simulate, None)?;
        let mut serve = vec![
            ("GENESYS_CLIENT_ID", "demo"),
            ("GENESYS_CLIENT_SECRET", "demo-secret"),
            ("GATEWAY__SERVER__BIND", at.as_str()),
            ("GATEWAY__GENESYS__API_URL", platform.as_str()),
            ("GATEWAY__GENESYS__LOGIN_URL", platform.as_str()),
        ];
        serve.extend(variables);
        let mut client = reqwest::Client::builder();
        if let Some(authority) = front.authority {
            let authority = reqwest::Certificate::from_pem(authority.as_bytes())?;
            client = client.tls_certs_only([authority]).pool_idle_timeout(IDLE);
        }
        let client = client.build()?;
        wait_for(&client, &format!("{platform}/__sim/clock")).await?;
        let service = start(program, "serve", &serve, front.log)?;
        wait_for(&client, &format!("{gateway}/readyz")).await?;
        let clock = Clock { base: Instant::now(), base_us: 0 };
        let processes = Mutex::new([service, simulator]);
        let mut stack = Self { gateway, platform, client, clock, processes };
        stack.clock = stack.read_clock().await?;
        stack.set(json!({"keep_records": 1_000_000})).await?;
        stack.set(settings).await?;
        Ok(stack)
    }

    /// The platform's clock, to within half of the quickest round trip.
    async fn read_clock(&self) -> anyhow::Result<Clock> {
        let mut best: Option<(Duration, Clock)> = None;
        for _ in 0..CLOCK_READS {
            let sent = Instant::now();
            let answer = self.control("GET", "clock", &Value::Null).await?;
            let trip = sent.elapsed();
            let base_us = answer["at_us"].as_u64().context("the simulator has no clock")?;
            let clock = Clock { base: sent + trip / 2, base_us };
            if best.is_none_or(|(quickest, _)| trip < quickest) {
                best = Some((trip, clock));
            }
        }
        best.map(|(_, clock)| clock).context("the clock was never read")
    }

    /// Asks the gateway to end, as an orchestrator does, and waits until it has.
    pub fn end_gateway(&self) -> anyhow::Result<ExitStatus> {
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        let gateway = &mut processes[0].0;
        if let Some(status) = gateway.try_wait()? {
            anyhow::bail!("the gateway had ended already, with {status}");
        }
        let id = rustix::process::Pid::from_child(gateway);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        Ok(gateway.wait()?)
    }

    /// The platform's time now, in microseconds.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// A call of the control API; its answer.
    pub async fn control(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/__sim/{path}", self.platform);
        let mut request = self.client.request(method.parse()?, url);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        ensure!(
            status.is_success(),
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Changes settings of the platform.
    pub async fn set(&self, settings: Value) -> anyhow::Result<()> {
        self.control("PATCH", "settings", &settings).await.map(drop)
    }

    /// Makes calls to the platform fail from now on.
    pub async fn inject(&self, faults: Value) -> anyhow::Result<()> {
        self.control("POST", "faults", &faults).await.map(drop)
    }

    /// Ends all faults.
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.control("DELETE", "faults", &Value::Null).await.map(drop)
    }

    /// Adds a live conversation with a customer who has these attributes.
    pub async fn add(&self, conversation: &str, attributes: &Value) -> anyhow::Result<()> {
        let document = json!({
            "id": conversation,
            "startTime": "2026-01-07T10:00:00.000Z",
            "participants": [{
                "id": CUSTOMER,
                "name": "Sam Sample",
                "startTime": "2026-01-07T10:00:00.000Z",
                "purpose": "customer",
                "attributes": attributes,
                "calls": [{
                    "id": "1e900000-0000-4000-8000-000000000001",
                    "state": "connected",
                    "direction": "inbound",
                }],
            }],
        });
        self.control("POST", "conversations", &document).await.map(drop)
    }

    /// Writes as another writer; reads show it after `lag_ms`.
    pub async fn foreign(
        &self,
        conversation: &str,
        attributes: &Value,
        lag_ms: u64,
    ) -> anyhow::Result<()> {
        let write = json!({
            "conversation": conversation, "participant": CUSTOMER, "attributes": attributes,
            "lag": format!("{lag_ms}ms"),
        });
        self.control("POST", "write", &write).await.map(drop)
    }

    /// Every call that the platform got.
    pub async fn calls(&self) -> anyhow::Result<Vec<Value>> {
        match self.control("GET", "calls", &Value::Null).await? {
            Value::Array(calls) => Ok(calls),
            other => anyhow::bail!("no list of calls: {other}"),
        }
    }

    /// Every write that the platform applied, in order.
    pub async fn ledger(&self) -> anyhow::Result<Vec<Value>> {
        match self.control("GET", "ledger", &Value::Null).await? {
            Value::Array(entries) => Ok(entries),
            other => anyhow::bail!("no ledger: {other}"),
        }
    }
}

async fn wait_for(client: &reqwest::Client, url: &str) -> anyhow::Result<()> {
    for _ in 0..LOOKS {
        if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    anyhow::bail!("{url} does not answer")
}

/// The id of the conversation with this number.
pub fn conversation(number: usize) -> String {
    format!("5eed0000-0000-4000-8000-{number:012}")
}
