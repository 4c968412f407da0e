//! A small budget upstream, and more demand than it has: who is served, and how much of it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::exchange::{Ask, ClientAnswer};
use super::judge::seconds;
use super::stack::{Stack, conversation};
use super::steady::{arrivals, is_served, percent, served, stream};

/// Calls in each window.
const CALLS: usize = 600;
const WINDOW_US: u64 = 10_000_000;
/// New writes get to 95 % of the window, and 2 % of the whole are kept for what has begun.
const WAITING_CLASSES: f64 = 0.93;
const CLIENTS: usize = 10;
/// Loops of each client.
const LOOPS: usize = 4;
const OWN_CALLS: usize = 60;
/// Until the window is full, and for how long it is measured then.
const BUILT_UP: Duration = Duration::from_secs(12);
const MEASURED: Duration = Duration::from_secs(40);
const LONGEST_GAP: f64 = 10.0;

fn key(client: usize) -> String {
    format!("key-of-client-{client}-for-the-load-of-truth")
}

fn clients() -> anyhow::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    for client in 0..CLIENTS {
        let digest = ring::digest::digest(&ring::digest::SHA256, key(client).as_bytes());
        let number = digest.as_ref().iter().map(|byte| u32::from(*byte));
        let digit = |value: u32| char::from_digit(value, 16).unwrap_or_default();
        let hex: String = number.flat_map(|byte| [digit(byte / 16), digit(byte % 16)]).collect();
        writeln!(
            file,
            "[[auth.clients]]\nname = \"client{client}\"\nkey_sha256 = \"{hex}\"\naccess = \"write\""
        )?;
    }
    Ok(file)
}

/// With 600 calls a window.
async fn stack(
    program: &str,
    window: &str,
    per_minute: u32,
) -> anyhow::Result<(Arc<Stack>, tempfile::NamedTempFile)> {
    let file = clients()?;
    let path = file.path().to_string_lossy().into_owned();
    let rate = per_minute.to_string();
    let variables = [
        ("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", rate.as_str()),
        ("GATEWAY__GENESYS__RATE_WINDOW", window),
        ("GATEWAY__AUTH__CLIENTS_FILE", path.as_str()),
    ];
    let settings = json!({
        "latency": "10ms", "lag": "30ms", "rate_window": window, "requests_per_minute": per_minute,
    });
    let stack = Stack::start(program, &variables, settings).await?;
    for number in 0..CLIENTS * OWN_CALLS {
        stack.add(&conversation(number), &json!({"a": "1"})).await?;
    }
    Ok((Arc::new(stack), file))
}

fn read(number: usize) -> Ask {
    Ask { api_key: Some(key(0)), ..Ask::get(&conversation(number % (CLIENTS * OWN_CALLS))) }
}

fn write(number: usize) -> Ask {
    let target = conversation(number % (CLIENTS * OWN_CALLS));
    let keys = vec![("k".to_owned(), format!("v{number}"))];
    Ask { api_key: Some(key(0)), ..Ask::put(&target, keys) }
}

pub async fn run(program: &str) -> anyhow::Result<bool> {
    Ok(bursts(program).await? & busy(program).await?)
}

/// Calls that the platform refused, and the most that any window held.
async fn upstream(stack: &Stack, window_us: u64) -> anyhow::Result<(usize, usize, Vec<u64>)> {
    let calls = stack.calls().await?;
    let refused = calls.iter().filter(|call| call["status"] == 429).count();
    let at = arrivals(&calls);
    let held = |(index, from): (usize, &u64)| {
        at[index..].partition_point(|later| *later < from + window_us)
    };
    let most = at.iter().enumerate().map(held).max().unwrap_or(0);
    Ok((refused, most, at))
}

/// Far more reads than there is room for, and a few writes; then the other way round.
async fn bursts(program: &str) -> anyhow::Result<bool> {
    let ms = Duration::from_millis;
    let mut good = true;
    let short = ("10s", 3_600, WINDOW_US);
    let long = ("60s", 600, 6 * WINDOW_US);
    for (reads_first, (window, rate, window_us)) in
        [(true, short), (false, short), (true, long), (false, long)]
    {
        let (stack, _file) = stack(program, window, rate).await?;
        let flood = {
            let stack = Arc::clone(&stack);
            let ask = move |number| if reads_first { read(number) } else { write(number) };
            tokio::spawn(async move { stream(&stack, ms(5), ms(5_000), ask).await })
        };
        sleep(ms(3_000)).await;
        let few = move |number: usize| {
            if reads_first { write(1 + number * 7) } else { read(1 + number * 7) }
        };
        let answers = stream(&stack, ms(400), ms(12_000), few).await?;
        let flood = flood.await??;
        let (refused, most, _) = upstream(&stack, window_us).await?;
        let share = served(&answers);
        let (many, few) = if reads_first { ("reads", "writes") } else { ("writes", "reads") };
        println!(
            "budget, window of {window}: 200 {many} a second for 5 s ({:.0} % served); 2.5 {few} a second meanwhile and after: \
             {share:.0} % served; {most} of {CALLS} calls in a window, {refused} times 429",
            served(&flood),
        );
        good &= share >= 90.0 && refused == 0 && most <= CALLS;
    }
    Ok(good)
}

