//! Several clients and one budget: each has its share by weight, and lends its unused calls.
//!
//! Every answer of upstream takes 20 ms. It grants 300 calls in any ten seconds, of which two percent
//! are kept for writes that have begun; weights 1 : 2 : 1 make that 73, 147 and 73 calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use attribute_gateway::app::{App, ReadRequest, WriteOptions, WriteRequest};
use attribute_gateway::domain::{
    AttributeKey, AttributeValue, Client, ClientRights, KeyChange, Patch,
};
use attribute_gateway::ports::{ContextParts, RequestContext};
use axum::body::Body;
use genesys_simulator::{FaultAction, RequestKind, ScriptedFault, SimulatedCall};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::harness::{Answer, TestApp, attributes_of, client, ms, request, send, shown};

/// Conversations of one client: reads of one conversation at one time would share.
const CONVERSATIONS: u64 = 300;
/// What every load runs for.
const END: u64 = 40_000;

pub fn caller(name: &str, share: u32) -> Arc<Client> {
    let share = share.try_into().expect("a weight");
    let name = name.parse().expect("a name");
    Arc::new(Client { name, rights: ClientRights::default(), share, requests_per_minute: None })
}

pub fn conversation(caller: usize, number: u64) -> String {
    format!("5eed0000-0000-4000-8000-{caller}{number:011}")
}

/// A platform that grants 300 requests in any ten seconds.
async fn platform(callers: &[Arc<Client>]) -> TestApp {
    platform_with(callers, &[]).await
}

/// The same, with more settings of the service.
pub async fn platform_with(callers: &[Arc<Client>], settings: &[(&str, &str)]) -> TestApp {
    let app = TestApp::new().with_env("GATEWAY__GENESYS__RATE_WINDOW", "10s").with_budget(1800);
    let app = app.without_calls().with_env("RUST_LOG", "error").reading_first().with_lag(ms(1));
    let mut app = app.with_settings(|settings| {
        settings.requests_per_minute = Some(1800);
        settings.rate_window = ms(10_000);
    });
    for (name, value) in settings {
        app = app.with_env(name, value);
    }
    for caller in 0..callers.len() {
        for number in 0..CONVERSATIONS {
            let customer = format!("c0000000-0000-4000-8000-{caller}{number:011}");
            let call =
                SimulatedCall::new(conversation(caller, number)).customer(&customer, [("a", "1")]);
            app = app.with_call(call);
        }
    }
    let known = callers.iter().map(|one| {
        let (name, share) = (one.name.as_str(), one.share);
        client(name, name, &format!("access = \"write\"\nshare = {share}"))
    });
    app.with_clients(&known.collect::<Vec<_>>()).start().await
}

/// What one client asks for: a read, or a write, each so often.
#[derive(Clone, Copy)]
struct Load {
    caller: usize,
    every: Duration,
    writes: bool,
}

fn reads(caller: usize, every: u64) -> Load {
    Load { caller, every: ms(every), writes: false }
}

fn writes(caller: usize, every: u64) -> Load {
    Load { caller, every: ms(every), writes: true }
}

/// What became of a request: whose it was, how long it took, and whether it was served.
type LoadResult = (usize, Duration, bool);

/// Reads or writes on behalf of a client; how long it took, and whether it was served.
async fn ask(
    service: App,
    client: Arc<Client>,
    conversation: String,
    write: Option<String>,
) -> (Duration, bool) {
    let (begun, deadline) = (Instant::now(), Instant::now() + ms(5_000));
    let context =
        RequestContext::from_parts(ContextParts { client, ..ContextParts::new(deadline) });
    let (conversation, no_cache) = (conversation.parse().expect("an id"), true);
    let selector = "customer".parse().expect("a word");
    let served = if let Some(value) = write {
        let value = KeyChange::to(AttributeValue::new(&value));
        let patch: Patch = [(AttributeKey::existing("a"), value)].into_iter().collect();
        let options = WriteOptions { verify: true, dry_run: false, allow_ended: false };
        let condition = None;
        let notes = None;
        let write =
            WriteRequest { conversation, selector, patch, condition, options, notes, context };
        service.write(write).await.is_ok()
    } else {
        service.read(ReadRequest { conversation, selector, no_cache, context }).await.is_ok()
    };
    (begun.elapsed(), served)
}

