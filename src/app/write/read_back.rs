//! Reading back until every key that was sent shows its value, or there is no time left.
//!
//! After upstream has accepted the PATCH nothing turns the answer into an error: a read-back that
//! fails leaves keys unverified, with the reason in the warnings.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{
    AttributeMap, Cause, Class, Cycle, Duration, Effect, Evidence, Fare, Flow, Phase, Sight, Wanted,
};
use crate::domain::Watch;
use crate::error::Error;
use crate::policy::ReadBackSchedule;

/// Added to what a read took last, when the last read is placed before the deadline.
const MARGIN: Duration = Duration::from_millis(5);

/// A lag that was only bounded from above counts a little less, so that the first read-back moves
/// forward again once upstream has become quicker.
const DECAY: f64 = 0.95;

/// Timers tell no shorter waits apart: below it the first read-back leaves at once.
const SHORTEST: Duration = Duration::from_millis(1);

impl Flow {
    /// Reads back under the deadline of the request.
    pub(super) async fn read_back(&mut self) {
        let (cycle, start) = (self.request.cycle.clone(), Instant::now());
        self.read_until_settled(&cycle).await;
        // The waits between the reads are what proving a write takes.
        cycle.spend(Phase::Verify, start.elapsed());
    }

    async fn read_until_settled(&mut self, cycle: &Cycle) {
        let first_wait = self.shared.lags().first_wait();
        let mut schedule = ReadBackSchedule::new(first_wait, self.shared.settings.max_reads);
        self.first_wait = Some(first_wait);
        let mut follower = self.shared.reads.follow(self.subject());
        while !self.is_settled() {
            let cost = self.read_cost + self.read_cost / 4 + MARGIN;
            let (left, asked, mut ahead) = (cycle.time_left(), self.throttled_for(), schedule);
            let Some(wait) = ahead.next(left, cost).filter(|_| asked + cost <= left) else {
                break;
            };
            let due = Instant::now() + wait.max(asked);
            let newest = self.accepted.max(self.last_read);
            tokio::select! {
                biased;
                // What others read is proof as well, and puts our own next read off.
                sight = follower.next(newest) => {
                    cycle.share(&sight.spent);
                    if let Err(error) = self.read_back_shared(&sight, cycle).await {
                        self.warn(format!("a read-back failed: {error}"));
                    }
                    continue;
                }
                () = until(due) => {}
            }
            schedule = ahead;
            if let Err(error) = self.read_back_once(cycle).await {
                self.warn(format!("a read-back failed: {error}"));
                if !error.code().retryable() {
                    break;
                }
            }
        }
        // What was booked for the proof and not needed goes back.
        self.fare = Fare::default();
    }

    /// Whether further reads could change nothing that matters.
    fn is_settled(&self) -> bool {
        let lost_for_sure = self.replaced_reads == 0 || self.repaired;
        self.watch.is_settled(self.settle()) && lost_for_sure && self.reads > 0
    }

    /// How long a third value has to stand.
    pub(super) fn settle(&self) -> Duration {
        self.shared.settle()
    }

    /// One read-back.
    pub(super) async fn read_back_once(&mut self, cycle: &Cycle) -> Result<(), Error> {
        // A read that was sent after the last one, and after the PATCH was accepted, is new.
        let cause = self.accepted.max(self.last_read).unwrap_or_else(Instant::now);
        let permit = self.fare.take();
        let wanted = Wanted {
            subject: self.subject(),
            cause: Cause::Since(cause),
            class: Class::Extra,
            // Repeated by their own schedule alone.
            retries: false,
            permit,
            reserve: 0,
        };
        let read = self.read(wanted, cycle).await;
        if let Err(Error::UpstreamRateLimited { retry_after, .. }) = &read {
            self.throttled = Some(Instant::now() + *retry_after);
        }
        let now = read?;
        self.take_note(&now, cycle).await
    }

    /// A read-back that somebody else has made.
    async fn read_back_shared(&mut self, sight: &Sight, cycle: &Cycle) -> Result<(), Error> {
        self.fare = Fare::default();
        let now = self.look_at(sight)?;
        self.take_note(&now, cycle).await
    }

    /// How long upstream wants to be left alone since it has throttled a read-back.
    pub(super) fn throttled_for(&self) -> Duration {
        let until = self.throttled.map(|until| until.saturating_duration_since(Instant::now()));
        until.unwrap_or_default()
    }

    /// Takes note of what a read after a PATCH shows of ours, and of everybody else's.
    pub(super) async fn take_note(
        &mut self,
        now: &AttributeMap,
        cycle: &Cycle,
    ) -> Result<(), Error> {
        let had_shown = self.watch.all_wanted();
        let at = self.shared.clock.now();
        self.reads += 1;
        self.shown_after = true;
        self.watch.observe(now, at);
        self.kept.observe(now, at);
        if self.watch.any_seen() {
            self.effect = Effect::Applied;
        }
        if self.watch.all_wanted() && !had_shown {
            self.record_lag();
        }
        self.look_after_others(now, cycle).await
    }

    /// From the acceptance of the PATCH to the start of the read that showed it. The end of the
    /// read would count its latency in, and push the next first read-back back by it every time.
    fn record_lag(&self) {
        let (Some(accepted), Some(read)) = (self.accepted, self.last_read) else {
            return;
        };
        let waited = read.saturating_duration_since(accepted);
        self.shared.meter.visibility_lag(waited);
        // The wait as it was meant: timers round up to whole milliseconds, which would add up.
        let bound = self.first_wait.filter(|_| self.reads == 1);
        let lag = bound.map_or(waited, |meant| meant.min(waited).mul_f64(DECAY));
        let lag = if lag < SHORTEST { Duration::ZERO } else { lag };
        self.shared.lags().record(self.shared.clock.now(), lag);
    }

    /// Sees to it that keys which were not sent are still there.
    async fn look_after_others(&mut self, now: &AttributeMap, cycle: &Cycle) -> Result<(), Error> {
        if self.repaired || self.shared.settings.patch_full {
            return Ok(());
        }
        match Watch::evidence(&self.batch, &self.before, now) {
            Evidence::Merges => {
                self.shared.merges.store(true, Ordering::Relaxed);
                self.replaced_reads = 0;
                let lost = Watch::lost(&self.batch, &self.before, now);
                let rights = &self.request.cycle.client().rights;
                let known = lost.iter().filter(|key| rights.sees(key.as_str()));
                let names: Vec<_> = known.map(|key| format!("`{key}`")).collect();
                if !names.is_empty() {
                    self.warn(format!("another writer removed {}", names.join(", ")));
                }
                Ok(())
            }
            Evidence::Replaces => {
                self.replaced_reads += 1;
                let merges = self.shared.merges.load(Ordering::Relaxed);
                if self.replaced_reads >= 2 && !merges { self.repair(cycle).await } else { Ok(()) }
            }
            Evidence::None => {
                self.replaced_reads = 0;
                Ok(())
            }
        }
    }
}

/// Waits until `due`. A timer would take a millisecond for no wait at all.
async fn until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
}
