//! What clients see when many write at once, over real sockets: the service as it is shipped, with the
//! simulator as its upstream in this process.
//!
//! `cargo run --release --example scenarios -- target/release/attribute-gateway`, or
//! `make load-scenarios`. Prints one line a scenario; the same is tested exactly, under paused time,
//! in `tests/it`. Stops with an error where a client got an untrue answer.

#![expect(clippy::print_stdout, reason = "its output is what it is run for")]

mod gateway;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use genesys_simulator::{RequestKind, SimulatedCall, SimulatorSettings};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::gateway::Gateway;

const CUSTOMER: &str = "c0000000-0000-4000-8000-000000000001";

/// A service and the platform behind it, and who asks it.
struct Pair {
    gateway: Gateway,
    client: reqwest::Client,
    base: String,
}

struct ClientAnswer {
    status: u16,
    retry_after: Option<u64>,
    body: Value,
    took: Duration,
}

impl Pair {
    async fn start(
        program: &str,
        settings: SimulatorSettings,
        env: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let gateway = Gateway::start(program, settings, env).await?;
        let (base, client) =
            (format!("http://{}", gateway.address), reqwest::Client::builder().build()?);
        Ok(Self { gateway, client, base })
    }

    fn add(&self, number: usize, attributes: &[(String, String)]) -> anyhow::Result<()> {
        let held = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let call = SimulatedCall::new(conversation(number)).customer(CUSTOMER, held);
        let added = self.gateway.simulator.add_call(call);
        added.map(drop).map_err(|error| anyhow::anyhow!("{error:?}"))
    }

    fn put(&self, number: usize, wait: u64, attributes: &Value) -> reqwest::RequestBuilder {
        let path = format!("{}/v1/conversations/{}/attributes", self.base, conversation(number));
        let request = self.client.put(path).header("prefer", format!("wait={wait}"));
        let body = json!({ "attributes": attributes }).to_string();
        request.header("content-type", "application/json").body(body)
    }

    fn get(&self, number: usize) -> reqwest::RequestBuilder {
        let path = format!("{}/v1/conversations/{}/attributes", self.base, conversation(number));
        self.client.get(path)
    }

    fn calls(&self) -> (usize, usize, usize) {
        let (reads, patches) = (
            self.gateway.simulator.count(RequestKind::Read),
            self.gateway.simulator.count(RequestKind::Patch),
        );
        let calls = self.gateway.simulator.calls();
        (reads, patches, calls.iter().filter(|call| call.was_answered(429)).count())
    }
}

fn conversation(number: usize) -> String {
    format!("5eed0000-0000-4000-8000-{number:012}")
}

async fn told(
    number: usize,
    request: reqwest::RequestBuilder,
) -> anyhow::Result<(usize, ClientAnswer)> {
    let start = Instant::now();
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| text.parse().ok());
    let body = serde_json::from_slice(&answer.bytes().await?).unwrap_or(Value::Null);
    Ok((number, ClientAnswer { status, retry_after, body, took: start.elapsed() }))
}

