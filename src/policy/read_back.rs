//! When to read back: measures how long upstream takes to show a write, and plans the reads.
//!
//! A read that comes too early wastes a call. A read that comes too late wastes the client's time.

use std::collections::VecDeque;
use std::time::Duration;

use super::MonoTime;

/// The median is taken over this many lags.
const MEDIAN_SAMPLES: usize = 32;
/// The settle time considers lags of this period.
const RECENT: Duration = Duration::from_mins(10);
/// The period is counted in slices of this length.
const SLICE: Duration = Duration::from_secs(10);
/// The longest lag is meaningful with this many lags.
const MIN_SAMPLES: u32 = 20;
/// A third value must stay visible at least this long before it counts as a later write.
const MIN_SETTLE: Duration = Duration::from_secs(1);
/// The settle time is this many times the longest lag.
const SETTLE_FACTOR: u32 = 4;
/// The first read-back is never later than this: a burst of slow writes must not delay the next one.
pub const MAX_FIRST_WAIT: Duration = Duration::from_secs(1);
/// The wait between the first and the second read-back. Later waits double.
const SECOND_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two read-backs.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Recently measured visibility lags.
#[derive(Clone, Debug, Default)]
pub struct LagStatistics {
    /// Estimated lags, for the first wait.
    recent: VecDeque<Duration>,
    /// For each slice: its start, the number of lags, and the longest lag.
    slices: VecDeque<(MonoTime, u32, Duration)>,
}

impl LagStatistics {
    /// Records a lag: at most `longest`, and most likely `estimate`.
    pub fn record(&mut self, now: MonoTime, longest: Duration, estimate: Duration) {
        if self.recent.len() == MEDIAN_SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back(estimate);
        self.slices.retain(|(start, ..)| now.saturating_sub(*start) <= RECENT);
        match self.slices.back_mut() {
            Some((start, count, most)) if now.saturating_sub(*start) < SLICE => {
                *count += 1;
                *most = longest.max(*most);
            }
            _ => self.slices.push_back((now, 1, longest)),
        }
    }

    /// When to read back first: after the median lag. `None` without measurements.
    pub fn first_wait(&self) -> Option<Duration> {
        let middle = self.recent.len().checked_sub(1)? / 2;
        // Fast path for an upstream that shows writes at once: every write asks.
        if self.recent.iter().all(Duration::is_zero) {
            return Some(Duration::ZERO);
        }
        let mut lags: Vec<_> = self.recent.iter().copied().collect();
        let (_, median, _) = lags.select_nth_unstable(middle);
        Some((*median).min(MAX_FIRST_WAIT))
    }

    /// The lag that `percent` of the recent lags do not exceed. `None` without measurements.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut lags: Vec<_> = self.recent.iter().copied().collect();
        lags.sort_unstable();
        lags.get((lags.len() * percent).div_ceil(100).checked_sub(1)?).copied()
    }

    /// How long a third value must stay visible before it counts as a later write: four times the
    /// longest lag of the last ten minutes, or `unmeasured` without enough measurements.
    pub fn settle(&self, now: MonoTime, unmeasured: Duration) -> Duration {
        let fresh = self.slices.iter().filter(|(start, ..)| now.saturating_sub(*start) <= RECENT);
        let (count, longest) = fresh.fold((0, Duration::ZERO), |(sum, most), (_, count, one)| {
            (sum + count, most.max(*one))
        });
        if count < MIN_SAMPLES {
            return unmeasured;
        }
        (longest * SETTLE_FACTOR).max(MIN_SETTLE)
    }
}

/// The schedule of the read-backs of one write.
#[derive(Clone, Copy, Debug)]
pub struct ReadBackSchedule {
    max_reads: u32,
    made: u32,
}

impl ReadBackSchedule {
    /// At most `max_reads` reads.
    pub const fn new(max_reads: u32) -> Self {
        Self { max_reads, made: 0 }
    }

