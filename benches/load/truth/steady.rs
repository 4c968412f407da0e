//! Requests at a fixed rate, whether or not earlier ones were answered.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::exchange::{Ask, ClientAnswer};
use super::stack::Stack;

/// Sends one request after the other at this distance, and waits for all answers.
pub async fn stream(
    stack: &Arc<Stack>,
    every: Duration,
    lasting: Duration,
    mut make: impl FnMut(usize) -> Ask,
) -> anyhow::Result<Vec<ClientAnswer>> {
    let (start, mut tasks) = (Instant::now(), JoinSet::new());
    for number in 0.. {
        let due = every * u32::try_from(number)?;
        if due >= lasting {
            break;
        }
        sleep_until(start + due).await;
        let (ask, stack) = (make(number), Arc::clone(stack));
        tasks.spawn(async move { ask.send(&stack).await });
    }
    collect(tasks).await
}

/// Sends all of these at once, and waits for all answers.
pub async fn burst(stack: &Arc<Stack>, asks: Vec<Ask>) -> anyhow::Result<Vec<ClientAnswer>> {
    let mut tasks = JoinSet::new();
    for ask in asks {
        let stack = Arc::clone(stack);
        tasks.spawn(async move { ask.send(&stack).await });
    }
    collect(tasks).await
}

async fn collect(mut tasks: JoinSet<ClientAnswer>) -> anyhow::Result<Vec<ClientAnswer>> {
    let mut answers = Vec::new();
    while let Some(one) = tasks.join_next().await {
        answers.push(one?);
    }
    answers.sort_by_key(|one| one.start);
    Ok(answers)
}

/// Whether the client got what it asked for.
pub fn is_served(answers: &ClientAnswer) -> bool {
    (200..300).contains(&answers.status)
}

/// How many of a hundred were served.
pub fn served(answers: &[ClientAnswer]) -> f64 {
    let good = answers.iter().filter(|one| is_served(one)).count();
    percent(good, answers.len())
}

/// One number as a percentage of another.
pub fn percent(part: usize, whole: usize) -> f64 {
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    100.0 * count(part) / count(whole.max(1))
}

/// When calls of the API arrived at the platform, in order, in microseconds.
pub fn arrivals(calls: &[serde_json::Value]) -> Vec<u64> {
    let api = |call: &&serde_json::Value| call["kind"] == "read" || call["kind"] == "patch";
    let mut at: Vec<u64> =
        calls.iter().filter(api).filter_map(|call| call["at_us"].as_u64()).collect();
    at.sort_unstable();
    at
}