/// Runs one load, all requests concurrently.
async fn one(service: App, client: Arc<Client>, load: Load) -> Vec<LoadResult> {
    let (start, mut requests, mut number) = (Instant::now(), JoinSet::new(), 0_u64);
    while start.elapsed() < ms(END) {
        let half = if load.writes { CONVERSATIONS / 2 } else { 0 };
        let id = conversation(load.caller, half + number % (CONVERSATIONS / 2));
        let value = load.writes.then(|| number.to_string());
        let asked = ask(service.clone(), Arc::clone(&client), id, value);
        requests.spawn(async move {
            let (took, served) = asked.await;
            (load.caller, took, served)
        });
        number += 1;
        let next = start + load.every * u32::try_from(number).expect("few");
        tokio::time::sleep_until(next).await;
    }
    requests.join_all().await
}

/// Runs all loads concurrently.
async fn run(app: &TestApp, callers: &[Arc<Client>], loads: &[Load]) -> Vec<LoadResult> {
    let mut tasks = JoinSet::new();
    for load in loads {
        let (service, client) = (app.service().app().clone(), Arc::clone(&callers[load.caller]));
        tasks.spawn(one(service, client, *load));
    }
    tasks.join_all().await.concat()
}

/// The 99th percentile of a client's latency, and how many of its requests were not served.
fn p99(results: &[LoadResult], caller: usize) -> (Duration, usize) {
    let own: Vec<_> = results.iter().filter(|result| result.0 == caller).collect();
    let mut took: Vec<_> = own.iter().map(|result| result.1).collect();
    took.sort_unstable();
    (took[(took.len() - 1) * 99 / 100], own.iter().filter(|result| !result.2).count())
}

/// Calls that upstream has seen for each client since `from`, and those that it refused.
fn seen(app: &TestApp, start: Instant, from: u64) -> ([usize; 3], usize) {
    let mut each = [0; 3];
    let calls = app.simulator.calls();
    for call in
        calls.iter().filter(|call| matches!(call.kind, RequestKind::Read | RequestKind::Patch))
    {
        let of = call.conversation.as_deref().and_then(|id| id.as_bytes().get(24));
        if let Some(of) = of.filter(|_| (start + ms(from)..start + ms(END)).contains(&call.at)) {
            each[usize::from(of - b'0')] += 1;
        }
    }
    (each, calls.iter().filter(|call| call.was_answered(429)).count())
}

