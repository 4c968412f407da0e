//! The sliding-window log: calls in the window, in the order in which they leave it.

use std::collections::VecDeque;
use std::time::Duration;

use super::token_bucket::{float, seconds};
use crate::policy::MonoTime;

/// Up to this many calls a window, each call has its own time stamp (240 KB at most).
const MAX_EXACT: u64 = 10_000;
/// Larger budgets are counted in this many sub-windows: each decision looks at all of them.
const SUB_WINDOWS: u32 = 100;

/// Calls that each stay for one window. With sub-windows, a call leaves one window after the end of
/// its sub-window: it may leave late, and never early.
#[derive(Clone, Debug)]
pub(super) struct SlidingWindowLog {
    window: Duration,
    /// Length of a sub-window. Zero means exact time stamps.
    quantum: Duration,
    /// When a group of calls leaves, and the running total of calls up to and including it.
    entries: VecDeque<(MonoTime, u64)>,
    /// Running total of all calls.
    recorded: u64,
    /// How many of them have left.
    gone: u64,
}

impl SlidingWindowLog {
    /// An empty log for at most `limit` calls a window.
    pub(super) fn new(window: Duration, limit: u64) -> Self {
        let exact = limit <= MAX_EXACT;
        let quantum = if exact { Duration::ZERO } else { window / SUB_WINDOWS };
        Self { window, quantum, entries: VecDeque::new(), recorded: 0, gone: 0 }
    }

    /// The length of the window.
    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// Adds calls that ended at `at`.
    pub(super) fn record(&mut self, at: MonoTime, calls: u64) {
        self.record_until(self.end_of_sub_window(at).saturating_add(self.window), calls);
    }

    /// Adds calls that leave the window at `leaves`, or later if calls before them do.
    pub(super) fn record_until(&mut self, leaves: MonoTime, calls: u64) {
        self.recorded += calls;
        match self.entries.back_mut() {
            // Keep the order if two threads read the clock in a different order.
            Some(last) if last.0 >= leaves => last.1 = self.recorded,
            _ => self.entries.push_back((leaves, self.recorded)),
        }
    }

    /// Removes the newest calls. Returns how many there were.
    pub(super) fn forget(&mut self, calls: u64) -> u64 {
        let calls = calls.min(self.len());
        self.recorded -= calls;
        while let Some(last) = self.entries.pop_back() {
            let before = self.entries.back().map_or(self.gone, |(_, up_to)| *up_to);
            if before < self.recorded {
                self.entries.push_back((last.0, self.recorded));
                break;
            }
        }
        calls
    }

    fn end_of_sub_window(&self, at: MonoTime) -> MonoTime {
        if self.quantum.is_zero() {
            return at;
        }
        let end = (at.as_nanos() / self.quantum.as_nanos() + 1) * self.quantum.as_nanos();
        // Nanoseconds in 64 bits last for centuries.
        u64::try_from(end).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Drops the calls that have left by `now`.
    pub(super) fn expire(&mut self, now: MonoTime) {
        while let Some(&(leaves, up_to)) = self.entries.front()
            && leaves <= now
        {
            self.gone = up_to;
            self.entries.pop_front();
        }
    }

    /// How long ago the calls in the window were made, without the first `from` of all, in at most
    /// `groups` groups. No age is too high.
    pub(super) fn ages(&self, from: u64, groups: u32, now: MonoTime) -> Vec<(Duration, u64)> {
        let (step, mut before) = (self.window / groups, self.gone.max(from));
        let mut ages: Vec<(Duration, u64)> = Vec::new();
        for &(leaves, up_to) in self.entries.iter().filter(|(_, up_to)| *up_to > from) {
            let age = (now + self.window).saturating_sub(leaves);
            match ages.last_mut() {
                Some(last) if last.0.saturating_sub(age) < step => {
                    *last = (age, last.1 + up_to - before);
                }
                _ => ages.push((age, up_to - before)),
            }
            before = up_to;
        }
        ages
    }

    /// How many calls are in the window.
    pub(super) fn len(&self) -> u64 {
        self.recorded - self.gone
    }

    /// How many calls have left so far.
    pub(super) fn gone(&self) -> u64 {
        self.gone
    }

    /// How many calls were in the window when `gone` calls had left, or came later.
    pub(super) fn since(&self, gone: u64) -> u64 {
        self.recorded.saturating_sub(gone)
    }

    /// When the call number `rank` leaves, counted from 1.
    pub(super) fn nth(&self, rank: u64) -> Option<MonoTime> {
        let wanted = self.gone.checked_add(rank)?;
        let index = self.entries.partition_point(|(_, up_to)| *up_to < wanted);
        self.entries.get(index).map(|(leaves, _)| *leaves)
    }

    /// How many calls will have left at `then`.
    pub(super) fn leaving_by(&self, then: MonoTime) -> u64 {
        let index = self.entries.partition_point(|(leaves, _)| *leaves <= then);
        match index.checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some((_, up_to)) => up_to - self.gone,
            None => 0,
        }
    }

    /// The first moment at which `free` calls are left, and last while `pace` calls a second are added,
    /// but for `slack` calls. `free` may be negative.
    pub(super) fn opens_at_pace(
        &self,
        free: f64,
        pace: f64,
        slack: f64,
        now: MonoTime,
    ) -> MonoTime {
        let (mut opens, mut free_then) = (now, free);
        for (leaves, up_to) in &self.entries {
            // Until this group leaves, the pace uses up what is free.
            let lasts = if free_then < 0.0 { 0.0 } else { (free_then + slack) / pace };
            opens = opens.max(leaves.saturating_sub(seconds(lasts)));
            free_then = free + float(up_to - self.gone);
        }
        if free_then < 0.0 { opens.max(now + self.window) } else { opens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn entries_leave_one_window_after_their_time() {
        let mut log = SlidingWindowLog::new(10 * SECOND, 100);
        log.record(SECOND, 1);
        log.record(2 * SECOND, 2);
        assert_eq!((log.nth(1), log.nth(2)), (Some(11 * SECOND), Some(12 * SECOND)));
        assert_eq!((log.nth(3), log.nth(4)), (Some(12 * SECOND), None));
        assert_eq!((log.leaving_by(11 * SECOND), log.leaving_by(12 * SECOND)), (1, 3));
        log.expire(11 * SECOND);
        assert_eq!((log.len(), log.gone(), log.nth(1)), (2, 1, Some(12 * SECOND)));
    }

    #[test]
    fn a_large_budget_has_bounded_memory_and_no_early_expiry() {
        let mut log = SlidingWindowLog::new(10 * SECOND, u64::MAX);
        for step in 0..100_000 {
            let at = Duration::from_micros(step * 200);
            log.expire(at);
            log.record(at, 1);
            let last = log.nth(log.len()).expect("there is one");
            assert!(last >= at + 10 * SECOND && last <= at + 10 * SECOND + SECOND / 10);
        }
        assert!(log.entries.len() <= 102, "{}", log.entries.len());
        log.expire(Duration::from_secs(100));
        assert_eq!(log.len(), 0);
    }
}
