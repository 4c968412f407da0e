//! What a 429 does: nobody calls for a while, then calls resume at an even pace.
//!
//! Upstream reports a daily limit in the same way, with a `Retry-After` of hours. To wait for that
//! makes no sense, and to trust it would keep the service down after the limit was raised. So all
//! requests are refused then, but for one a minute that finds out whether it is over.

use std::time::Duration;

use super::pace::CallPace;
use crate::policy::MonoTime;

/// A longer `Retry-After` is a limit of another kind; the official SDKs give up beyond it.
pub const MAX_THROTTLE_WAIT: Duration = Duration::from_mins(3);
/// Between the calls that find out whether a long throttle is over.
pub const PROBE_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
struct ProbeState {
    /// When the next probe may go.
    next: MonoTime,
    /// Calls of the last one that have not started yet.
    calls: u32,
}

/// The throttle window of one token.
#[derive(Clone, Debug)]
pub(super) struct ThrottleWindow {
    window: Duration,
    /// No call is granted before.
    until: MonoTime,
    /// For one window after it.
    pace: CallPace,
    /// When the last 429 came.
    since: MonoTime,
    probing: Option<ProbeState>,
}

impl ThrottleWindow {
    /// No throttle. Grants will be paced for one `window` after each.
    pub(super) fn new(window: Duration) -> Self {
        let pace = CallPace::default();
        Self { window, until: MonoTime::ZERO, pace, since: MonoTime::ZERO, probing: None }
    }

    /// A 429 came, with a `Retry-After` of `wait`. It never shortens the one before.
    pub(super) fn begin(&mut self, wait: Duration, now: MonoTime) {
        let is_over = now >= self.until;
        self.since = now;
        if let Some(probing) = &mut self.probing {
            // The probe of this minute has failed; its other calls may not start.
            probing.calls = 0;
        }
        if is_over {
            self.probing = None;
        }
        if wait > MAX_THROTTLE_WAIT && self.probing.is_none() {
            self.probing = Some(ProbeState { next: now + PROBE_INTERVAL, calls: 0 });
        }
        self.end_at(self.until.max(now + wait));
    }

    fn end_at(&mut self, until: MonoTime) {
        self.until = until;
        self.pace = CallPace::default();
        self.pace.hold(until, until + self.window);
    }

    /// When the next probe may go, while all other requests are refused at once.
    pub(super) fn next_probe(&self, now: MonoTime) -> Option<MonoTime> {
        self.probing.filter(|_| now < self.until).map(|probing| probing.next)
    }

    /// Lets one request a minute through while all others are refused.
    pub(super) fn probe(&mut self, calls: u32, now: MonoTime) -> bool {
        match &mut self.probing {
            Some(probing) if now >= probing.next => {
                *probing = ProbeState { next: now + PROBE_INTERVAL, calls };
                true
            }
            _ => false,
        }
    }

    /// A call that was sent at `sent` was answered, and not with 429. If it was sent after the 429,
    /// a long throttle is over.
    pub(super) fn answered(&mut self, sent: MonoTime, now: MonoTime) {
        if self.next_probe(now).is_some() && sent > self.since {
            self.probing = None;
            self.end_at(now);
        }
    }

    /// Whether a granted call may leave; those granted before the 429 may not.
    pub(super) fn may_start(&mut self, now: MonoTime) -> bool {
        if now >= self.until {
            return true;
        }
        match &mut self.probing {
            Some(probing) if probing.calls > 0 => {
                probing.calls -= 1;
                true
            }
            _ => false,
        }
    }

    /// What is left of the time in which nobody calls.
    pub(super) fn left(&self, now: MonoTime) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// When a call can be granted after `ahead` others that are `gap` apart, as far as the throttle
    /// decides.
    pub(super) fn opens_after(&self, ahead: u64, gap: Duration, now: MonoTime) -> MonoTime {
        self.pace.opens_after(ahead, gap, now.max(self.until))
    }

    /// Calls were granted.
    pub(super) fn granted(&mut self, calls: u32, gap: Duration, now: MonoTime) {
        self.pace.take(calls, gap, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GAP: Duration = Duration::from_millis(200);

    #[test]
    fn grants_resume_with_gaps_for_one_window() {
        let mut throttle = ThrottleWindow::new(60 * SECOND);
        throttle.begin(5 * SECOND, SECOND);
        assert_eq!(
            (throttle.opens_after(0, GAP, SECOND), throttle.left(SECOND)),
            (6 * SECOND, Some(5 * SECOND))
        );
        assert_eq!(throttle.opens_after(10, GAP, SECOND), 8 * SECOND);
        throttle.granted(3, GAP, 6 * SECOND);
        assert_eq!(throttle.opens_after(0, GAP, 6 * SECOND), 6 * SECOND + 3 * GAP);
        assert_eq!(throttle.opens_after(100_000, GAP, 6 * SECOND), 66 * SECOND);
        throttle.granted(3, GAP, 66 * SECOND);
        assert_eq!(
            throttle.opens_after(0, GAP, 66 * SECOND),
            66 * SECOND,
            "as if nothing had happened"
        );
    }

    #[test]
    fn a_later_429_extends_and_a_shorter_one_never_shortens() {
        let mut throttle = ThrottleWindow::new(60 * SECOND);
        throttle.begin(30 * SECOND, SECOND);
        throttle.begin(3 * SECOND, 2 * SECOND);
        assert_eq!(throttle.opens_after(0, GAP, 2 * SECOND), 31 * SECOND);
        throttle.begin(40 * SECOND, 3 * SECOND);
        assert_eq!(throttle.opens_after(0, GAP, 3 * SECOND), 43 * SECOND);
        throttle.answered(4 * SECOND, 5 * SECOND);
        assert_eq!(
            throttle.opens_after(0, GAP, 5 * SECOND),
            43 * SECOND,
            "only a long one ends early"
        );
    }

    #[test]
    fn after_three_minutes_one_probe_a_minute_ends_the_throttle() {
        let mut throttle = ThrottleWindow::new(60 * SECOND);
        throttle.begin(181 * SECOND, Duration::ZERO);
        assert!(
            throttle.next_probe(SECOND) == Some(60 * SECOND) && !throttle.probe(3, 59 * SECOND)
        );
        assert!(throttle.probe(3, 60 * SECOND) && !throttle.probe(1, 119 * SECOND));
        assert!(
            (0..3).all(|_| throttle.may_start(60 * SECOND)) && !throttle.may_start(60 * SECOND)
        );
        throttle.answered(Duration::ZERO, 60 * SECOND);
        assert!(throttle.next_probe(60 * SECOND).is_some(), "a straggler from before");
        throttle.answered(60 * SECOND, 61 * SECOND);
        assert!(throttle.next_probe(61 * SECOND).is_none() && throttle.may_start(61 * SECOND));
        throttle.begin(180 * SECOND, 62 * SECOND);
        assert!(throttle.next_probe(62 * SECOND).is_none(), "three minutes are waited for");
    }
}
