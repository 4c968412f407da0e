//! One budget for all replicas: no more than its calls in any window, whatever happens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_store::StoreLimits;
use gateway_store::ports::{BudgetGrant, BudgetLeases as _, BudgetReport, StoreError};
use gateway_store::redis::RedisStore;
use tokio::time::Instant;

use super::server::{CALLS, RedisServer, WINDOW};
use super::{SHORT, limits};

/// Between two heartbeats: a fifth of the lease, as in operation.
const HEARTBEAT: Duration = Duration::from_millis(80);

/// Two admissions of three calls.
const FLOOR: u32 = 6;

fn short() -> StoreLimits {
    StoreLimits { longest_lease: SHORT, ..limits() }
}

/// All calls, as upstream sees them.
type Ledger = Arc<Mutex<Vec<Instant>>>;

/// A replica that makes as many calls as it may.
struct Replica {
    store: RedisStore,
    ledger: Ledger,
    used: VecDeque<Instant>,
    held: u32,
    spend: u32,
    ends: Instant,
}

impl Replica {
    fn new(server: &RedisServer, name: &str, ledger: &Ledger) -> Self {
        let store = server.store(name, short());
        let ledger = Arc::clone(ledger);
        Self { store, ledger, used: VecDeque::new(), held: 0, spend: 0, ends: Instant::now() }
    }

    /// Calls within the window.
    fn recent(&mut self) -> u32 {
        while self.used.front().is_some_and(|used| used.elapsed() > WINDOW) {
            self.used.pop_front();
        }
        u32::try_from(self.used.len()).expect("few")
    }

    fn call(&mut self) {
        if Instant::now() < self.ends && self.recent() < self.spend {
            let now = Instant::now();
            self.used.push_back(now);
            self.ledger.lock().expect("no holder panics").push(now);
        }
    }

    fn report(&mut self, waiting: u32) -> BudgetReport {
        let idle = self.held - self.recent().min(self.held);
        let unneeded = if waiting == 0 { self.held.saturating_sub(FLOOR) } else { 0 };
        let excess = (self.held - self.spend.min(self.held)).max(unneeded);
        self.held -= idle.min(excess);
        self.spend = self.spend.min(self.held);
        let used = self.used.iter().map(|used| (used.elapsed(), 1)).collect();
        BudgetReport { held: self.held, used, waiting, ..BudgetReport::default() }
    }

    async fn heartbeat(&mut self, waiting: u32) -> Result<BudgetGrant, StoreError> {
        let report = self.report(waiting);
        let sent = Instant::now();
        let grant = self.store.exchange(report).await?;
        (self.held, self.spend) = (grant.held, grant.spend);
        self.ends = sent + grant.lease;
        Ok(grant)
    }

