//! How many calls a write takes while reads lag, and whether slow reads fail it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::exchange::{Ask, ClientAnswer};
use super::history::History;
use super::stack::{Stack, conversation};
use super::steady::{burst, percent, served, stream};

/// Writes at once.
const WRITES: usize = 50;
/// From the second write on.
const MOST_CALLS: usize = 4;

fn writes(from: usize, wait: Option<u64>) -> Vec<Ask> {
    let write = |number: usize| {
        let keys = vec![("k".to_owned(), format!("v{number}"))];
        Ask { wait, ..Ask::put(&conversation(number), keys) }
    };
    (from..from + WRITES).map(write).collect()
}

async fn stack(program: &str, lag: &str) -> anyhow::Result<Arc<Stack>> {
    let variables = [("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", "600000")];
    let settings = json!({"latency": "5ms", "lag": lag});
    let stack = Stack::start(program, &variables, settings).await?;
    for number in 0..4 * WRITES {
        stack.add(&conversation(number), &json!({"a": "1"})).await?;
    }
    Ok(Arc::new(stack))
}

/// Calls for each of these writes, as the platform counts them: the mean, and the most.
async fn calls(stack: &Stack, answers: &[ClientAnswer]) -> anyhow::Result<(f64, usize)> {
    let history = History::read(&[], &stack.calls().await?, &HashMap::new());
    let of = |one: &ClientAnswer| history.courses.get(&one.ask.conversation).map_or(0, |c| c.calls);
    let counts: Vec<usize> = answers.iter().map(of).collect();
    Ok((percent(counts.iter().sum(), counts.len()) / 100.0, counts.into_iter().max().unwrap_or(0)))
}

pub async fn run(program: &str) -> anyhow::Result<bool> {
    Ok(first_writes(program).await? & slow_reads(program).await?)
}

async fn first_writes(program: &str) -> anyhow::Result<bool> {
    let stack = stack(program, "300ms").await?;
    let first = burst(&stack, writes(0, None)).await?;
    let second = burst(&stack, writes(WRITES, None)).await?;
    let (once, most_once) = calls(&stack, &first).await?;
    let (then, most_then) = calls(&stack, &second).await?;
    println!(
        "lag: {WRITES} first writes at once under 300 ms: {once:.2} calls a write, at most {most_once} \
         ({:.0} % served); {WRITES} more: {then:.2}, at most {most_then} ({:.0} % served)",
        served(&first),
        served(&second),
    );
    // A fresh service; one write after the other, so that the first has measured before most begin.
    let fresh = self::stack(program, "300ms").await?;
    let asks = writes(0, None);
    let (every, lasting) = (Duration::from_millis(40), Duration::from_secs(2));
    let row = stream(&fresh, every, lasting, |number| asks[number % WRITES].clone()).await?;
    let (mean, _) = calls(&fresh, &row).await?;
    let (late, most_late) = calls(&fresh, &row[WRITES / 4..]).await?;
    println!(
        "lag: {WRITES} writes 40 ms apart: {mean:.2} calls a write; {late:.2}, at most {most_late}, once the \
         first was proved"
    );
    Ok(most_then <= MOST_CALLS && most_late <= MOST_CALLS)
}

async fn slow_reads(program: &str) -> anyhow::Result<bool> {
    let stack = stack(program, "50ms").await?;
    let slow = json!({
        "on": {"kind": "read"}, "action": "delay", "by": "2s 200ms", "times": u32::MAX,
    });
    stack.inject(slow).await?;
    let answers = burst(&stack, writes(0, Some(10))).await?;
    let share = served(&answers);
    let proved = percent(answers.iter().filter(|one| one.is_proved()).count(), answers.len());
    let mut counts: HashMap<String, usize> = HashMap::new();
    for one in &answers {
        *counts.entry(format!("{} {}", one.status, one.code())).or_default() += 1;
    }
    println!(
        "lag: {WRITES} writes with wait=10 while reads take 2.2 s: {share:.0} % served, {proved:.0} % proved \
         {counts:?}"
    );
    Ok(proved >= 95.0)
}
