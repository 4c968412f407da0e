//! When to read back: how long upstream has lately taken to show a write.
//!
//! Reading too early costs a call that proves nothing; too late costs the client's time.

use std::collections::VecDeque;
use std::time::Duration;

use super::MonoTime;

/// Lags that the median is taken of.
const REMEMBERED: usize = 32;
/// How far back lags count for the settle time.
const RECENT: Duration = Duration::from_mins(10);
/// They are counted by slices of this length.
const SLICE: Duration = Duration::from_secs(10);
/// So many of them say what the longest lag is.
const ENOUGH: u32 = 20;
/// A third value stands at least this long before it counts as a later one.
const MIN_SETTLE: Duration = Duration::from_secs(1);
/// The settle time is so many times the longest lag.
const SETTLE_FACTOR: u32 = 4;
/// The first read-back is never later than this: a burst of slow writes must not slow the next.
pub const MAX_FIRST_WAIT: Duration = Duration::from_secs(1);
/// The wait between the first and the second read-back; later ones double.
const SECOND_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two read-backs.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Visibility lags measured lately.
#[derive(Clone, Debug, Default)]
pub struct LagStatistics {
    /// What the first wait is taken of.
    recent: VecDeque<Duration>,
    /// Start of each slice, how many lags were measured in it, and the longest.
    slices: VecDeque<(MonoTime, u32, Duration)>,
}

impl LagStatistics {
    /// Takes note of a lag: it was at most `longest`, and most likely `estimate`.
    pub fn record(&mut self, now: MonoTime, longest: Duration, estimate: Duration) {
        if self.recent.len() == REMEMBERED {
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

    /// When to read back first: after the median lag; `None` while nothing is known.
    pub fn first_wait(&self) -> Option<Duration> {
        let middle = self.recent.len().checked_sub(1)? / 2;
        // An upstream that shows writes at once is asked for this at every one of many.
        if self.recent.iter().all(Duration::is_zero) {
            return Some(Duration::ZERO);
        }
        let mut lags: Vec<_> = self.recent.iter().copied().collect();
        let (_, median, _) = lags.select_nth_unstable(middle);
        Some((*median).min(MAX_FIRST_WAIT))
    }

    /// How long a third value has to stand before it counts as a later one: four times the longest
    /// lag of the last ten minutes, or `unmeasured` until there are enough of them.
    pub fn settle(&self, now: MonoTime, unmeasured: Duration) -> Duration {
        let fresh = self.slices.iter().filter(|(start, ..)| now.saturating_sub(*start) <= RECENT);
        let (count, longest) = fresh.fold((0, Duration::ZERO), |(sum, most), (_, count, one)| {
            (sum + count, most.max(*one))
        });
        if count < ENOUGH {
            return unmeasured;
        }
        (longest * SETTLE_FACTOR).max(MIN_SETTLE)
    }
}

/// When the read-backs of one cycle are made.
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

    /// How long to wait for the next read, counted from the end of the one before; `None` if
    /// there is to be none. It is at least `least`, and zero otherwise for the first. `left` is the
    /// time to the deadline, `cost` how long a read takes. The last read is placed so that it ends
    /// just before the deadline.
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
        // The only read of a cycle comes early, when it most likely answers at once.
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
    fn the_last_read_allowed_is_kept_for_the_end() {
        assert_eq!(reads(0, 3, 60_000, 20), [0, 70, 59_980]);
        assert_eq!(reads(0, 1, 60_000, 20), [0]);
    }

    #[test]
    fn without_time_for_a_read_there_is_none() {
        assert!(reads(0, 12, 19, 20).is_empty());
    }

    #[test]
    fn a_lag_that_is_learnt_meanwhile_puts_the_next_read_off() {
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
