//! The effect of a 429: no calls until `Retry-After` has passed, then calls at an even pace.
//!
//! Upstream reports a daily limit in the same way, with a `Retry-After` of hours. Clients cannot wait
//! that long, and the limit may be raised before. So all requests are refused at once, except one
//! probe a minute that finds out whether the throttle is over.

use std::time::Duration;

use crate::policy::MonoTime;

/// A longer `Retry-After` means a limit of another kind. The official SDKs give up beyond it.
pub const MAX_THROTTLE_WAIT: Duration = Duration::from_mins(3);
/// Between the calls that find out whether a long throttle is over.
pub const PROBE_INTERVAL: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
struct ProbeState {
    /// When the next probe may start.
    next: MonoTime,
    /// Calls of the last probe that have not started.
    calls: u32,
}

/// The throttle window of one token.
#[derive(Clone, Debug)]
pub(super) struct ThrottleWindow {
    window: Duration,
    /// The end of the throttle: no call is granted before.
    until: MonoTime,
    /// When the next call may go, for one window after the end.
    next: MonoTime,
    /// When the last 429 arrived.
    since: MonoTime,
    probing: Option<ProbeState>,
}

impl ThrottleWindow {
    /// No throttle. After each one, calls are paced for one `window`.
    pub(super) fn new(window: Duration) -> Self {
        let zero = MonoTime::ZERO;
        Self { window, until: zero, next: zero, since: zero, probing: None }
    }

    /// Records a 429 with a `Retry-After` of `wait`. It never shortens an earlier throttle.
    pub(super) fn begin(&mut self, wait: Duration, now: MonoTime) {
        let is_over = now >= self.until;
        self.since = now;
        if let Some(probing) = &mut self.probing {
            // The probe has failed: its other calls may not start.
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
        (self.until, self.next) = (until, until);
    }

    /// During a long throttle: when the next probe may start. All other requests are refused at once.
    pub(super) fn next_probe(&self, now: MonoTime) -> Option<MonoTime> {
        self.probing.filter(|_| now < self.until).map(|probing| probing.next)
    }

    /// Grants a probe of `calls` during a long throttle, if one is due.
    pub(super) fn probe(&mut self, calls: u32, now: MonoTime) -> bool {
        match &mut self.probing {
            Some(probing) if now >= probing.next => {
                *probing = ProbeState { next: now + PROBE_INTERVAL, calls };
                true
            }
            _ => false,
        }
    }

    /// Records an answer that is not a 429, to a call that started at `sent`. If that was after the
    /// 429, a long throttle is over.
    pub(super) fn record_answer(&mut self, sent: MonoTime, now: MonoTime) {
        if self.next_probe(now).is_some() && sent > self.since {
            self.probing = None;
            self.end_at(now);
        }
    }

    /// Whether a granted call may start. Calls granted before the 429 may not.
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

    /// The time until the throttle ends; `None` without one.
    pub(super) fn left(&self, now: MonoTime) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// When a call may go after `ahead` others that are `gap` apart.
    pub(super) fn opens(&self, ahead: u64, gap: Duration, now: MonoTime) -> MonoTime {
        if !self.is_paced(now.max(self.until)) {
            return now;
        }
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let opens = now.max(self.next).saturating_add(gap.saturating_mul(ahead));
        opens.min(self.until.saturating_add(self.window)).max(now)
    }

    /// Records granted calls.
    pub(super) fn granted(&mut self, calls: u32, gap: Duration, now: MonoTime) {
        if self.is_paced(now) {
            self.next = self.next.max(now).saturating_add(gap.saturating_mul(calls));
        }
    }

    /// Whether calls go one by one, within one window after a throttle.
    fn is_paced(&self, now: MonoTime) -> bool {
        !self.until.is_zero() && now < self.until.saturating_add(self.window)
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
            (throttle.opens(0, GAP, SECOND), throttle.left(SECOND)),
            (6 * SECOND, Some(5 * SECOND))
        );
        assert_eq!(throttle.opens(10, GAP, SECOND), 8 * SECOND);
        throttle.granted(3, GAP, 6 * SECOND);
        assert_eq!(throttle.opens(0, GAP, 6 * SECOND), 6 * SECOND + 3 * GAP);
        assert_eq!(throttle.opens(100_000, GAP, 6 * SECOND), 66 * SECOND);
        throttle.granted(3, GAP, 66 * SECOND);
        assert_eq!(
            throttle.opens(0, GAP, 66 * SECOND),
            66 * SECOND,
            "one window later the pace has ended"
        );
    }

    #[test]
    fn a_later_429_extends_and_a_shorter_one_never_shortens() {
        let mut throttle = ThrottleWindow::new(60 * SECOND);
        throttle.begin(30 * SECOND, SECOND);
        throttle.begin(3 * SECOND, 2 * SECOND);
        assert_eq!(throttle.opens(0, GAP, 2 * SECOND), 31 * SECOND);
        throttle.begin(40 * SECOND, 3 * SECOND);
        assert_eq!(throttle.opens(0, GAP, 3 * SECOND), 43 * SECOND);
        throttle.record_answer(4 * SECOND, 5 * SECOND);
        assert_eq!(
            throttle.opens(0, GAP, 5 * SECOND),
            43 * SECOND,
            "only a long throttle ends early"
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
        throttle.record_answer(Duration::ZERO, 60 * SECOND);
        assert!(
            throttle.next_probe(60 * SECOND).is_some(),
            "an answer to an earlier call proves nothing"
        );
        throttle.record_answer(60 * SECOND, 61 * SECOND);
        assert!(throttle.next_probe(61 * SECOND).is_none() && throttle.may_start(61 * SECOND));
        throttle.begin(180 * SECOND, 62 * SECOND);
        assert!(throttle.next_probe(62 * SECOND).is_none(), "clients can wait for three minutes");
    }
}
