//! Many writes while calls fail at random, others write and reads lag; every answer is judged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::exchange::ClientAnswer;
use super::history::History;
use super::increments;
use super::judge::Case;
use super::pace::Pace;
use super::stack::{Stack, conversation};
use super::traffic::{LIVE, Traffic, Volume, counters};
use super::verdict::{KINDS, Verdict};

/// Until each late `PATCH` has landed and all reads show everything.
const SETTLED: Duration = Duration::from_secs(3);

/// How many seeds, which, and how bad it is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seeds: u64,
    pub first: u64,
    pub writes: usize,
    pub percent: u8,
}

/// What goes wrong with a PATCH.
fn on_patch() -> Value {
    let mut among = Vec::new();
    for status in [503, 502, 500, 504, 408] {
        for _ in 0..2 {
            among.push(json!({"action": "status", "code": status}));
            among.push(json!({"action": "empty", "status": status, "applied": true}));
        }
    }
    for action in ["reset_before", "reset_after"] {
        among.extend([json!({ "action": action }), json!({ "action": action })]);
    }
    among.push(json!({"action": "hang"}));
    among.push(json!({"action": "hang_after_apply"}));
    among.push(json!({"action": "apply_late", "after": "700ms"}));
    among.push(json!({"action": "status", "code": 409}));
    among.push(json!({"action": "status", "code": 409}));
    among.extend(rare());
    Value::from(among)
}

fn on_read() -> Value {
    let mut among: Vec<Value> = [503, 502, 500, 504, 408, 503, 502, 500, 504, 408]
        .iter()
        .map(|status| json!({"action": "status", "code": status}))
        .collect();
    among.push(json!({"action": "reset_before"}));
    among.push(json!({"action": "reset_after"}));
    among.push(json!({"action": "hang"}));
    among.extend(rare());
    Value::from(among)
}

/// What stops everybody: a 429 closes the gateway's window for a second. Tokens die on their own, see
/// `traffic.rs`: the gateway fetches only so many new ones in a row.
fn rare() -> [Value; 1] {
    let among = [json!({"action": "throttle", "retry_after": 1})];
    [json!({"action": "random", "percent": 20, "among": among})]
}

/// The faults of a seed, in so many of a hundred calls.
pub fn faults(seed: u64, percent: u8) -> Value {
    let always = u32::MAX;
    let random = |seed: u64, among: Value| json!({"action": "random", "percent": percent, "seed": seed, "among": among});
    let mut read = random(seed * 2, on_read());
    read["on"] = json!({"kind": "read"});
    read["times"] = json!(always);
    let mut patch = random(seed * 2 + 1, on_patch());
    patch["on"] = json!({"kind": "patch"});
    patch["times"] = json!(always);
    json!([read, patch])
}

/// Runs all seeds; whether nothing false was said.
pub async fn run(program: &str, plan: Plan) -> anyhow::Result<bool> {
    let (mut all, mut lowest) = (Verdict::default(), 100.0_f64);
    for seed in plan.first..plan.first + plan.seeds {
        let (verdict, share) = one(program, plan, seed).await?;
        all.add(verdict);
        lowest = lowest.min(share);
    }
    println!(
        "faults: {} seeds at {} %: {} false statements, {} late ({} excused), lowest share {lowest:.1} %",
        plan.seeds,
        plan.percent,
        all.total(),
        all.late,
        all.excused
    );
    for kind in KINDS {
        println!("  {:<32} {}", kind, all.count(kind));
    }
    let due = if plan.percent <= 25 { 95.0 } else { 50.0 };
    Ok(all.total() == 0 && all.late == 0 && lowest >= due)
}

