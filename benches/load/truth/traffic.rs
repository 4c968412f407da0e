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

/// Live conversations of the workers, and counters.
pub const LIVE: usize = 60;
const COUNTERS: usize = 2;
/// Their conversations come after all others.
const FIRST_COUNTER: usize = 1_000_000;
/// Of the live ones, so many end.
const ENDING: usize = 6;
pub const RAISERS: usize = 4;
const FOREIGN: usize = 4;
/// Keys that several workers and foreign writers write.
const SHARED: usize = 3;

/// How long clients wait; without a wish as long as the gateway's deadline.
const WAITS: [Option<u64>; 8] = [None, None, None, None, None, Some(1), Some(2), Some(10)];
/// Of the requests before, those that foreign writers know.
const RECENT: usize = 20;
/// Until all tokens die.
const TOKEN_LIFE: Duration = Duration::from_secs(13);

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    /// Writes to make; more than can be made if it is stopped.
    pub writes: usize,
    pub workers: usize,
    /// The longest pause of a worker, in milliseconds.
    pub pause_ms: u64,
    /// After so many writes of a hundred comes a read.
    pub reads: u8,
    /// Whether some of the first calls end. Otherwise `turn_over` ends them.
    pub ends_some: bool,
}

/// What a seed needs while it runs.
pub struct Traffic {
    pub stack: Arc<Stack>,
    pub seed: u64,
    pub volume: Volume,
    started: AtomicUsize,
    /// The first conversation that is live; `LIVE` of them are.
    first: AtomicUsize,
    /// How often all keys were replaced; without clients none are sent.
    keys: Option<AtomicUsize>,
    sent: AtomicUsize,
    answers: Mutex<Vec<ClientAnswer>>,
    ended: Mutex<HashMap<String, (u64, u64)>>,
    /// Keys that were asked for last, for others to come in between.
    recent: Mutex<VecDeque<(String, String)>>,
}

/// The ids of the counters.
pub fn counters() -> Vec<String> {
    (FIRST_COUNTER..FIRST_COUNTER + COUNTERS).map(conversation).collect()
}

/// The key of a client, after all keys were replaced so often.
pub fn key(client: usize, replaced: usize) -> String {
    format!("key-{client}-{replaced}")
}

impl Traffic {
    /// With clients that have keys, or without any.
    pub fn new(stack: Arc<Stack>, seed: u64, volume: Volume, has_clients: bool) -> Arc<Self> {
        Arc::new(Self {
            stack,
            seed,
            volume,
            started: AtomicUsize::new(0),
            first: AtomicUsize::new(0),
            keys: has_clients.then(AtomicUsize::default),
            sent: AtomicUsize::new(0),
            answers: Mutex::default(),
            ended: Mutex::default(),
            recent: Mutex::default(),
        })
    }

    /// Runs until all writes are answered.
    pub async fn run(self: &Arc<Self>) -> anyhow::Result<()> {
        let (mut clients, mut others) = (JoinSet::new(), JoinSet::new());
        for number in 0..self.volume.workers {
            clients.spawn(Worker::new(self, number).run());
        }
        for number in 0..RAISERS {
            clients.spawn(Arc::clone(self).raise(number));
        }
        for number in 0..FOREIGN {
            others.spawn(Arc::clone(self).interfere(number));
        }
        if self.volume.ends_some {
            others.spawn(Arc::clone(self).end_some());
        }
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
        self.started.fetch_add(1, Ordering::Relaxed) < self.volume.writes
    }

    /// Lets all clients stop after what they do now.
    pub fn stop(&self) {
        self.started.store(self.volume.writes, Ordering::Relaxed);
    }

    /// All clients use their next keys from now on.
    pub fn use_next_keys(&self) {
        if let Some(keys) = &self.keys {
            keys.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a request of this client.
    pub async fn send(&self, client: usize, ask: Ask) -> ClientAnswer {
        let replaced = self.keys.as_ref().map(|keys| keys.load(Ordering::Relaxed));
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let (api_key, id) = (replaced.map(|replaced| key(client, replaced)), format!("r-{number}"));
        Ask { api_key, id: Some(id), ..ask }.send(&self.stack).await
    }

    /// How many requests were sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// The id of one of the live conversations.
    fn live(&self, number: usize) -> String {
        conversation(self.first.load(Ordering::Relaxed) + number)
    }

    /// Ends the oldest live conversation, after a new one was added with this number.
    pub async fn turn_over(&self) -> anyhow::Result<()> {
        let oldest = self.first.fetch_add(1, Ordering::Relaxed);
        self.end(conversation(oldest)).await
    }

    async fn end(&self, id: String) -> anyhow::Result<()> {
        let (from, path) = (self.stack.now(), format!("conversations/{id}/end"));
        self.stack.control("POST", &path, &serde_json::Value::Null).await?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(id, (from, self.stack.now()));
        Ok(())
    }

    fn random(&self, salt: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_mul(1_000_003).wrapping_add(salt))
    }

    async fn raise(self: Arc<Self>, number: usize) {
        let mut random = self.random(1_000 + number as u64);
        let mut count = 0;
        while self.next() {
            let counter = conversation(FIRST_COUNTER + random.usize(..COUNTERS));
            count += 1;
            let mark = (format!("raiser_{number}"), format!("raise-{number}-{count}"));
            let client = self.volume.workers + number;
            for answers in increments::raise(&self, client, &counter, (&mark.0, mark.1)).await {
                self.keep(answers);
            }
            sleep(Duration::from_millis(random.u64(0..self.volume.pause_ms))).await;
        }
    }

    /// Another writer: mostly keys of its own, sometimes those of the clients.
    async fn interfere(self: Arc<Self>, number: usize) {
        let mut random = self.random(2_000 + number as u64);
        for count in 0_u64.. {
            sleep(Duration::from_millis(random.u64(100..500))).await;
            let mut target = self.live(random.usize(..LIVE));
            let mut key = match random.u8(0..10) {
                0 => format!("shared_{}", random.usize(..SHARED)),
                1 => format!("own_{}_{}", random.usize(..self.volume.workers), random.usize(..2)),
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
            let _ = self.end(conversation(number)).await;
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
            let answers = self.traffic.send(self.number, ask.clone()).await;
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
            if self.random.u8(0..100) < self.traffic.volume.reads {
                let read = self.traffic.send(self.number, Ask::get(&ask.conversation)).await;
                self.traffic.keep(read);
            }
            sleep(Duration::from_millis(self.random.u64(0..self.traffic.volume.pause_ms))).await;
        }
    }

    async fn put_back(&self, ask: &Ask) {
        let Some((key, _)) = ask.keys.first() else {
            return;
        };
        let here = self.proved.iter().rev().filter(|one| one.conversation == ask.conversation);
        let held = here.flat_map(|one| &one.keys).find(|(earlier, _)| earlier == key);
        if let Some((key, value)) = held.filter(|(_, value)| !value.is_empty()) {
            let back = Ask::put(&ask.conversation, vec![(key.clone(), value.clone())]);
            self.traffic.keep(self.traffic.send(self.number, back).await);
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
        let target = self.traffic.live(target);
        let mut ask = Ask::put(&target, Vec::new());
        ask.by_uuid = self.random.bool();
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
        self.proved.iter().rev().nth(back).cloned()
    }
}

fn ask_own(mut ask: Ask, worker: &mut Worker) -> Ask {
    ask.keys = vec![worker.own(0)];
    ask
}
