//! Circuit breaker: stops calling an upstream that fails, and finds out when it is back.
//!
//! Opens when half of at least twenty calls within ten seconds failed (no connection, time-out,
//! 5xx; a 4xx is an answer). While open it refuses at once. After two seconds one probe is let
//! through; its success closes the breaker, its failure opens it again.

use std::time::Duration;

use super::{Moment, SlidingWindow};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct BreakerSettings {
    /// Calls within ten seconds before the failure rate means anything.
    pub at_least: u32,
    /// Time until a probe is let through.
    pub open_for: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { at_least: 20, open_for: Duration::from_secs(2) }
    }
}

/// Leave to make one call; hand it back with what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// An ordinary call.
    Call,
    /// The probe that decides whether the breaker closes.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Moment,
    },
    /// A probe is out. Should it never come back, another one may go at `until`.
    HalfOpen {
        until: Moment,
    },
}

/// The breaker of one upstream.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    window: SlidingWindow,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: State::Closed, window: SlidingWindow::default() }
    }

    /// Leave to call now, or the time until there may be.
    pub fn ask(&mut self, now: Moment) -> Result<Ticket, Duration> {
        match self.state {
            State::Closed => Ok(Ticket::Call),
            State::Open { until } | State::HalfOpen { until } if now < until => {
                Err(until.saturating_sub(now))
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + self.settings.open_for };
                Ok(Ticket::Probe)
            }
        }
    }

    /// Takes note of how a call ended. Returns whether the state changed.
    pub fn tell(&mut self, ticket: Ticket, failed: bool, now: Moment) -> bool {
        let before = self.state;
        match (self.state, ticket) {
            (State::Closed, _) => {
                self.window.record(now, failed);
                let (calls, failures) = self.window.totals(now);
                if calls >= self.settings.at_least && failures * 2 >= calls {
                    self.open(now);
                }
            }
            (State::Open { .. } | State::HalfOpen { .. }, Ticket::Probe) if failed => {
                self.open(now);
            }
            (State::Open { .. } | State::HalfOpen { .. }, Ticket::Probe) => {
                self.state = State::Closed;
                self.window.clear();
            }
            // A straggler from before the breaker opened says nothing new.
            (State::Open { .. } | State::HalfOpen { .. }, Ticket::Call) => {}
        }
        before != self.state
    }

    /// Takes note of a call that says nothing of upstream: it never got there, or was cut short.
    /// After a probe of that kind the next call is the probe. Returns whether the state changed.
    pub fn hand_back(&mut self, ticket: Ticket, now: Moment) -> bool {
        let is_probe = ticket == Ticket::Probe && self.is_half_open();
        if is_probe {
            self.state = State::Open { until: now };
        }
        is_probe
    }

    fn open(&mut self, now: Moment) {
        self.state = State::Open { until: now + self.settings.open_for };
    }

    /// Whether calls pass.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether a probe is out.
    pub fn is_half_open(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for _ in 0..20 {
            let ticket = breaker.ask(Duration::ZERO).expect("closed");
            breaker.tell(ticket, true, Duration::ZERO);
        }
        breaker
    }

    #[test]
    fn it_opens_at_half_of_twenty_and_not_before() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for call in 0..19 {
            breaker.tell(Ticket::Call, call % 2 == 0, Duration::ZERO);
            assert!(breaker.is_closed(), "nineteen calls are too few");
        }
        assert!(breaker.tell(Ticket::Call, false, Duration::ZERO), "10 of 20");
        assert_eq!(breaker.ask(SECOND), Err(SECOND));
    }

    #[test]
    fn fewer_than_half_never_open_it() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for call in 0..1000 {
            breaker.tell(Ticket::Call, call % 3 == 0, Duration::ZERO);
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut breaker = Breaker::new(BreakerSettings::default());
        for _ in 0..19 {
            breaker.tell(Ticket::Call, true, Duration::ZERO);
        }
        breaker.tell(Ticket::Call, true, 11 * SECOND);
        assert!(breaker.is_closed());
    }

    #[test]
    fn one_probe_after_two_seconds_closes_it_or_opens_it_again() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(Duration::from_millis(1999)), Err(Duration::from_millis(1)));
        assert_eq!(breaker.ask(2 * SECOND), Ok(Ticket::Probe));
        assert_eq!(breaker.ask(2 * SECOND), Err(2 * SECOND), "one probe at a time");
        breaker.tell(Ticket::Probe, true, 3 * SECOND);
        assert_eq!(breaker.ask(4 * SECOND), Err(SECOND));
        assert_eq!(breaker.ask(5 * SECOND), Ok(Ticket::Probe));
        breaker.tell(Ticket::Probe, false, 5 * SECOND);
        assert_eq!(breaker.ask(5 * SECOND), Ok(Ticket::Call));
    }

    #[test]
    fn a_lost_probe_does_not_keep_it_open_for_ever() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(2 * SECOND), Ok(Ticket::Probe));
        assert_eq!(breaker.ask(4 * SECOND), Ok(Ticket::Probe));
    }

    #[test]
    fn a_probe_that_says_nothing_makes_the_next_call_the_probe() {
        let mut breaker = opened();
        assert_eq!(breaker.ask(2 * SECOND), Ok(Ticket::Probe));
        assert!(breaker.hand_back(Ticket::Probe, 2 * SECOND));
        assert_eq!(breaker.ask(2 * SECOND), Ok(Ticket::Probe));
        assert!(!breaker.hand_back(Ticket::Call, 2 * SECOND));
        assert!(!breaker.is_closed());
    }

    #[test]
    fn stragglers_do_not_close_it() {
        let mut breaker = opened();
        assert!(!breaker.tell(Ticket::Call, false, SECOND));
        assert!(!breaker.is_closed());
    }
}