#[tokio::test(start_paused = true)]
async fn a_client_at_twenty_times_its_share_delays_no_other() {
    let callers = [caller("flood", 1), caller("crm", 2), caller("ivr", 1)];
    // Reads and writes of three calls: four fifths of the shares.
    let others = [reads(1, 170), writes(1, 510), writes(2, 510)];
    let calm = platform(&callers).await;
    let before = run(&calm, &callers, &others).await;
    for (flood, name) in [(reads(0, 7), "reads"), (writes(0, 21), "writes")] {
        let app = platform(&callers).await;
        let start = Instant::now();
        let during = run(&app, &callers, &[&[flood][..], &others[..]].concat()).await;
        for caller in [1, 2] {
            let (calm, flooded) = (p99(&before, caller), p99(&during, caller));
            assert_eq!((calm.1, flooded.1), (0, 0), "all are served, beside a flood of {name}");
            assert!(flooded.0 * 2 <= calm.0 * 3, "{calm:?} {flooded:?}, {name}");
            assert_eq!((calm.0, flooded.0), (ms(60), ms(60)), "{name}");
        }
        let (each, refused) = seen(&app, start, 10_000);
        assert_eq!(refused, 0, "upstream has refused nothing");
        let all: usize = each.iter().sum();
        let most = if flood.writes { 285 } else { 225 };
        assert!(all * 10 >= 3 * most * 9, "nine tenths of what it may use: {each:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_all_want_more_than_there_is_each_gets_its_share() {
    let callers = [caller("one", 1), caller("two", 2), caller("three", 1)];
    let app = platform(&callers).await;
    let start = Instant::now();
    run(&app, &callers, &[writes(0, 21), writes(1, 21), writes(2, 21)]).await;
    let (each, refused) = seen(&app, start, 10_000);
    let all: usize = each.iter().sum();
    assert!(all >= 3 * 256 && refused == 0, "{each:?}, {refused}");
    for (got, share) in each.into_iter().zip([1, 2, 1]) {
        let due = all * share / 4;
        assert!(got.abs_diff(due) * 10 <= due, "{each:?} of {all}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_caller_does_not_need_others_get() {
    let callers = [caller("busy", 1), caller("idle", 2), caller("calm", 1)];
    let app = platform(&callers).await;
    let start = Instant::now();
    let results = run(&app, &callers, &[reads(0, 7), reads(2, 1_000)]).await;
    let (each, _) = seen(&app, start, 10_000);
    assert!(each.iter().sum::<usize>() >= 3 * 200, "nine tenths of what reads may use: {each:?}");
    assert_eq!(p99(&results, 2), (ms(20), 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_with_budget_takes_over_a_waiting_shared_read() {
    let callers = [caller("flood", 1), caller("crm", 2), caller("ivr", 1)];
    let app = platform(&callers).await;
    let asked = |caller: usize, number: u64, write: bool| {
        let (service, client) = (app.service().app().clone(), Arc::clone(&callers[caller]));
        let value = write.then(|| caller.to_string());
        tokio::spawn(ask(service, client, conversation(1, number), value))
    };
    // Its own share is used up, borrowed calls come slowly, and the rest waits.
    for number in 0..73 {
        assert!(asked(0, number, false).await.expect("no panic").1);
    }
    let crowd: Vec<_> = (100..110).map(|number| asked(0, number, false)).collect();
    tokio::time::sleep(ms(1)).await;
    for (number, write, took) in [(140, false, 20), (141, true, 80)] {
        let flood = asked(0, number, write);
        tokio::time::sleep(ms(10)).await;
        let other = asked(1, number, write).await.expect("no panic");
        assert!(other.1 && other.0 <= ms(took), "{other:?}, {write}");
        let flood = flood.await.expect("no panic");
        assert!(flood.1 && (write || flood.0 == ms(30)), "he has it as well: {flood:?}");
    }
    for one in crowd {
        one.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_never_called_finds_room_after_any_flood() {
    let callers = [caller("flood", 1), caller("crm", 2), caller("ivr", 1)];
    let app = platform(&callers).await;
    let reading = |caller: usize, number: u64| {
        let (name, key) = shown(callers[caller].name.as_str());
        let read = request("GET", &attributes_of(&conversation(caller, number))).header(name, key);
        tokio::spawn(send(app.router(), read.body(Body::empty()).expect("a request")))
    };
    // Ten times what a window holds, and the window is full of it.
    for number in 0..3_000 {
        drop(reading(0, number % CONVERSATIONS));
        tokio::time::sleep(ms(2)).await;
    }
    for number in 0..20 {
        let answer = reading(1, number).await.expect("no panic");
        assert_eq!(answer.assert_status(200).took, ms(20), "{number}");
    }
}

/// A write of one more key to the first conversation of the first client.
fn writing(app: &TestApp, caller: &Client, number: usize) -> JoinHandle<Answer> {
    let (name, key) = shown(caller.name.as_str());
    let write = request("PUT", &attributes_of(&conversation(0, 0)))
        .header(name, key)
        .header("content-type", "application/json")
        .body(json!({ "attributes": { format!("k{number}"): "1" } }).to_string().into());
    tokio::spawn(send(app.router(), write.expect("a request")))
}

#[tokio::test(start_paused = true)]
async fn writes_of_a_rejected_batch_use_the_share_of_their_client() {
    let callers = [caller("flood", 1), caller("crm", 2), caller("ivr", 1)];
    let app = platform(&callers).await;
    let rejects = FaultAction::Status { code: 400, body: None, retry_after: None };
    app.simulator
        .inject(ScriptedFault::on_patch(rejects).conversation(conversation(0, 0)).always());
    let start = Instant::now();
    let mut crowd: Vec<_> = (0..200).map(|number| writing(&app, &callers[0], number)).collect();
    tokio::time::sleep(ms(1_000)).await;
    // Who writes to the same participant does not wait for them either.
    let other = writing(&app, &callers[2], 0).await.expect("no panic");
    assert!(other.status == 502 && other.took <= ms(60), "{}", other.text);
    let asked = one(app.service().app().clone(), Arc::clone(&callers[1]), reads(1, 100));
    let asked = tokio::spawn(asked);
    for round in 1..8 {
        tokio::time::sleep_until(start + ms(5_000 * round)).await;
        crowd.extend((0..200).map(|number| writing(&app, &callers[0], number)));
    }
    assert_eq!(p99(&asked.await.expect("no panic"), 1), (ms(20), 0));
    let mut codes = BTreeMap::new();
    for one in crowd {
        let answer = one.await.expect("no panic");
        assert_eq!(answer.at("/effect"), "notApplied", "{}", answer.text);
        *codes.entry(answer.at("/code").to_string()).or_insert(0) += 1;
    }
    // As many as fit into its window get upstream's answer, the others a `Retry-After`.
    let results: Vec<&str> = codes.keys().map(String::as_str).collect();
    assert_eq!(results, ["\"upstream-rate-limited\"", "\"upstream-rejected\""]);
    assert!(codes["\"upstream-rejected\""] >= 4 * 73, "{codes:?}");
    app.simulator.clear_faults();
}
