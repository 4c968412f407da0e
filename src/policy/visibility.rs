//! When to read back: how long upstream has lately taken to show a write.
//!
//! Reading too early costs a call that proves nothing; too late costs the caller's time.

use std::collections::VecDeque;
use std::time::Duration;

use super::Moment;

/// Lags that the median is taken of.
const REMEMBERED: usize = 32;
/// How far back the largest lag is looked for.
const RECENT: Duration = Duration::from_mins(1);
/// The first read-back is never later than this: a burst of slow writes must not slow the next.
const LONGEST_FIRST_WAIT: Duration = Duration::from_secs(1);
/// The wait between the first and the second read-back; later ones double.
const SECOND_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two read-backs.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Visibility lags measured lately.
#[derive(Clone, Debug, Default)]
pub struct LagStatistics {
    recent: VecDeque<(Moment, Duration)>,
    /// Of all that are remembered, so that most questions need no look at each of them.
    largest: Duration,
}

impl LagStatistics {
    /// Takes note of a lag.
    pub fn record(&mut self, now: Moment, lag: Duration) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((now, lag));
        self.largest = self.recent.iter().map(|(_, lag)| *lag).max().unwrap_or_default();
    }

    /// When to read back first: after the median lag, at once while nothing is known.
    pub fn first_wait(&self) -> Duration {
        // An upstream that shows writes at once is asked for this at every one of many.
        if self.largest.is_zero() {
            return Duration::ZERO;
        }
        let mut lags: Vec<_> = self.recent.iter().map(|(_, lag)| *lag).collect();
        let middle = (lags.len() - 1) / 2;
        let (_, median, _) = lags.select_nth_unstable(middle);
        (*median).min(LONGEST_FIRST_WAIT)
    }

    /// How long a third value has to stand before it counts as another writer's: the larger of
    /// `floor` and twice the largest lag of the last minute.
    pub fn settle(&self, now: Moment, floor: Duration) -> Duration {
        if self.largest * 2 <= floor {
            return floor;
        }
        let fresh = self.recent.iter().filter(|(at, _)| now.saturating_sub(*at) <= RECENT);
        let largest = fresh.map(|(_, lag)| *lag).max().unwrap_or_default();
        floor.max(largest * 2)
    }
}

/// When the read-backs of one cycle are made.
#[derive(Clone, Copy, Debug)]
pub struct ReadBackSchedule {
    first_wait: Duration,
    max_reads: u32,
    made: u32,
}

impl ReadBackSchedule {
    /// At most `max_reads` reads, the first after `first_wait`.
    pub const fn new(first_wait: Duration, max_reads: u32) -> Self {
        Self { first_wait, max_reads, made: 0 }
    }

    /// How long to wait for the next read, counted from the end of the one before; `None` if
    /// there is to be none. `left` is the time to the deadline, `cost` how long a read takes.
    /// The last read is placed so that it ends just before the deadline.
    pub fn next(&mut self, left: Duration, cost: Duration) -> Option<Duration> {
        if self.made >= self.max_reads {
            return None;
        }
        let latest = left.checked_sub(cost)?;
        let first = self.made == 0;
        let last_allowed = self.made + 1 == self.max_reads;
        let wait = if first { self.first_wait } else { later_wait(self.made) };
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
    SECOND_WAIT.saturating_mul(1 << (made - 1).min(10)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn reads(first: u64, max: u32, deadline: u64, cost: u64) -> Vec<u128> {
        let mut schedule = ReadBackSchedule::new(ms(first), max);
        let (mut now, mut starts) = (Duration::ZERO, Vec::new());
        while let Some(wait) = schedule.next(ms(deadline).saturating_sub(now), ms(cost)) {
            now += wait;
            starts.push(now.as_millis());
            now += ms(cost);
        }
        starts
    }

    #[test]
    fn waits_double_from_50_ms_and_the_last_read_ends_at_the_deadline() {
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
    fn the_first_wait_is_the_median_of_the_last_32_lags_and_at_most_a_second() {
        let mut lags = LagStatistics::default();
        assert_eq!(lags.first_wait(), Duration::ZERO);
        for lag in [10, 500, 30] {
            lags.record(Duration::ZERO, ms(lag));
        }
        assert_eq!(lags.first_wait(), ms(30));
        (0..32).for_each(|_| lags.record(Duration::ZERO, ms(9000)));
        assert_eq!(lags.first_wait(), ms(1000));
    }

    #[test]
    fn settling_takes_twice_the_largest_lag_of_the_last_minute() {
        let mut lags = LagStatistics::default();
        lags.record(ms(0), ms(3000));
        lags.record(ms(30_000), ms(800));
        assert_eq!(lags.settle(ms(60_000), ms(1000)), ms(6000));
        assert_eq!(lags.settle(ms(60_001), ms(1000)), ms(1600));
        assert_eq!(lags.settle(ms(200_000), ms(1000)), ms(1000));
    }

    proptest! {
        #[test]
        fn no_read_ends_after_the_deadline_and_there_are_never_more_than_allowed(
            first in 0_u64..2000, max in 1_u32..20, deadline in 0_u64..70_000, cost in 0_u64..3000
        ) {
            let starts = reads(first, max, deadline, cost);
            prop_assert!(starts.len() <= max as usize);
            prop_assert!(starts.iter().all(|start| start + u128::from(cost) <= u128::from(deadline)));
        }
    }
}
