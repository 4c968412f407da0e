//! What a soak came to, and whether that is as it has to be.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;

use super::exchange::ClientAnswer;
use super::steady::{percent, served};
use super::verdict::Verdict;

/// By so much of a hundred, memory may grow from the end of the first tenth to the end.
const GROWTH: f64 = 10.0;

/// The platform's time of the outage.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    pub from: u64,
    pub to: u64,
}

/// The gateway's resident memory in bytes, as it was seen.
pub struct Memory {
    lasting: Duration,
    samples: Vec<(Duration, f64)>,
}

impl Memory {
    pub fn new(lasting: Duration) -> Self {
        Self { lasting, samples: Vec::new() }
    }

    pub fn add(&mut self, at: Duration, bytes: f64) {
        self.samples.push((at, bytes));
    }

    /// The mean of the ten samples before this time, in megabytes.
    fn mean(&self, until: Duration) -> f64 {
        let before = self.samples.iter().rev().skip_while(|(at, _)| *at > until).take(10);
        let (sum, count) = before.fold((0.0, 0.0), |(sum, n), (_, bytes)| (sum + bytes, n + 1.0));
        sum / count / 1e6
    }

    /// In how many percent it grew.
    fn show(&self) -> f64 {
        let (first, last) = (self.mean(self.lasting / 10), self.mean(self.lasting));
        let most = self.samples.iter().map(|(_, bytes)| bytes / 1e6).fold(0.0, f64::max);
        let growth = 100.0 * (last / first - 1.0);
        println!(
            "  memory: {first:.1} MB after {} s, {last:.1} MB at the end ({growth:+.1} %), at most {most:.1} MB",
            self.lasting.as_secs() / 10
        );
        growth
    }
}

/// Everything that was seen.
pub struct SoakReport<'a> {
    pub sent: usize,
    pub answers: &'a [ClientAnswer],
    /// What the gateway logged.
    pub log: &'a str,
    pub verdict: &'a Verdict,
    pub memory: Memory,
    pub outage: Outage,
}

impl SoakReport<'_> {
    /// Prints it; fails if anything is not as it has to be.
    pub fn show(self) -> anyhow::Result<()> {
        let writes = self.answers.iter().filter(|one| one.is_write()).count();
        let answered = self.answers.iter().filter(|one| one.status > 0).count();
        let refused = self.answers.iter().filter(|one| one.status == 401).count();
        let logged = self.logged_once();
        println!(
            "  {} requests ({writes} writes), {answered} answered, {logged} logged once, {refused} answered 401",
            self.sent
        );
        let share = |within: &dyn Fn(&ClientAnswer) -> bool| {
            served(&self.answers.iter().filter(|one| within(one)).cloned().collect::<Vec<_>>())
        };
        println!(
            "  served: {:.1} % before the outage, {:.1} % in it, {:.1} % after it",
            share(&|one| one.end < self.outage.from),
            share(&|one| one.start > self.outage.from && one.end < self.outage.to),
            share(&|one| one.start > self.outage.to),
        );
        let growth = self.memory.show();
        let (verdict, all) = (self.verdict, self.sent);
        println!(
            "  {} false statements; {} answers late, {} more while this machine was held up ({:.2} %)",
            verdict.total(),
            verdict.late,
            verdict.excused,
            percent(verdict.late + verdict.excused, all),
        );
        for (kind, count, example) in verdict.examples() {
            println!("  FALSE {count} x {kind}: {example}");
        }
        ensure!(verdict.total() == 0, "{} false statements", verdict.total());
        ensure!(answered == all, "{} requests were not answered", all - answered);
        ensure!(logged == all, "{} requests do not have one line in the log", all - logged);
        ensure!(refused == 0, "{refused} requests with a valid key were refused");
        ensure!(growth <= GROWTH, "memory grew by {growth:.1} %");
        Ok(())
    }

    /// How many requests have one line in the log, with the status that the client saw.
    fn logged_once(&self) -> usize {
        let mut lines: HashMap<String, Vec<Value>> = HashMap::new();
        for line in self.log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            if let (Some("access"), Some(id)) =
                (line["target"].as_str(), line["request.id"].as_str())
            {
                lines.entry(id.to_owned()).or_default().push(line["http.status"].clone());
            }
        }
        let is_once = |one: &&ClientAnswer| {
            let id = one.ask.id.as_ref();
            let statuses = id.and_then(|id| lines.get(id)).map_or(&[] as &[Value], Vec::as_slice);
            *statuses == [Value::from(one.status)]
        };
        self.answers.iter().filter(is_once).count()
    }
}
