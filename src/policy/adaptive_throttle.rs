//! Adaptive throttling: makes fewer calls to an upstream that fails, and probes whether it is back.
//!
//! The formula comes from the SRE book, chapter "Handling Overload": the more calls of the last ten
//! seconds failed, the more calls are refused. While a quarter of the calls fail, none is refused.
//! The formula alone lets too many calls through after a healthy period, and recovers too slowly. So
//! there are two more rules: an upstream that only fails gets one probe a second, and its first
//! success clears the history.
//!
//! One broken conversation must not affect the others. Each conversation counts with one call a
//! second. While only one or two conversations fail, only their own calls are refused.

use std::time::Duration;

use super::{MonoTime, RollingCounter};

/// How many requests an accepted one pays for. With 2, nothing is refused while less than half fails.
const REQUESTS_PER_ACCEPT: u32 = 2;
/// The formula needs this many counted calls. With fewer, half may fail by chance although only a
/// quarter fails in the long run.
const MEANINGFUL_REQUESTS: u32 = 40;
/// After this many counted failures in a row, an upstream gets only probes.
const FAILURES_IN_A_ROW: u32 = 20;
/// After this time without a success, an upstream gets only probes.
const WITHOUT_SUCCESS: Duration = Duration::from_secs(1);
/// The least number of failures, counted or not, in that time. One failure after a quiet minute means
/// nothing. Where a quarter of the calls fail, twelve in a row happen once in ten million calls.
const FAILURES_WITHOUT_SUCCESS: u32 = 12;
/// The time between two probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The conversation of a failed probe waits this much longer, so that a busy broken one cannot use
/// every probe.
const SAME_SOURCE_DELAY: Duration = Duration::from_millis(500);
/// A run of failures is forgotten after this time without another one.
const MEMORY: Duration = Duration::from_secs(10);
/// Each conversation counts with one call in this time.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// `Retry-After` for a call that the formula refuses.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// If this many conversations fail, the upstream is the cause, and not the conversations.
const SEVERAL_SOURCES: usize = 3;
/// Slots of the table of counted conversations. Two conversations in one slot count as one.
const SLOTS: usize = 256;

/// The right to make one call. Return it to [`AdaptiveThrottle::record`] with the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPermit {
    asked: MonoTime,
    source: Option<u128>,
    is_probe: bool,
}

impl CallPermit {
    /// Whether this call probes if upstream is back.
    pub fn is_probe(self) -> bool {
        self.is_probe
    }
}

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// Upstream answered. A 4xx counts, too.
    Accepted,
    /// No connection, no answer in time, or a 5xx.
    Failed,
    /// The call says nothing about upstream: it was not sent, or it was cancelled.
    Unknown,
}

/// The throttle refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleRefusal {
    /// Time until the next probe.
    pub retry_after: Duration,
    /// Whether a probe is in flight. Its result may arrive before `retry_after`.
    pub is_probing: bool,
}

/// Which calls are refused at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleLevel {
    /// No call.
    Nothing,
    /// A part of the calls.
    Share,
    /// Calls of the one or two conversations that fail, except one probe a second.
    FailingConversations,
    /// All calls, except one probe a second.
    AllButProbes,
}

/// Metrics of the last ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleState {
    /// Counted calls.
    pub requests: u32,
    /// Counted calls that upstream answered.
    pub accepts: u32,
    /// Which calls are refused.
    pub throttling: ThrottleLevel,
}

/// Failures since the last success.
#[derive(Clone, Debug, Default)]
struct FailureRun {
    failures: u32,
    counted: u32,
    /// When the earliest of these calls was made, or when the last success arrived if that was later.
    since: MonoTime,
    latest: MonoTime,
    /// The first conversations that failed, up to `SEVERAL_SOURCES`.
    sources: Vec<u128>,
    /// Whether a call without a conversation failed.
    has_other: bool,
}

#[derive(Clone, Copy, Debug)]
struct ThrottleProbe {
    asked: MonoTime,
    source: Option<u128>,
    is_in_flight: bool,
}

/// The throttle of one upstream.
#[derive(Clone, Debug)]
pub struct AdaptiveThrottle {
    window: RollingCounter,
    counted: Box<[Option<MonoTime>; SLOTS]>,
    run: FailureRun,
    last_success: MonoTime,
    next_probe: Option<MonoTime>,
    probe: Option<ThrottleProbe>,
}

impl Default for AdaptiveThrottle {
    fn default() -> Self {
        Self {
            window: RollingCounter::default(),
            counted: Box::new([None; SLOTS]),
            run: FailureRun::default(),
            last_success: MonoTime::ZERO,
            next_probe: None,
            probe: None,
        }
    }
}

impl AdaptiveThrottle {
    /// Asks for the right to make a call for `source`, a conversation. `chance` draws a number from 0
    /// to 1. It is called only if the formula needs one.
    ///
    /// # Errors
    /// If the call must not be made.
    pub fn ask(
        &mut self,
        source: Option<u128>,
        chance: impl FnOnce() -> f64,
        now: MonoTime,
    ) -> Result<CallPermit, ThrottleRefusal> {
        if self.run.restricts(source, now) {
            return self.ask_for_probe(source, now);
        }
        let refused_share = self.refused_share(now);
        if refused_share > 0.0 && chance() < refused_share {
            if self.counts_now(source, now) {
                self.window.record(now, true);
            }
            return Err(ThrottleRefusal { retry_after: RETRY_AFTER, is_probing: false });
        }
        Ok(CallPermit { asked: now, source, is_probe: false })
    }

