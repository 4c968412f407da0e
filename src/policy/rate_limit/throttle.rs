//! What a 429 does: nobody calls for a while, then calls resume one by one.
//!
//! Upstream names a daily limit the same way, with a `Retry-After` of hours. Waiting for that makes
//! no sense, and trusting it blindly would keep the service down after the limit was raised: then
//! everybody is refused, but for one call a minute that finds out.

use std::time::Duration;

use crate::policy::Moment;

/// A longer `Retry-After` is a limit of another kind; the official SDKs give up beyond it.
const LONGEST_WAIT: Duration = Duration::from_mins(3);
/// Between the calls that find out whether a long throttle is over.
const BETWEEN_PROBES: Duration = Duration::from_mins(1);

#[derive(Clone, Copy, Debug)]
struct Probing {
    /// When the next one may go.
    next: Moment,
    /// Calls of the last one that have not started yet.
    calls: u32,
}

/// The throttle window of one token.
#[derive(Clone, Debug)]
pub(super) struct Throttle {
    window: Duration,
    /// Nobody is granted a call before.
    until: Moment,
    /// Grants keep their distance until then.
    paced_until: Moment,
    /// While they do: when the next one is due.
    next: Moment,
    /// When the last 429 came.
    since: Moment,
    probing: Option<Probing>,
}

impl Throttle {
    /// No throttle; grants will be paced for one `window` after each.
    pub(super) fn new(window: Duration) -> Self {
        let zero = Moment::ZERO;
        Self { window, until: zero, paced_until: zero, next: zero, since: zero, probing: None }
    }

    /// A 429 came, to be heeded for `wait`. A shorter one than the last changes nothing.
    pub(super) fn begin(&mut self, wait: Duration, now: Moment) {
        let is_over = now >= self.until;
        self.since = now;
        if let Some(probing) = &mut self.probing {
            // The one of this minute has failed; what else it had booked is not let through.
            probing.calls = 0;
        }
        if is_over {
            self.probing = None;
        }
        if wait > LONGEST_WAIT && self.probing.is_none() {
            self.probing = Some(Probing { next: now + BETWEEN_PROBES, calls: 0 });
        }
        self.until = self.until.max(now + wait);
        self.paced_until = self.until + self.window;
        self.next = self.until;
    }

    /// Whether everybody is refused at `now`, instead of waiting.
    pub(super) fn fails_fast(&self, now: Moment) -> bool {
        now < self.until && self.probing.is_some()
    }

    /// Lets one wish a minute through while everybody else is refused.
    pub(super) fn probe(&mut self, calls: u32, now: Moment) -> bool {
        match &mut self.probing {
            Some(probing) if now >= probing.next => {
                *probing = Probing { next: now + BETWEEN_PROBES, calls };
                true
            }
            _ => false,
        }
    }

    /// An answer other than 429 came to a call that was sent at `sent`. If that was after the 429,
    /// a long throttle is over. Returns whether it ended so.
    pub(super) fn answered(&mut self, sent: Moment, now: Moment) -> bool {
        let ends = self.fails_fast(now) && sent > self.since;
        if ends {
            self.probing = None;
            self.until = now;
            self.paced_until = now + self.window;
            self.next = now;
        }
        ends
    }

    /// Whether a call that was granted may leave; those granted before the 429 may not.
    pub(super) fn may_start(&mut self, now: Moment) -> bool {
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
    pub(super) fn left(&self, now: Moment) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }

    /// When the next call can be granted, as far as the throttle goes.
    pub(super) fn opens(&self, now: Moment) -> Moment {
        let now = now.max(self.until);
        if now < self.paced_until { now.max(self.next).min(self.paced_until) } else { now }
    }

    /// The same for a call that is granted after `ahead` others, `gap` apart.
    pub(super) fn opens_after(&self, ahead: u64, gap: Duration, now: Moment) -> Moment {
        let opens = self.opens(now);
        if opens >= self.paced_until {
            return opens;
        }
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        opens.saturating_add(gap.saturating_mul(ahead)).min(self.paced_until)
    }

    /// Calls were granted.
    pub(super) fn granted(&mut self, calls: u32, gap: Duration, now: Moment) {
        if now < self.paced_until {
            self.next = self.next.max(now).saturating_add(gap.saturating_mul(calls));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const GAP: Duration = Duration::from_millis(200);

    #[test]
    fn grants_resume_with_gaps_for_one_window() {
        let mut throttle = Throttle::new(60 * SECOND);
        throttle.begin(5 * SECOND, SECOND);
        assert_eq!((throttle.opens(SECOND), throttle.left(SECOND)), (6 * SECOND, Some(5 * SECOND)));
        assert_eq!(throttle.opens_after(10, GAP, SECOND), 8 * SECOND);
        throttle.granted(3, GAP, 6 * SECOND);
        assert_eq!(throttle.opens(6 * SECOND), 6 * SECOND + 3 * GAP);
        assert_eq!(throttle.opens_after(100_000, GAP, 6 * SECOND), 66 * SECOND);
        throttle.granted(3, GAP, 66 * SECOND);
        assert_eq!(throttle.opens(66 * SECOND), 66 * SECOND, "as if nothing had happened");
    }

    #[test]
    fn a_later_429_extends_and_a_shorter_one_never_shortens() {
        let mut throttle = Throttle::new(60 * SECOND);
        throttle.begin(30 * SECOND, SECOND);
        throttle.begin(3 * SECOND, 2 * SECOND);
        assert_eq!(throttle.opens(2 * SECOND), 31 * SECOND);
        throttle.begin(40 * SECOND, 3 * SECOND);
        assert_eq!(throttle.opens(3 * SECOND), 43 * SECOND);
        assert!(!throttle.answered(4 * SECOND, 5 * SECOND), "only a long one ends early");
    }

    #[test]
    fn beyond_three_minutes_one_a_minute_goes_and_its_answer_ends_it() {
        let mut throttle = Throttle::new(60 * SECOND);
        throttle.begin(181 * SECOND, Duration::ZERO);
        assert!(throttle.fails_fast(SECOND) && !throttle.probe(3, 59 * SECOND));
        assert!(throttle.probe(3, 60 * SECOND) && !throttle.probe(1, 119 * SECOND));
        assert!(
            (0..3).all(|_| throttle.may_start(60 * SECOND)) && !throttle.may_start(60 * SECOND)
        );
        assert!(!throttle.answered(Duration::ZERO, 60 * SECOND), "a straggler from before");
        assert!(throttle.answered(60 * SECOND, 61 * SECOND));
        assert!(!throttle.fails_fast(61 * SECOND) && throttle.may_start(61 * SECOND));
        throttle.begin(180 * SECOND, 62 * SECOND);
        assert!(!throttle.fails_fast(62 * SECOND), "three minutes are waited for");
    }
}
