//! The clients of a seed: workers that write in many forms, others that raise counters, foreign writers,
//! and calls that end in the middle. What each does is drawn from its seed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::exchange::{Ask, ClientAnswer, Form};
use super::increments;
use super::stack::{Stack, conversation};

/// Conversations of the workers, and counters after them.
pub const LIVE: usize = 98;
pub const COUNTERS: usize = 2;
/// Of the live ones, so many end.
const ENDING: usize = 6;
const WORKERS: usize = 24;
const RAISERS: usize = 4;
const FOREIGN: usize = 4;
/// Gateways to choose from; a smaller number of them is used in turn.
const GATEWAYS: usize = 6;
/// Keys that several workers and foreign writers write.
const SHARED: usize = 3;

/// How long clients wait; without a wish as long as the gateway's deadline.
const WAITS: [Option<u64>; 8] = [None, None, None, None, None, Some(1), Some(2), Some(10)];
/// Of the requests before, those that foreign writers know.
const RECENT: usize = 20;
/// Until all tokens die.
const TOKEN_LIFE: Duration = Duration::from_secs(13);

/// What a seed needs while it runs.
pub struct Traffic {
    pub stack: Arc<Stack>,
    pub seed: u64,
    /// Writes to make.
    pub writes: usize,
    started: AtomicUsize,
    answers: Mutex<Vec<ClientAnswer>>,
    ended: Mutex<HashMap<String, (u64, u64)>>,
    /// Keys that were asked for last, for others to come in between.
    recent: Mutex<VecDeque<(String, String)>>,
}

/// The ids of the counters.
pub fn counters() -> Vec<String> {
    (LIVE..LIVE + COUNTERS).map(conversation).collect()
}

impl Traffic {
    pub fn new(stack: Arc<Stack>, seed: u64, writes: usize) -> Arc<Self> {
        Arc::new(Self {
            stack,
            seed,
            writes,
            started: AtomicUsize::new(0),
            answers: Mutex::default(),
            ended: Mutex::default(),
            recent: Mutex::default(),
        })
    }

    /// Runs until all writes are answered.
    pub async fn run(self: &Arc<Self>) -> anyhow::Result<()> {
        let (mut clients, mut others) = (JoinSet::new(), JoinSet::new());
        for number in 0..WORKERS {
            clients.spawn(Worker::new(self, number).run());
        }
        for number in 0..RAISERS {
            clients.spawn(Arc::clone(self).raise(number));
        }
        for number in 0..FOREIGN {
            others.spawn(Arc::clone(self).interfere(number));
        }
        others.spawn(Arc::clone(self).end_some());
        others.spawn(Arc::clone(self).kill_tokens());
        while let Some(client) = clients.join_next().await {
            client?;
        }
        others.shutdown().await;
        Ok(())
    }

    /// What was answered, and which conversations ended when.
    pub fn results(&self) -> (Vec<ClientAnswer>, HashMap<String, (u64, u64)>) {
        let answers =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        (answers, self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn keep(&self, answers: ClientAnswer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answers);
    }

    /// Whether there is one more write to make.
    fn next(&self) -> bool {
        self.started.fetch_add(1, Ordering::Relaxed) < self.writes
    }

    fn random(&self, salt: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_mul(1_000_003).wrapping_add(salt))
    }

    async fn raise(self: Arc<Self>, number: usize) {
        let mut random = self.random(1_000 + number as u64);
        let mut count = 0;
        while self.next() {
            let counter = conversation(LIVE + random.usize(..COUNTERS));
            count += 1;
            let mark = (format!("raiser_{number}"), format!("raise-{number}-{count}"));
            let replica = random.usize(..GATEWAYS);
            let raise = increments::raise(&self.stack, &counter, (&mark.0, mark.1), replica);
            for answers in raise.await {
                self.keep(answers);
            }
            sleep(Duration::from_millis(random.u64(0..300))).await;
        }
    }

    /// Another writer: mostly keys of its own, sometimes those of the clients.
    async fn interfere(self: Arc<Self>, number: usize) {
        let mut random = self.random(2_000 + number as u64);
        for count in 0_u64.. {
            sleep(Duration::from_millis(random.u64(100..500))).await;
            let mut target = conversation(random.usize(..LIVE));
            let mut key = match random.u8(0..10) {
                0 => format!("shared_{}", random.usize(..SHARED)),
                1 => format!("own_{}_{}", random.usize(..WORKERS), random.usize(..2)),
                _ => format!("foreign_{}", random.usize(..6)),
            };
            if random.u8(0..10) == 0 {
                let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
                if !recent.is_empty() {
                    (target, key) = recent[random.usize(..recent.len())].clone();
                }
            }
            let lag = if random.bool() { 0 } else { random.u64(0..400) };
            let map = json!({ key: format!("other-{number}-{count}") });
            // A platform that is gone shows in the answers soon enough.
            let _ = self.stack.foreign(&target, &map, lag).await;
        }
    }