/// One loop of a client: reads and writes in turn, and waits as `Retry-After` says.
async fn client_loop(
    stack: Arc<Stack>,
    client: usize,
    part: usize,
    until: Instant,
) -> Vec<ClientAnswer> {
    let (mut answers, mut number) = (Vec::new(), part);
    while Instant::now() < until {
        number += LOOPS;
        let target = conversation(client * OWN_CALLS + number % OWN_CALLS);
        let mut ask = Ask::get(&target);
        if (number / LOOPS).is_multiple_of(2) {
            ask = Ask::put(&target, vec![("k".to_owned(), format!("c{client}-{number}"))]);
        }
        ask.api_key = Some(key(client));
        let one = ask.send(&stack).await;
        let wait = one.retry_after;
        answers.push(one);
        if let Some(wait) = wait {
            sleep(Duration::from_secs(wait).min(until - Instant::now())).await;
        }
    }
    answers
}

/// Ten clients that never stop.
async fn busy(program: &str) -> anyhow::Result<bool> {
    let (stack, _file) = stack(program, "10s", 3_600).await?;
    let mut tasks = JoinSet::new();
    let until = Instant::now() + BUILT_UP + MEASURED;
    let start = stack.now();
    for client in 0..CLIENTS {
        for part in 0..LOOPS {
            let work = client_loop(Arc::clone(&stack), client, part, until);
            tasks.spawn(async move { (client, work.await) });
        }
    }
    let mut answers: Vec<Vec<ClientAnswer>> = vec![Vec::new(); CLIENTS];
    while let Some(done) = tasks.join_next().await {
        let (client, own) = done?;
        answers[client].extend(own);
    }
    let (refused, most, at) = upstream(&stack, WINDOW_US).await?;
    let from = start + u64::try_from(BUILT_UP.as_micros())?;
    let to = from + u64::try_from(MEASURED.as_micros())?;
    let used = at.iter().filter(|at| (from..to).contains(*at)).count();
    let windows = usize::try_from((to - from) / WINDOW_US)?;
    let used = percent(used, CALLS * windows);
    let gaps: Vec<f64> = answers.iter().map(|answers| longest_gap(answers, start, to)).collect();
    let longest = gaps.iter().copied().fold(0.0, f64::max);
    let (most_told, came_back) = retries(&answers);
    println!(
        "budget: ten busy clients for {} s: {used:.1} % used, of {:.0} % that waiting classes may use; {most} \
         of {CALLS} calls in a window, {refused} times 429; longest gaps without a served answer {gaps:.1?} s",
        (BUILT_UP + MEASURED).as_secs(),
        WAITING_CLASSES * 100.0,
    );
    let share = used >= 90.0 * WAITING_CLASSES;
    let told_well = most_told <= WINDOW_US / 1_000_000 && came_back >= 90.0;
    Ok(share && told_well && refused == 0 && most <= CALLS && longest <= LONGEST_GAP)
}

/// The longest time without a served answer.
fn longest_gap(answers: &[ClientAnswer], start: u64, end: u64) -> f64 {
    let good = answers.iter().filter(|one| is_served(one)).map(|one| one.end);
    let mut at: BTreeSet<u64> = good.filter(|at| *at < end).collect();
    at.extend([start, end]);
    let at: Vec<u64> = at.into_iter().collect();
    seconds(at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}

/// Prints the `Retry-After` of refusals, and how many clients were served when they returned; the longest wait, and how many
/// of a hundred were served then.
fn retries(answers: &[Vec<ClientAnswer>]) -> (u64, f64) {
    let (mut waits, mut seconds_of) =
        (BTreeMap::<u64, usize>::new(), BTreeMap::<u64, usize>::new());
    let (mut refused, mut all) = (0, 0);
    for one in answers.iter().flatten() {
        all += 1;
        let Some(wait) = one.retry_after else {
            continue;
        };
        refused += 1;
        *waits.entry(wait).or_default() += 1;
        *seconds_of.entry(one.end / 1_000_000 + wait).or_default() += 1;
    }
    let (served, came_back) = came_back(answers);
    println!(
        "budget: {refused} of {all} answers were refusals; Retry-After {waits:?}; at most {} for the same \
         second; {:.0} % of {came_back} that came back at the promised time were served",
        seconds_of.values().max().unwrap_or(&0),
        percent(served, came_back),
    );
    let share = if came_back == 0 { 100.0 } else { percent(served, came_back) };
    (waits.keys().max().copied().unwrap_or(0), share)
}

/// Of the requests that followed a refusal in the same loop: served ones, and all.
fn came_back(answers: &[Vec<ClientAnswer>]) -> (usize, usize) {
    let (mut served, mut all) = (0, 0);
    for client in answers {
        // The answers of a client's loops stand one loop after the other.
        let pairs = client.windows(2).filter(|pair| pair[1].start >= pair[0].end);
        for pair in pairs.filter(|pair| pair[0].retry_after.is_some()) {
            all += 1;
            served += usize::from(is_served(&pair[1]));
        }
    }
    (served, all)
}
