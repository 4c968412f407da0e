//! The budget of all replicas. The rules are in `scripts/budget.lua`, which judges by the server's clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::{RedisStore, script, with_keys};
use crate::clock;
use crate::ports::{BudgetGrant, BudgetLeases, BudgetReport, StoreError, StoreFuture};
use crate::{millis, to_millis};

/// How long credits stay valid without a heartbeat.
const BUDGET_LEASE: Duration = Duration::from_secs(10);

/// Orders the heartbeats of this process, and remembers which state of the budget it has seen.
pub(super) struct Heartbeats {
    /// Later processes of the same name have a greater one.
    instance: i64,
    beat: AtomicU64,
    /// Epoch and serial number.
    seen: Mutex<(u64, u64)>,
}

impl Heartbeats {
    pub(super) fn start() -> Self {
        let instance = to_millis(clock::now());
        Self { instance, beat: AtomicU64::new(0), seen: Mutex::new((0, 0)) }
    }
}

impl BudgetLeases for RedisStore {
    fn exchange(&self, report: BudgetReport) -> StoreFuture<'_, BudgetGrant> {
        Box::pin(self.heartbeat(report, "beat"))
    }

    fn leave(&self, report: BudgetReport) -> StoreFuture<'_, ()> {
        Box::pin(async move { self.heartbeat(report, "leave").await.map(|_| ()) })
    }
}

impl RedisStore {
    async fn heartbeat(&self, report: BudgetReport, what: &str) -> Result<BudgetGrant, StoreError> {
        let (epoch, serial) = *self.heartbeats.seen.lock();
        let keys = [self.name(&["budget"]), self.name(&["budget:pause"])];
        let mut script = with_keys(script!("budget.lua"), &keys);
        script.arg(&self.options.replica).arg(self.heartbeats.instance);
        script.arg(self.heartbeats.beat.fetch_add(1, Ordering::Relaxed) + 1);
        script.arg(report.held).arg(used_text(&report)).arg(report.waiting);
        script.arg(millis(report.pause)).arg(report.foreign);
        let lease = BUDGET_LEASE.min(self.limits.longest_lease);
        script.arg(self.options.calls).arg(millis(self.options.window)).arg(millis(lease));
        script.arg(epoch).arg(serial).arg(what);
        let answer: (u32, u32, u32, u64, bool, u64, u64, bool) = self.link.script(&script).await?;
        let (held, spend, replicas, pause, registering, epoch, serial, restarted) = answer;
        *self.heartbeats.seen.lock() = (epoch, serial);
        let pause = Duration::from_millis(pause);
        Ok(BudgetGrant { held, spend, replicas, pause, lease, restarted, registering })
    }
}

fn used_text(report: &BudgetReport) -> String {
    let used: Vec<_> = report.used.iter().map(|(age, calls)| (millis(*age), *calls)).collect();
    serde_json::json!(used).to_string()
}