    /// How long to wait before the next read, from the end of the previous one. `None` if there is no
    /// further read. The wait is at least `least`; the first read waits no longer than that. `left`
    /// is the time to the deadline, and `cost` the duration of a read. The last read ends just before
    /// the deadline.
    pub fn next(&mut self, least: Duration, left: Duration, cost: Duration) -> Option<Duration> {
        if self.made >= self.max_reads {
            return None;
        }
        let latest = left.checked_sub(cost)?;
        let first = self.made == 0;
        let last_allowed = self.made + 1 == self.max_reads;
        let wait = if first { least } else { later_wait(self.made).max(least) };
        self.made += 1;
        if wait >= latest {
            self.made = self.max_reads;
            return Some(latest);
        }
        // If only one read is allowed, it comes early: most likely it already shows the write.
        Some(if last_allowed && !first { latest } else { wait })
    }
}

/// The wait before read-back number `made + 1`, from the second on.
fn later_wait(made: u32) -> Duration {
    SECOND_WAIT.saturating_mul(1 << (made - 1).min(10)).min(MAX_WAIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn reads(first: u64, max: u32, deadline: u64, cost: u64) -> Vec<u128> {
        let mut schedule = ReadBackSchedule::new(max);
        let (mut now, mut starts) = (Duration::ZERO, Vec::new());
        loop {
            let (least, left) = (ms(first).saturating_sub(now), ms(deadline).saturating_sub(now));
            let Some(wait) = schedule.next(least, left, ms(cost)) else { break };
            now += wait;
            starts.push(now.as_millis());
            now += ms(cost);
        }
        starts
    }

    #[test]
    fn waits_double_from_50_ms_until_the_deadline() {
        assert_eq!(reads(0, 12, 2000, 0), [0, 50, 150, 350, 750, 1550, 2000]);
        assert_eq!(reads(200, 12, 2000, 10), [200, 260, 370, 580, 990, 1800, 1990]);
    }

    #[test]
    fn the_last_allowed_read_comes_at_the_deadline() {
        assert_eq!(reads(0, 3, 60_000, 20), [0, 70, 59_980]);
        assert_eq!(reads(0, 1, 60_000, 20), [0]);
    }

    #[test]
    fn without_time_for_a_read_there_is_no_read() {
        assert!(reads(0, 12, 19, 20).is_empty());
    }

    #[test]
    fn a_newly_measured_lag_delays_the_next_read() {
        let mut schedule = ReadBackSchedule::new(12);
        assert_eq!(schedule.next(ms(0), ms(5000), ms(20)), Some(ms(0)));
        assert_eq!(schedule.next(ms(280), ms(4980), ms(20)), Some(ms(280)));
        assert_eq!(schedule.next(ms(0), ms(4680), ms(20)), Some(ms(100)));
    }

    #[test]
    fn the_first_wait_is_the_median_lag_and_at_most_a_second() {
        let mut lags = LagStatistics::default();
        assert_eq!(lags.first_wait(), None);
        for lag in [10, 500, 30] {
            lags.record(Duration::ZERO, ms(lag), ms(lag));
        }
        assert_eq!(lags.first_wait(), Some(ms(30)));
        (0..32).for_each(|_| lags.record(Duration::ZERO, ms(9000), ms(9000)));
        assert_eq!(lags.first_wait(), Some(ms(1000)));
    }

    #[test]
    fn the_settle_time_is_four_times_the_longest_recent_lag() {
        let (mut lags, unmeasured) = (LagStatistics::default(), ms(10_000));
        lags.record(ms(0), ms(800), ms(0));
        (0..18).for_each(|_| lags.record(ms(300_000), ms(50), ms(0)));
        assert_eq!(lags.settle(ms(300_000), unmeasured), unmeasured);
        lags.record(ms(300_000), ms(50), ms(0));
        assert_eq!(lags.settle(ms(600_000), unmeasured), ms(3200));
        assert_eq!(lags.settle(ms(600_001), unmeasured), unmeasured);
        lags.record(ms(600_001), ms(40), ms(0));
        assert_eq!(lags.settle(ms(600_001), unmeasured), ms(1000));
    }

    proptest! {
        #[test]
        fn reads_end_by_the_deadline_and_stay_within_their_number(
            first in 0_u64..2000, max in 1_u32..20, deadline in 0_u64..70_000, cost in 0_u64..3000
        ) {
            let starts = reads(first, max, deadline, cost);
            prop_assert!(starts.len() <= max as usize);
            prop_assert!(starts.iter().all(|start| start + u128::from(cost) <= u128::from(deadline)));
        }
    }
}
