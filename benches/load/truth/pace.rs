//! Whether this machine itself was held up: an answer is late only if this process had time to take it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::exchange::ClientAnswer;
use super::stack::Stack;
use super::verdict::Verdict;

/// How often it is looked.
const WAKE: Duration = Duration::from_millis(10);
/// What counts as held up.
const HELD_UP: Duration = Duration::from_millis(60);
/// A pause before an answer's deadline also delays it, as long as this before.
const BEFORE_US: u64 = 2_000_000;
/// What the contract grants beyond the deadline.
const GRACE_US: u64 = 100_000;
/// What the way to the gateway and back may take on a machine with little to do.
const WAY_US: u64 = 25_000;

/// Looks until it is dropped.
pub struct Pace {
    pauses: Arc<Mutex<Vec<(u64, u64)>>>,
    task: JoinHandle<()>,
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pace {
    pub fn start(stack: &Arc<Stack>) -> Self {
        let pauses: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
        let (stack, seen) = (Arc::clone(stack), Arc::clone(&pauses));
        let task = tokio::spawn(async move {
            loop {
                let (start, from) = (Instant::now(), stack.now());
                sleep(WAKE).await;
                if start.elapsed() > WAKE + HELD_UP {
                    let mut pauses = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    pauses.push((from, stack.now()));
                }
            }
        });
        Self { pauses, task }
    }

    /// How often this process was held up.
    pub fn pauses(&self) -> usize {
        self.pauses.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether this process stood still so long that requests gave up.
    pub fn stood_still(&self, one: &ClientAnswer) -> bool {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let long =
            |(from, to): &(u64, u64)| to - from > 5_000_000 && *from < one.end && *to > one.start;
        pauses.iter().any(long)
    }

    /// Counts the late answers.
    pub fn judge(&self, answers: &[ClientAnswer], verdict: &mut Verdict) {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Those without an answer are judged elsewhere.
        for one in answers.iter().filter(|one| one.status != 0 && one.accepted.is_none()) {
            let due = one.sent + one.ask.deadline_ms() * 1000 + GRACE_US;
            if one.end <= due + WAY_US {
                continue;
            }
            let held = |(from, to): &(u64, u64)| *from < one.end && *to + BEFORE_US > due;
            if pauses.iter().any(held) {
                verdict.excused += 1;
                continue;
            }
            verdict.late += 1;
            if verdict.latest.is_empty() {
                verdict.latest = one.describe();
            }
        }
    }
}
