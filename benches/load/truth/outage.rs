//! All calls fail for a while: how many reach the platform, and how soon everything works again. And one
//! conversation that is broken for good: whether the others notice.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::exchange::{Ask, ClientAnswer};
use super::judge::seconds;
use super::stack::{Stack, conversation};
use super::steady::{arrivals, is_served, percent, served, stream};

/// Conversations of the healthy traffic.
const CALLS: usize = 200;
/// Before the outage, during it, and after it.
const BEFORE: Duration = Duration::from_secs(5);
const OUTAGE: Duration = Duration::from_secs(5);
const AFTER: Duration = Duration::from_secs(7);
/// Then one call a second is all that may pass.
const NOTICED_US: u64 = 2_000_000;
/// A second, less what timers may be off.
const PROBE_GAP_US: u64 = 950_000;
/// From the recovery to full service.
const RECOVERY: f64 = 2.0;
const EVERY: Duration = Duration::from_millis(30);

async fn stack(program: &str) -> anyhow::Result<Arc<Stack>> {
    let variables = [("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "600000")];
    let settings = json!({"latency": "10ms", "lag": "30ms"});
    let stack = Stack::start(program, &variables, settings).await?;
    for number in 0..=CALLS {
        stack.add(&conversation(number), &json!({"a": "1"})).await?;
    }
    Ok(Arc::new(stack))
}

/// Half reads, half writes, to one conversation after the other.
fn healthy(number: usize) -> Ask {
    let target = conversation(number % CALLS);
    if number.is_multiple_of(2) {
        return Ask::get(&target);
    }
    Ask::put(&target, vec![("k".to_owned(), format!("v{number}"))])
}

/// All calls fail for five seconds.
pub async fn outage(program: &str) -> anyhow::Result<bool> {
    let stack = stack(program).await?;
    let traffic = {
        let stack = Arc::clone(&stack);
        tokio::spawn(async move { stream(&stack, EVERY, BEFORE + OUTAGE + AFTER, healthy).await })
    };
    sleep(BEFORE).await;
    stack.inject(all_fail()).await?;
    let failing = stack.now();
    sleep(OUTAGE).await;
    let healing = stack.now();
    stack.heal().await?;
    let healed = stack.now();
    let answers = traffic.await??;
    let at = arrivals(&stack.calls().await?);
    let second = |n: u64| {
        let (from, to) = (failing + n * 1_000_000, failing + (n + 1) * 1_000_000);
        at.iter().filter(|at| (from..to).contains(*at)).count()
    };
    let seconds_of: Vec<_> = (0..5).map(second).collect();
    let spared = |at: &&u64| **at > failing + NOTICED_US && **at < healing;
    let probes: Vec<u64> = at.iter().filter(spared).copied().collect();
    let gap = probes.windows(2).map(|pair| pair[1] - pair[0]).min();
    let before: Vec<_> = answers.iter().filter(|one| one.end < failing).cloned().collect();
    let recovery = recovery(&answers, healed);
    println!(
        "outage: {:.1} % served before; calls that reached the platform in each second of it: \
         {seconds_of:?}; after 2 s {}, the closest two {:.2} s apart; full service {recovery:.2} s \
         after the end",
        served(&before),
        probes.len(),
        gap.map_or(9.9, seconds),
    );
    Ok(gap.is_none_or(|gap| gap >= PROBE_GAP_US) && probes.len() <= 4 && recovery <= RECOVERY)
}

/// No call succeeds.
pub fn all_fail() -> serde_json::Value {
    let among = json!([
        {"action": "status", "code": 503}, {"action": "status", "code": 502},
        {"action": "status", "code": 500}, {"action": "reset_before"},
    ]);
    json!({"action": "random", "percent": 100, "among": among, "times": u32::MAX})
}

/// From the end of the outage to the last request that still failed, in seconds.
fn recovery(answers: &[ClientAnswer], healed: u64) -> f64 {
    let failed = answers.iter().filter(|one| one.start > healed && !is_served(one));
    failed.map(|one| seconds(one.start.saturating_sub(healed))).fold(0.0, f64::max)
}

fn broken(conversation: &str) -> serde_json::Value {
    json!({
        "on": {"kind": "read", "conversation": conversation},
        "action": "status", "code": 500, "times": u32::MAX,
    })
}

/// One conversation whose reads fail always, asked for at a high rate.
pub async fn poison(program: &str) -> anyhow::Result<bool> {
    let mut good = true;
    for (healthy_ms, every_ms) in [(500, 100), (200, 10), (30, 50)] {
        let stack = stack(program).await?;
        let poisoned = conversation(CALLS);
        stack.inject(broken(&poisoned)).await?;
        let lasting = Duration::from_secs(20);
        let bad = {
            let stack = Arc::clone(&stack);
            let ask = move |number: usize| match number % 2 {
                0 => Ask::get(&poisoned),
                _ => Ask::put(&poisoned, vec![("k".to_owned(), format!("v{number}"))]),
            };
            let every = Duration::from_millis(every_ms);
            tokio::spawn(async move { stream(&stack, every, lasting, ask).await })
        };
        let answers = stream(&stack, Duration::from_millis(healthy_ms), lasting, healthy).await?;
        let bad = bad.await??;
        let calls = stack.calls().await?;
        let poison = conversation(CALLS);
        let spent = calls
            .iter()
            .filter(|call| call["path"].as_str().is_some_and(|path| path.contains(&poison)));
        let spent = spent.count();
        let share = served(&answers);
        println!(
            "poison: {} requests a second for a broken conversation ({} served, {spent} calls, {:.0} % of \
             all), {} a second for others: {share:.2} % of {} served",
            1000 / every_ms,
            bad.iter().filter(|one| is_served(one)).count(),
            percent(spent, calls.len()),
            1000 / healthy_ms,
            answers.len(),
        );
        good &= share > 99.0;
    }
    Ok(good)
}