    /// Records the result of a call.
    pub fn record(&mut self, permit: CallPermit, result: CallResult, now: MonoTime) {
        self.end_probe(permit, result, now);
        match result {
            CallResult::Accepted => self.record_success(permit, now),
            CallResult::Failed => self.record_failure(permit, now),
            CallResult::Unknown => {}
        }
    }

    /// The counts of the last ten seconds, and which calls are refused.
    pub fn state(&self, now: MonoTime) -> ThrottleState {
        let (requests, failures) = self.window.totals(now);
        let throttling = if self.run.is_trouble(now) {
            if self.run.is_of_several() {
                ThrottleLevel::AllButProbes
            } else {
                ThrottleLevel::FailingConversations
            }
        } else if self.refused_share(now) > 0.0 {
            ThrottleLevel::Share
        } else {
            ThrottleLevel::Nothing
        };
        ThrottleState { requests, accepts: requests - failures, throttling }
    }

    fn ask_for_probe(
        &mut self,
        source: Option<u128>,
        now: MonoTime,
    ) -> Result<CallPermit, ThrottleRefusal> {
        let failed_last = self.probe.is_some_and(|probe| probe.source == source);
        let extra = if self.run.is_of_several() && source.is_some() && failed_last {
            SAME_SOURCE_DELAY
        } else {
            Duration::ZERO
        };
        let due = self.next_probe.map_or(now, |next| next + extra);
        if now < due {
            return Err(ThrottleRefusal {
                retry_after: due.saturating_sub(now),
                is_probing: self.probe.is_some_and(|probe| probe.is_in_flight),
            });
        }
        self.next_probe = Some(now + PROBE_INTERVAL);
        self.probe = Some(ThrottleProbe { asked: now, source, is_in_flight: true });
        Ok(CallPermit { asked: now, source, is_probe: true })
    }

    fn end_probe(&mut self, permit: CallPermit, result: CallResult, now: MonoTime) {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.asked == permit.asked) else {
            return;
        };
        if permit.is_probe {
            probe.is_in_flight = false;
            if result == CallResult::Unknown {
                self.next_probe = Some(now);
            }
        }
    }

    fn record_success(&mut self, permit: CallPermit, now: MonoTime) {
        if self.run.is_trouble(now) {
            self.window.clear();
            self.counted.fill(None);
        }
        self.run = FailureRun::default();
        (self.next_probe, self.probe, self.last_success) = (None, None, now);
        if self.counts_now(permit.source, now) {
            self.window.record(now, false);
        }
    }

    fn record_failure(&mut self, permit: CallPermit, now: MonoTime) {
        let is_counted = self.counts_now(permit.source, now);
        if is_counted {
            self.window.record(now, true);
        }
        if self.run.is_forgotten(now) {
            self.run = FailureRun::default();
        }
        self.run.add(permit, is_counted, self.last_success, now);
        if self.run.is_trouble(now) {
            self.next_probe.get_or_insert(now + PROBE_INTERVAL);
        }
    }

    /// The share of calls that the formula refuses.
    fn refused_share(&self, now: MonoTime) -> f64 {
        let (requests, failures) = self.window.totals(now);
        if requests < MEANINGFUL_REQUESTS {
            return 0.0;
        }
        let paid_for = (requests - failures).saturating_mul(REQUESTS_PER_ACCEPT);
        f64::from(requests.saturating_sub(paid_for)) / (f64::from(requests) + 1.0)
    }

    /// Whether a call of this conversation counts now: at most one a second does.
    fn counts_now(&mut self, source: Option<u128>, now: MonoTime) -> bool {
        let Some(source) = source else {
            return true;
        };
        let slot = &mut self.counted[slot_of(source)];
        let is_due = slot.is_none_or(|last| now >= last + COUNT_INTERVAL);
        if is_due {
            *slot = Some(now);
        }
        is_due
    }
}

fn slot_of(source: u128) -> usize {
    let bytes = source.to_le_bytes();
    usize::from(bytes.into_iter().fold(0_u8, |all, byte| all.rotate_left(3) ^ byte))
}

impl FailureRun {
    fn add(&mut self, permit: CallPermit, is_counted: bool, last_success: MonoTime, now: MonoTime) {
        let since = permit.asked.max(last_success);
        self.since = if self.failures == 0 { since } else { self.since.min(since) };
        self.latest = now;
        self.failures = self.failures.saturating_add(1);
        self.counted = self.counted.saturating_add(u32::from(is_counted));
        match permit.source {
            None => self.has_other = true,
            Some(source) if self.sources.len() < SEVERAL_SOURCES => {
                if !self.sources.contains(&source) {
                    self.sources.push(source);
                }
            }
            Some(_) => {}
        }
    }

    fn is_forgotten(&self, now: MonoTime) -> bool {
        now >= self.latest + MEMORY
    }

    /// Whether so many calls failed that only probes are made.
    fn is_trouble(&self, now: MonoTime) -> bool {
        let is_long = now >= self.since + WITHOUT_SUCCESS;
        let many = self.counted >= FAILURES_IN_A_ROW
            || (is_long && self.failures >= FAILURES_WITHOUT_SUCCESS);
        many && !self.is_forgotten(now)
    }

    /// Whether several conversations fail, so that the upstream is the cause.
    fn is_of_several(&self) -> bool {
        self.has_other || self.sources.len() >= SEVERAL_SOURCES
    }

    fn restricts(&self, source: Option<u128>, now: MonoTime) -> bool {
        self.is_trouble(now)
            && (self.is_of_several() || source.is_some_and(|one| self.sources.contains(&one)))
    }
}

#[cfg(test)]
mod tests;