    /// The keys of a request that is about to be sent.
    fn note(&self, ask: &Ask) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.extend(ask.keys.iter().map(|(key, _)| (ask.conversation.clone(), key.clone())));
        while recent.len() > RECENT {
            recent.pop_front();
        }
    }

    /// All tokens die now and then.
    async fn kill_tokens(self: Arc<Self>) {
        loop {
            sleep(TOKEN_LIFE).await;
            // A platform that is gone shows in the answers soon enough.
            let _ = self.stack.control("POST", "tokens/kill", &serde_json::Value::Null).await;
        }
    }

    async fn end_some(self: Arc<Self>) {
        let mut random = self.random(3_000);
        for number in 0..ENDING {
            sleep(Duration::from_millis(random.u64(1_000..5_000))).await;
            let id = conversation(number);
            let from = self.stack.now();
            let path = format!("conversations/{id}/end");
            if self.stack.control("POST", &path, &serde_json::Value::Null).await.is_ok() {
                let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
                ended.insert(id, (from, self.stack.now()));
            }
        }
    }
}

/// A client that writes one thing after the other.
struct Worker {
    traffic: Arc<Traffic>,
    number: usize,
    random: fastrand::Rng,
    count: usize,
    /// What was proved to be in place, to be asked for again.
    proved: Vec<Ask>,
}

impl Worker {
    fn new(traffic: &Arc<Traffic>, number: usize) -> Self {
        let random = traffic.random(number as u64);
        Self { traffic: Arc::clone(traffic), number, random, count: 0, proved: Vec::new() }
    }

    async fn run(mut self) {
        while self.traffic.next() {
            let ask = self.draw();
            self.traffic.note(&ask);
            let answers = ask.clone().send(&self.traffic.stack).await;
            let (proved, unproved) =
                (answers.is_proved(), answers.status >= 500 || answers.status == 202);
            self.traffic.keep(answers);
            if proved && !ask.dry_run {
                self.proved.push(ask.clone());
            }
            // Many a client then puts back what was there before.
            if unproved && self.random.u8(0..10) < 4 && self.traffic.next() {
                self.put_back(&ask).await;
            }
            if self.random.u8(0..25) == 0 {
                let read =
                    Ask { replica: self.random.usize(..GATEWAYS), ..Ask::get(&ask.conversation) };
                self.traffic.keep(read.send(&self.traffic.stack).await);
            }
            sleep(Duration::from_millis(self.random.u64(0..400))).await;
        }
    }

    async fn put_back(&self, ask: &Ask) {
        let Some((key, _)) = ask.keys.first() else {
            return;
        };
        let here = self.proved.iter().rev().filter(|one| one.conversation == ask.conversation);
        let held = here.flat_map(|one| &one.keys).find(|(earlier, _)| earlier == key);
        if let Some((key, value)) = held.filter(|(_, value)| !value.is_empty()) {
            let mut back = Ask::put(&ask.conversation, vec![(key.clone(), value.clone())]);
            back.replica = ask.replica + 1;
            self.traffic.keep(back.send(&self.traffic.stack).await);
        }
    }

    fn value(&mut self, word: &str) -> String {
        self.count += 1;
        format!("{word}-{}-{}", self.number, self.count)
    }

    fn own(&mut self, key: usize) -> (String, String) {
        (format!("own_{}_{key}", self.number), self.value("w"))
    }

    fn draw(&mut self) -> Ask {
        // Most writes of a worker go to few calls, so that it meets its own earlier ones.
        let few = self.random.u8(0..10) < 8;
        let target = if few {
            self.random.usize(..4) * 15 + self.number % 15
        } else {
            self.random.usize(..LIVE)
        };
        let target = conversation(target);
        let mut ask = Ask::put(&target, Vec::new());
        ask.by_uuid = self.random.bool();
        ask.replica = self.random.usize(..GATEWAYS);
        if self.random.u8(0..10) < 4 {
            ask.idempotency_key = Some(self.value("key"));
        }
        ask.wait = WAITS[self.random.usize(..WAITS.len())];
        match self.random.u8(0..100) {
            0..40 => ask.keys = (0..=self.random.usize(..2)).map(|key| self.own(key)).collect(),
            40..55 => {
                let key = format!("shared_{}", self.random.usize(..SHARED));
                ask.keys = vec![(key, self.value("s"))];
            }
            55..65 => (ask.form, ask.keys) = (Form::Single, vec![self.own(0)]),
            65..75 => self.clear(&mut ask),
            75..83 => return self.again().unwrap_or(ask_own(ask, self)),
            83..90 => (ask.no_verify, ask.keys) = (true, vec![self.own(1)]),
            90..94 => {
                let key = format!("own_{}_0", self.number);
                (ask.dry_run, ask.keys) = (true, vec![(key, self.value("dry"))]);
            }
            _ => (ask.form, ask.keys) = (Form::Patch, vec![self.own(0), self.own(1)]),
        }
        ask
    }

    /// Removes a key that no other client of ours writes; now and then sets it instead.
    fn clear(&mut self, ask: &mut Ask) {
        let key = format!("clear_{}", self.number);
        let value = if self.random.u8(0..3) == 0 { self.value("c") } else { String::new() };
        ask.form = if self.random.bool() { Form::Single } else { Form::Patch };
        ask.keys = vec![(key, value)];
    }

    /// Asks once more for something that was proved.
    fn again(&mut self) -> Option<Ask> {
        let back = self.random.usize(..5);
        let replica = self.random.usize(..GATEWAYS);
        let earlier = self.proved.iter().rev().nth(back).cloned()?;
        Some(Ask { idempotency_key: None, replica, ..earlier })
    }
}

fn ask_own(mut ask: Ask, worker: &mut Worker) -> Ask {
    ask.keys = vec![worker.own(0)];
    ask
}