    /// Works until it is told to end, or is aborted, which is a crash.
    async fn work(mut self, waiting: u32, time: Duration) -> Self {
        let end = Instant::now() + time;
        let mut next = Instant::now();
        while Instant::now() < end {
            if Instant::now() >= next {
                self.heartbeat(waiting).await.expect("an answer");
                next = Instant::now() + HEARTBEAT;
            }
            if waiting > 0 || fastrand::u8(..) < 40 {
                self.call();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self
    }
}

/// The most calls in any window.
fn most_in_a_window(ledger: &Ledger) -> usize {
    let mut calls = ledger.lock().expect("no holder panics").clone();
    calls.sort_unstable();
    let count = |first: usize| calls[first..].partition_point(|call| *call < calls[first] + WINDOW);
    (0..calls.len()).map(count).max().unwrap_or(0)
}

#[tokio::test]
async fn no_window_holds_more_calls_than_the_budget() {
    let server = RedisServer::start(&[]).await;
    let ledger = Ledger::default();
    let time = Duration::from_secs(5);
    let workers: Vec<_> = [("busy", 12), ("busier", 30), ("idle", 0)]
        .map(|(name, waiting)| {
            tokio::spawn(Replica::new(&server, name, &ledger).work(waiting, time))
        })
        .into();
    // One is killed and started again, and one more joins and leaves.
    let crashing = tokio::spawn(Replica::new(&server, "crashing", &ledger).work(9, time));
    tokio::time::sleep(time / 4).await;
    crashing.abort();
    let joined = Replica::new(&server, "joining", &ledger).work(9, time / 5).await;
    let used = joined.used.iter().map(|used| (used.elapsed(), 1)).collect();
    let report = BudgetReport { held: joined.held, used, ..BudgetReport::default() };
    joined.store.leave(report).await.expect("left");
    Replica::new(&server, "crashing", &ledger).work(9, time / 5).await;
    for worker in workers {
        worker.await.expect("no panic");
    }
    let most = most_in_a_window(&ledger);
    assert!(most <= CALLS as usize, "{most} calls in one window");
    let total = ledger.lock().expect("no holder panics").len();
    let possible = usize::try_from(time.as_millis() / WINDOW.as_millis()).expect("few");
    assert!(total * 2 > possible * CALLS as usize, "only {total} calls were made");
}

#[tokio::test]
async fn three_busy_replicas_use_nearly_all_of_the_budget() {
    let server = RedisServer::start(&[]).await;
    let ledger = Ledger::default();
    let time = Duration::from_secs(4);
    let workers = [("one", 30), ("two", 30), ("three", 3)].map(|(name, waiting)| {
        tokio::spawn(Replica::new(&server, name, &ledger).work(waiting, time))
    });
    for worker in workers {
        worker.await.expect("no panic");
    }
    assert!(most_in_a_window(&ledger) <= CALLS as usize);
    let calls = ledger.lock().expect("no holder panics");
    let settled = calls.iter().filter(|call| call.elapsed() < time * 3 / 4).count();
    let possible = usize::try_from((time * 3 / 4).as_millis() / WINDOW.as_millis()).expect("few");
    assert!(settled * 10 >= possible * CALLS as usize * 9, "{settled} calls after the start");
}

#[tokio::test]
async fn a_lost_budget_is_registered_again_before_anything_is_granted() {
    let server = RedisServer::start(&[]).await;
    let ledger = Ledger::default();
    let [mut one, mut two] = ["one", "two"].map(|name| Replica::new(&server, name, &ledger));
    assert!(one.heartbeat(0).await.expect("an answer").registering, "a cold start is one, too");
    tokio::time::sleep(SHORT / 2).await;
    let before = one.heartbeat(9).await.expect("an answer");
    assert_eq!((before.registering, before.held, before.replicas), (false, 9, 1));

    server.command::<()>(&redis::cmd("FLUSHALL")).await;
    let after = two.heartbeat(9).await.expect("an answer");
    assert_eq!((after.registering, after.held), (true, 0));
    let after = one.heartbeat(30).await.expect("an answer");
    assert_eq!((after.registering, after.held, after.replicas), (true, 9, 2));
    tokio::time::sleep(SHORT / 2).await;
    assert_eq!(two.heartbeat(9).await.expect("an answer").held, 0, "less than a lease is over");
    assert!(one.heartbeat(30).await.expect("an answer").registering);
    tokio::time::sleep(SHORT * 3 / 4).await;
    assert_eq!(two.heartbeat(9).await.expect("an answer").held, 9);
}

#[tokio::test]
async fn an_older_state_counts_as_lost() {
    let server = RedisServer::start(&[]).await;
    let ledger = Ledger::default();
    let mut one = Replica::new(&server, "one", &ledger);
    one.heartbeat(0).await.expect("an answer");
    tokio::time::sleep(SHORT / 2).await;
    let name = "attribute-gateway:{test}:budget";
    one.heartbeat(3).await.expect("an answer");
    let old: String = server.command(redis::cmd("GET").arg(name)).await;
    assert!(!one.heartbeat(12).await.expect("an answer").registering);
    server.command::<()>(redis::cmd("SET").arg(name).arg(old)).await;
    let after = one.heartbeat(12).await.expect("an answer");
    assert!(after.registering && after.held == one.held, "{after:?}");
}

#[tokio::test]
async fn others_get_their_fair_share_as_credits_cool() {
    let server = RedisServer::start(&[]).await;
    let ledger = Ledger::default();
    let [mut one, mut two] = ["one", "two"].map(|name| Replica::new(&server, name, &ledger));
    one.heartbeat(0).await.expect("an answer");
    tokio::time::sleep(SHORT / 2).await;
    assert_eq!(one.heartbeat(30).await.expect("an answer").held, CALLS);
    for _ in 0..CALLS {
        one.call();
    }
    assert_eq!(two.heartbeat(30).await.expect("an answer").held, 0);
    let told = one.heartbeat(30).await.expect("an answer");
    assert_eq!((told.held, told.spend), (CALLS, CALLS / 2));
    let deadline = Instant::now() + WINDOW * 2;
    while two.held < CALLS / 2 && Instant::now() < deadline {
        tokio::time::sleep(HEARTBEAT).await;
        one.heartbeat(30).await.expect("an answer");
        two.heartbeat(30).await.expect("an answer");
        for _ in 0..CALLS {
            one.call();
            two.call();
        }
    }
    assert_eq!((one.held, two.held), (CALLS / 2, CALLS / 2));
    assert!(most_in_a_window(&ledger) <= CALLS as usize);
}

#[tokio::test]
async fn pauses_and_foreign_calls_are_shared() {
    let server = RedisServer::start(&[]).await;
    let [one, two] = ["one", "two"].map(|name| server.store(name, short()));
    one.exchange(BudgetReport::default()).await.expect("an answer");
    tokio::time::sleep(SHORT / 2).await;
    let pause = Duration::from_secs(20);
    let report = BudgetReport { pause, foreign: 12, ..BudgetReport::default() };
    one.exchange(report).await.expect("an answer");
    let told = two.exchange(BudgetReport { waiting: 60, ..BudgetReport::default() }).await;
    let told = told.expect("an answer");
    assert!(told.pause > Duration::from_secs(15) && told.pause <= pause, "{told:?}");
    assert!(told.held <= CALLS - 12 - FLOOR, "{told:?}");
}

#[tokio::test]
async fn a_name_belongs_to_the_youngest_process() {
    let server = RedisServer::start(&[]).await;
    let old = server.store("one", short());
    old.exchange(BudgetReport::default()).await.expect("an answer");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let young = server.store("one", short());
    young.exchange(BudgetReport::default()).await.expect("an answer");
    let error = old.exchange(BudgetReport::default()).await.expect_err("replaced").to_string();
    assert!(error.contains("store.redis.replica"), "{error}");
}