/// Sends all, each after its own pause; the answers by number, and how long all of them took.
async fn all(
    requests: Vec<(Duration, reqwest::RequestBuilder)>,
) -> anyhow::Result<(BTreeMap<usize, ClientAnswer>, Duration)> {
    let (mut tasks, start) = (JoinSet::new(), Instant::now());
    for (number, (pause, request)) in requests.into_iter().enumerate() {
        tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            told(number, request).await
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = tasks.join_next().await {
        let (number, answer) = answer??;
        answers.insert(number, answer);
    }
    Ok((answers, start.elapsed()))
}

fn slow() -> SimulatorSettings {
    let latency = Duration::from_millis(50);
    SimulatorSettings { latency, size_limit: None, ..SimulatorSettings::default() }
}

fn count(answers: &BTreeMap<usize, ClientAnswer>, status: u16) -> usize {
    answers.values().filter(|told| told.status == status).count()
}

async fn two_hundred_keys(program: &str, existing: bool) -> anyhow::Result<()> {
    let pair = Pair::start(program, slow(), &[]).await?;
    let old = |number| (format!("k{number:03}"), "old".to_owned());
    let held: Vec<_> = (0..200).filter(|_| existing).map(old).collect();
    pair.add(0, &held)?;
    let write = |number| pair.put(0, 5, &json!({format!("k{number:03}"): "new"}));
    let (answers, took) = all((0..200).map(|n| (Duration::ZERO, write(n))).collect()).await?;
    let truth = pair.gateway.simulator.attributes(&conversation(0), CUSTOMER).context("there")?;
    let there = truth.values().filter(|value| *value == "new").count();
    let (reads, patches, _) = pair.calls();
    ensure!(there == 200 && count(&answers, 200) == 200, "{there} of 200 values are there");
    let kind = if existing { "existing" } else { "new" };
    println!(
        "200 writers, 200 {kind} keys, one call, 50 ms: {there} there, {} calls ({reads} reads, \
         {patches} PATCHes), done after {} ms",
        reads + patches,
        took.as_millis()
    );
    Ok(())
}

async fn one_key(program: &str) -> anyhow::Result<()> {
    let pair = Pair::start(program, slow(), &[]).await?;
    pair.add(0, &[])?;
    let write = |number| pair.put(0, 5, &json!({"k": format!("v{number}")}));
    let (answers, took) = all((0..200).map(|n| (Duration::ZERO, write(n))).collect()).await?;
    let ledger = pair.gateway.simulator.ledger();
    let applied: Vec<_> = ledger.iter().filter_map(|entry| entry.changes["k"].clone()).collect();
    for (number, answer) in &answers {
        let was_applied = applied.contains(&format!("v{number}"));
        let effect = if was_applied { "applied" } else { "notApplied" };
        let truth = answer.status == 200 && was_applied
            || answer.status == 409 && answer.body["effect"] == effect;
        ensure!(truth, "v{number} got {} {}", answer.status, answer.body);
    }
    let (reads, patches, _) = pair.calls();
    println!(
        "200 writers, one key, 50 ms: {} verified, {} superseded, all true; {} calls, done after {} ms",
        count(&answers, 200),
        count(&answers, 409),
        reads + patches,
        took.as_millis()
    );
    Ok(())
}

async fn at_the_limit(program: &str) -> anyhow::Result<()> {
    let ten = Duration::from_secs(10);
    let settings = SimulatorSettings {
        latency: Duration::from_millis(50),
        requests_per_minute: Some(300),
        rate_window: ten,
        ..SimulatorSettings::default()
    };
    let env = [("GATEWAY__GENESYS__RATE_WINDOW", "10s")];
    let pair = Pair::start(program, settings, &env).await?;
    for number in 0..60 {
        pair.add(number, &[])?;
    }
    let write = |number: usize| pair.put(number, 30, &json!({"k": format!("v{number}")}));
    let pause = |number: usize| ten * u32::try_from(number).unwrap_or(0) / 60;
    let (answers, took) = all((0..60).map(|n| (pause(n), write(n))).collect()).await?;
    let (reads, patches, throttled) = pair.calls();
    let verified = count(&answers, 200);
    let refused: Vec<_> = answers.values().filter(|told| told.status == 503).collect();
    let at_once = refused.iter().all(|told| told.took.as_millis() < 100);
    ensure!(throttled == 0, "{throttled} times 429");
    ensure!(at_once && refused.iter().all(|told| told.retry_after.is_some()), "a late refusal");
    println!(
        "60 writes to 60 calls over 10 s, 50 calls a 10 s, wait=30: {verified} verified, {} refused at \
         once, {throttled} times 429, {:.2} calls a write, done after {} s",
        refused.len(),
        f64::from(u32::try_from(reads + patches)?) / f64::from(u32::try_from(verified.max(1))?),
        took.as_secs()
    );
    Ok(())
}

async fn readers(program: &str) -> anyhow::Result<()> {
    let pair = Pair::start(program, slow(), &[]).await?;
    pair.add(0, &[("k".to_owned(), "v".to_owned())])?;
    let (answers, took) = all((0..500).map(|_| (Duration::ZERO, pair.get(0))).collect()).await?;
    let (reads, ..) = pair.calls();
    ensure!(count(&answers, 200) == 500, "not all were answered");
    println!("500 readers of one call, 50 ms: {reads} reads, done after {} ms", took.as_millis());
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let program = std::env::args().nth(1).context("usage: scenarios PATH-OF-THE-GATEWAY")?;
    // reqwest is built without a TLS provider of its own and wants one even for plain http.
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is installed already"))?;
    two_hundred_keys(&program, false).await?;
    two_hundred_keys(&program, true).await?;
    one_key(&program).await?;
    readers(&program).await?;
    at_the_limit(&program).await
}
