//! The heartbeat of this replica: it leases the credits of the shared call budget.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use crate::genesys::CallLimiter;
use crate::policy::{CreditLease, CreditUsage};
use crate::ports::StoreLink;
use crate::ports::store::{BudgetGrant, BudgetLeases, BudgetReport};
use crate::telemetry::ServiceMetrics;

/// The usual time between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(2);

/// The time between two heartbeats while requests wait in vain, or the store is away.
const SHORT_INTERVAL: Duration = Duration::from_millis(500);

/// No heartbeat follows another one sooner.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// How long before its end a lease is not used any more.
const LEASE_MARGIN: Duration = Duration::from_millis(500);

/// The part of the limit that all replicas together use while the store is away, in percent.
const OUTAGE_PERCENT: u64 = 90;

/// Calls of one admission, the unit in which credits are lent.
const ADMISSION: u64 = 3;

/// This part of the limit is kept by replicas that do not use it, so that they can start at once.
const SPARE_ONE_IN: u64 = 20;

/// A 429 counts as another one if it pauses calls so much longer than the last.
const PAUSE_TOLERANCE: Duration = Duration::from_millis(100);

/// What this replica knows of the shared budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct BudgetStatus {
    pub credits: u64,
    pub replicas: u32,
    /// The lease has ended: a safe share is used.
    pub is_degraded: bool,
}

/// The parts of a heartbeat.
pub struct HeartbeatParts {
    pub leases: Arc<dyn BudgetLeases>,
    pub link: Arc<StoreLink>,
    pub limiter: CallLimiter,
    pub metrics: ServiceMetrics,
    pub status: Arc<Mutex<BudgetStatus>>,
    /// Calls of all replicas in any window.
    pub calls: u64,
    pub expected_replicas: u32,
    /// How long a value that was sent may count as unproved.
    pub outstanding: Duration,
}

/// The task that leases credits.
pub struct BudgetHeartbeat {
    parts: HeartbeatParts,
    lease: CreditLease,
    ends: Option<Instant>,
    replicas: u32,
    paused_until: Instant,
    /// Requests waited, and got fewer credits than they need.
    is_short: bool,
}

impl BudgetHeartbeat {
    /// Starts with no credits.
    pub fn new(parts: HeartbeatParts) -> Self {
        let lease = CreditLease { held: 0, spend: 0, can_grow: true };
        parts.limiter.adjust_credits(|_| lease);
        let replicas = parts.expected_replicas;
        Self { parts, lease, ends: None, replicas, paused_until: Instant::now(), is_short: false }
    }

    /// Exchanges heartbeats without end.
    pub async fn run(mut self) {
        loop {
            let sent = Instant::now();
            let (report, ended) = self.report();
            match self.parts.leases.exchange(report.clone()).await {
                Ok(grant) => self.apply(&grant, &report, ended, sent),
                Err(error) => {
                    self.parts.link.failed(&error);
                    self.use_share_after_lease();
                }
            }
            self.publish();
            self.wait(sent).await;
        }
    }

    /// What is reported. Credits that are returned are not used from now on.
    fn report(&mut self) -> (BudgetReport, u64) {
        let (is_up, is_over) = (self.parts.link.is_up(), self.is_over());
        let spare = self.parts.calls / (SPARE_ONE_IN * u64::from(self.replicas.max(1)));
        let spare = spare.max(if self.parts.calls >= 100 { 2 * ADMISSION } else { ADMISSION });
        let mut lease = self.lease;
        let usage = self.parts.limiter.adjust_credits(|usage| {
            if is_up && !is_over {
                lease = without_idle(lease, usage, spare);
            }
            lease
        });
        self.lease = lease;
        // After its end, a lease covers only what was used.
        let held = if is_over { usage.in_use } else { lease.held };
        let own_pause = self.parts.limiter.throttle_left().unwrap_or_default();
        let known = self.paused_until.saturating_duration_since(Instant::now());
        let pause = if own_pause > known + PAUSE_TOLERANCE { own_pause } else { Duration::ZERO };
        let report = BudgetReport {
            held: clamped(held),
            used: usage.used.iter().map(|(age, calls)| (*age, clamped(*calls))).collect(),
            waiting: clamped(usage.waiting),
            pause,
            foreign: clamped(usage.external),
        };
        (report, usage.ended)
    }