/// Starts everything, and makes calls fail; what each conversation began with.
async fn prepare(
    program: &str,
    plan: Plan,
    seed: u64,
) -> anyhow::Result<(Arc<Stack>, HashMap<String, Value>)> {
    let settings = json!({"latency": "10ms", "lag": "10ms", "lag_spread": "300ms", "seed": seed});
    // Every third seed without memory: then a write begins with a read of its own.
    let warm = if seed.is_multiple_of(3) { "0s" } else { "10s" };
    let variables =
        [("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "600000"), ("GATEWAY__WRITES__WARM_FOR", warm)];
    let stack = Arc::new(Stack::start(program, &variables, settings).await?);
    let initial = add_conversations(&stack).await?;
    stack.inject(faults(seed, plan.percent)).await?;
    Ok((stack, initial))
}

/// Adds those that are live from the start, and the counters; what each began with.
pub async fn add_conversations(stack: &Stack) -> anyhow::Result<HashMap<String, Value>> {
    let live = (0..LIVE).map(|number| (conversation(number), json!({"foreign_0": "start"})));
    let counters = counters().into_iter().map(|id| (id, json!({(increments::COUNTER): "0"})));
    let initial: HashMap<_, _> = live.chain(counters).collect();
    for (id, map) in &initial {
        stack.add(id, map).await?;
    }
    Ok(initial)
}

async fn one(program: &str, plan: Plan, seed: u64) -> anyhow::Result<(Verdict, f64)> {
    let (stack, initial) = prepare(program, plan, seed).await?;
    let (pace, start) = (Pace::start(&stack), Instant::now());
    let volume =
        Volume { writes: plan.writes, workers: 24, pause_ms: 400, reads: 4, ends_some: true };
    let traffic = Traffic::new(Arc::clone(&stack), seed, volume, false);
    traffic.run().await?;
    let took = start.elapsed();
    stack.heal().await?;
    sleep(SETTLED).await;
    let history = History::read(&stack.ledger().await?, &stack.calls().await?, &initial);
    let (told, ended) = traffic.results();
    let mut verdict = Verdict::default();
    Case::new(&told, &history, &ended).judge(&mut verdict);
    increments::judge(&told, &history, &counters(), &mut verdict);
    pace.judge(&told, &mut verdict);
    let share = show(seed, &told, &history, took);
    println!(
        "  held up {} times; late {} ({} excused)",
        pace.pauses(),
        verdict.late,
        verdict.excused
    );
    if !verdict.latest.is_empty() {
        println!("  LATE: {}", verdict.latest);
    }
    for (kind, count, example) in verdict.examples() {
        println!("  FALSE {count} x {kind}: {example}");
    }
    Ok((verdict, share))
}

/// In which class an answer to a write counts.
fn class(told: &ClientAnswer) -> String {
    let special = [
        (told.ask.is_short() && told.is_proved(), "short wait, proved"),
        (told.ask.is_short(), "short wait, other"),
        (told.ask.dry_run, "dry run"),
        (told.ask.no_verify && told.status < 300, "verify=none taken"),
        (told.status == 412, "412"),
        (told.code() == "conversation-ended", "ended"),
        (told.status == 409 && told.code() == "write-superseded", "superseded"),
    ];
    if let Some((_, name)) = special.iter().find(|(is, _)| *is) {
        return (*name).to_owned();
    }
    if !told.is_proved() {
        let unverified = told.status == 202;
        let effect = told.body["effect"].as_str().unwrap_or_default();
        return if unverified {
            "unverified".to_owned()
        } else {
            format!("{} {} {effect}", told.status, told.code())
        };
    }
    let has = |outcome| told.ask.keys.iter().any(|(key, _)| told.outcome(key) == Some(outcome));
    let worst = ["verified", "cleared", "unchanged"].into_iter().find(|outcome| has(*outcome));
    worst.unwrap_or("verified").to_owned()
}

/// Prints what a seed came to; the share of proved and superseded writes among those that could be.
pub fn show(seed: u64, answers: &[ClientAnswer], history: &History, took: Duration) -> f64 {
    let mut classes: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let writes: Vec<&ClientAnswer> = answers.iter().filter(|one| one.is_write()).collect();
    for one in &writes {
        *classes.entry(class(one)).or_default() += 1;
    }
    let of = |names: &[&str]| names.iter().filter_map(|name| classes.get(*name)).sum::<usize>();
    let good = of(&["verified", "cleared", "unchanged", "superseded"]);
    let aside = of(&[
        "dry run",
        "verify=none taken",
        "412",
        "ended",
        "short wait, proved",
        "short wait, other",
    ]);
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let due = writes.len() - aside;
    let share = 100.0 * count(good) / count(due.max(1));
    println!(
        "seed {seed}: {} writes in {:.0} s, {good} of {due} proved or superseded ({share:.1} %), {:.2} calls a \
         write, {} of {} calls failed",
        writes.len(),
        took.as_secs_f64(),
        count(history.calls) / count(writes.len().max(1)),
        history.failed,
        history.calls,
    );
    let told: Vec<_> = classes.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("  {}", told.join(", "));
    share
}
