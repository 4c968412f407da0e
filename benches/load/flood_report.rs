//! What was seen of a flood, and whether it is as it has to be.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

/// Clients, with their shares. The first one floods.
pub const CALLERS: [(&str, u64); 3] = [("flood", 1), ("crm", 3), ("ivr", 2)];
/// All shares together.
pub const WEIGHTS: u64 = 6;

/// What became of a request.
pub struct ClientAnswer {
    pub caller: usize,
    pub write: bool,
    pub status: u16,
    pub took: Duration,
}

/// A load that was run, and what became of its requests.
pub struct Run {
    pub answers: Vec<ClientAnswer>,
    /// How late this process itself woke up, at the 99th percentile: what the machine does anyway.
    pub late: Duration,
}

/// Median and 99th percentile of the reads or the writes of a client.
fn latency(answers: &[ClientAnswer], caller: usize, write: bool) -> (Duration, Duration) {
    let own = answers.iter().filter(|one| one.caller == caller && one.write == write);
    let mut took: Vec<_> = own.map(|one| one.took).collect();
    took.sort_unstable();
    let at = |percent: usize| {
        took.get(took.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    };
    (at(50), at(99))
}

fn statuses(answers: &[ClientAnswer], caller: usize) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for one in answers.iter().filter(|one| one.caller == caller) {
        *counts.entry(one.status).or_default() += 1;
    }
    counts
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Prints a line for each client.
pub fn show(name: &str, run: &Run) {
    for (caller, (who, _)) in CALLERS.iter().enumerate() {
        let answers = statuses(&run.answers, caller);
        if answers.is_empty() {
            continue;
        }
        let (reads, writes) =
            (latency(&run.answers, caller, false), latency(&run.answers, caller, true));
        println!(
            "| {name} | {who} | {:.0} / {:.0} ms | {:.0} / {:.0} ms | {answers:?} | {:.0} ms |",
            millis(reads.0),
            millis(reads.1),
            millis(writes.0),
            millis(writes.1),
            millis(run.late)
        );
    }
}

/// Whether the others were served in all rounds, and in the median of them as without the flood.
pub fn judge(name: &str, calm: &[Run], flooded: &[Run]) -> anyhow::Result<()> {
    for (caller, (who, _)) in CALLERS.iter().enumerate().skip(1) {
        for (kind, write) in [("reads", false), ("writes", true)] {
            let p99 = |run: &Run| latency(&run.answers, caller, write).1.as_secs_f64();
            let rounds = calm.iter().zip(flooded);
            let mut ratios: Vec<_> = rounds.map(|(calm, run)| p99(run) / p99(calm)).collect();
            ratios.sort_unstable_by(f64::total_cmp);
            println!("{name}, p99 of the {kind} of {who}, x that without the flood: {ratios:.2?}");
            ensure!(ratios[ratios.len() / 2] <= 1.5, "the flood delays others");
        }
        for run in flooded {
            let answers = statuses(&run.answers, caller);
            let bad = answers.keys().any(|status| *status >= 300 || *status == 0);
            ensure!(!bad, "{who} got {answers:?}");
        }
    }
    Ok(())
}

/// Whether each got calls by its weight.
pub fn judge_shares(each: [u64; 3]) -> anyhow::Result<()> {
    let all: u64 = each.iter().sum();
    println!("calls of those who are hungry: {each:?} of {all}");
    for ((who, share), got) in CALLERS.into_iter().zip(each) {
        let due = all * share / WEIGHTS;
        ensure!(got.abs_diff(due) * 10 <= due, "{who} got {got} calls, due are {due}");
    }
    Ok(())
}