    fn apply(&mut self, grant: &BudgetGrant, report: &BudgetReport, ended: u64, sent: Instant) {
        let covered = if grant.restarted { 0 } else { report.held };
        self.is_short = report.waiting > grant.held.saturating_sub(covered);
        self.lease = CreditLease {
            held: grant.held.into(),
            spend: grant.spend.into(),
            // While the store registers what replicas hold, it grants nothing, but soon will.
            can_grow: !self.is_short || grant.registering,
        };
        if grant.restarted {
            self.parts.limiter.restart_credits(self.lease, ended);
        } else {
            self.parts.limiter.adjust_credits(|_| self.lease);
        }
        self.ends = Some(sent + grant.lease.saturating_sub(LEASE_MARGIN));
        self.replicas = grant.replicas.max(1);
        let left = self.parts.limiter.throttle_left().unwrap_or_default();
        if grant.pause > left + PAUSE_TOLERANCE {
            tracing::warn!(pause = ?grant.pause, "another replica was throttled: all replicas pause");
            self.parts.limiter.pause(grant.pause);
        }
        self.paused_until = Instant::now() + grant.pause;
        self.parts.link.answered(grant.registering, self.parts.outstanding);
    }

    fn is_over(&self) -> bool {
        self.ends.is_none_or(|ends| Instant::now() >= ends)
    }

    /// After the lease, uses a share that is safe if all replicas do so.
    fn use_share_after_lease(&mut self) {
        if self.is_over() {
            let share = self.parts.calls * OUTAGE_PERCENT / 100 / u64::from(self.replicas.max(1));
            self.lease = CreditLease { held: share, spend: share, can_grow: false };
        } else {
            self.lease.can_grow = false;
        }
        self.is_short = false;
        self.parts.limiter.adjust_credits(|_| self.lease);
    }

    fn publish(&self) {
        let status = BudgetStatus {
            credits: self.lease.held,
            replicas: self.replicas,
            is_degraded: self.is_over(),
        };
        *self.parts.status.lock() = status;
        let BudgetStatus { credits, replicas, is_degraded } = status;
        self.parts.metrics.shared_budget(self.parts.link.is_up(), is_degraded, credits, replicas);
    }

    /// Waits until the next heartbeat is due.
    async fn wait(&self, sent: Instant) {
        let is_up = self.parts.link.is_up();
        let interval = if is_up && !self.is_short { INTERVAL } else { SHORT_INTERVAL };
        let mut due = sent + interval;
        if let Some(ends) = self.ends.filter(|ends| !is_up && *ends > Instant::now()) {
            due = due.min(ends);
        }
        tokio::select! {
            () = sleep_until(due) => {}
            () = self.parts.limiter.shortage(), if is_up && !self.is_short => {
                sleep_until(due.min(sent + MIN_INTERVAL)).await;
            }
            () = self.parts.link.lost(), if is_up => {}
        }
    }
}

/// Gives the credits of a replica back at its end. Those used within the window cool first.
pub async fn leave(leases: &dyn BudgetLeases, limiter: &CallLimiter) {
    let mut used = Vec::new();
    let lease = CreditLease { held: 0, spend: 0, can_grow: false };
    let usage = limiter.adjust_credits(|usage| {
        used = usage.used.iter().map(|(age, calls)| (*age, clamped(*calls))).collect();
        lease
    });
    let report = BudgetReport { held: clamped(usage.in_use), used, ..BudgetReport::default() };
    // The lease ends by itself, too.
    let _ = timeout(Duration::from_secs(1), leases.leave(report)).await;
}

/// Returns credits that no call uses and no request waits for, or that are above the fair share.
fn without_idle(lease: CreditLease, usage: &CreditUsage, spare: u64) -> CreditLease {
    let keep = if lease.spend < lease.held {
        lease.spend.max(usage.in_use)
    } else {
        usage.in_use + usage.waiting + spare
    };
    let held = lease.held.min(keep);
    CreditLease { held, spend: lease.spend.min(held), ..lease }
}

fn clamped(calls: u64) -> u32 {
    u32::try_from(calls).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_credits_that_no_call_uses_are_returned() {
        let usage = |in_use| CreditUsage { in_use, ..CreditUsage::default() };
        let held = |held, spend, in_use| {
            without_idle(CreditLease { held, spend, can_grow: true }, &usage(in_use), 6).held
        };
        assert_eq!([held(100, 100, 40), held(100, 100, 99), held(3, 3, 0)], [46, 100, 3]);
        // Above the fair share, what has cooled leaves.
        assert_eq!([held(100, 50, 80), held(100, 50, 10)], [80, 50]);
    }
}
