//! Adaptive throttling: calls fewer times when an upstream fails, and finds out when it is back.
//!
//! The formula is that of the SRE book, chapter "Handling Overload": the more of the calls of the
//! last ten seconds failed, the likelier a call is refused here. With a quarter of the calls failing
//! it refuses nothing. Two rules stand next to it, because the formula alone lets too much through
//! after a healthy time and recovers too slowly: an upstream that only fails gets one probing call a
//! second, and its first success drops the history.
//!
//! One broken conversation must not spoil the others. Of each conversation one call a second is
//! counted, and while only one or two conversations fail, only their own calls are refused.

use std::time::Duration;

use super::{MonoTime, RollingCounter};

/// How many requests an accepted one pays for: below half of failures nothing is refused.
const REQUESTS_PER_ACCEPT: u32 = 2;
/// Counted calls below which the formula says nothing: of fewer calls, half can fail by chance
/// although only a quarter fails in the long run.
const MEANINGFUL_REQUESTS: u32 = 40;
/// Counted failures in a row after which an upstream only gets probes.
const FAILURES_IN_A_ROW: u32 = 20;
/// Time without any success after which it only gets probes.
const WITHOUT_SUCCESS: Duration = Duration::from_secs(1);
/// Failures that this time must hold at least, counted or not. One failure after a quiet minute is
/// no trouble; twelve in a row happen once in ten million calls where a quarter fails.
const FAILURES_WITHOUT_SUCCESS: u32 = 12;
/// Between two probing calls.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// What the conversation of a failed probe waits longer, so that a busy broken one cannot take
/// every probe.
const SAME_SOURCE_DELAY: Duration = Duration::from_millis(500);
/// Failures in a row are forgotten after so long without another one.
const MEMORY: Duration = Duration::from_secs(10);
/// Of each conversation one call is counted in this time.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// When a client should come back whose call the formula refused.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So many failing conversations are trouble of the upstream, and not of those conversations.
const SEVERAL_SOURCES: usize = 3;
/// Slots of the table of counted conversations. Two that share a slot are counted as one.
const SLOTS: usize = 256;

/// The right to make one call. Give it back with what came of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPermit {
    asked: MonoTime,
    source: Option<u128>,
    is_probe: bool,
}

impl CallPermit {
    /// Whether this call finds out if upstream is back.
    pub fn is_probe(self) -> bool {
        self.is_probe
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// Upstream answered, also with a refusal.
    Accepted,
    /// No connection, no answer in time, or a 5xx.
    Failed,
    /// The call says nothing about upstream: it was not sent, or was cut short.
    Unknown,
}

/// A call is not to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleRefusal {
    /// Time until the next probing call.
    pub retry_after: Duration,
    /// A probing call is under way: its result may come first.
    pub is_probing: bool,
}

/// What an upstream gets at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleLevel {
    /// Every call.
    Nothing,
    /// A part of the calls is refused.
    Share,
    /// One probing call a second, of the few conversations that fail; all other calls.
    FailingConversations,
    /// One probing call a second.
    AllButProbes,
}

/// Metrics of the last ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleState {
    /// Counted calls.
    pub requests: u32,
    /// Those of them that upstream answered.
    pub accepts: u32,
    /// What is refused.
    pub throttling: ThrottleLevel,
}

/// Failures since the last success.
#[derive(Clone, Debug, Default)]
struct FailureRun {
    failures: u32,
    counted: u32,
    /// When the earliest of these calls was made, or the last success came, if that was later.
    since: MonoTime,
    latest: MonoTime,
    /// The first conversations that failed, until there are several.
    sources: Vec<u128>,
    /// A call that belongs to no conversation failed.
    has_other: bool,
}

#[derive(Clone, Copy, Debug)]
struct ThrottleProbe {
    asked: MonoTime,
    source: Option<u128>,
    is_under_way: bool,
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
    /// The right to call now for `source`, a conversation. `chance` draws a number from 0 to 1, and
    /// only if the formula needs one.
    ///
    /// # Errors
    /// If the call is not to be made.
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
            if self.is_to_be_counted(source, now) {
                self.window.record(now, true);
            }
            return Err(ThrottleRefusal { retry_after: RETRY_AFTER, is_probing: false });
        }
        Ok(CallPermit { asked: now, source, is_probe: false })
    }

    /// Takes note of what came of a call.
    pub fn record(&mut self, permit: CallPermit, result: CallResult, now: MonoTime) {
        self.end_probe(permit, result, now);
        match result {
            CallResult::Accepted => self.record_success(permit, now),
            CallResult::Failed => self.record_failure(permit, now),
            CallResult::Unknown => {}
        }
    }

    /// How things stand.
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
                is_probing: self.probe.is_some_and(|probe| probe.is_under_way),
            });
        }
        self.next_probe = Some(now + PROBE_INTERVAL);
        self.probe = Some(ThrottleProbe { asked: now, source, is_under_way: true });
        Ok(CallPermit { asked: now, source, is_probe: true })
    }

    fn end_probe(&mut self, permit: CallPermit, result: CallResult, now: MonoTime) {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.asked == permit.asked) else {
            return;
        };
        if permit.is_probe {
            probe.is_under_way = false;
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
        if self.is_to_be_counted(permit.source, now) {
            self.window.record(now, false);
        }
    }

    fn record_failure(&mut self, permit: CallPermit, now: MonoTime) {
        let is_counted = self.is_to_be_counted(permit.source, now);
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

    /// Whether this call of its conversation counts. At most one a second does.
    fn is_to_be_counted(&mut self, source: Option<u128>, now: MonoTime) -> bool {
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

    /// Whether so much failed that only probes are to be made.
    fn is_trouble(&self, now: MonoTime) -> bool {
        let is_long = now >= self.since + WITHOUT_SUCCESS;
        let many = self.counted >= FAILURES_IN_A_ROW
            || (is_long && self.failures >= FAILURES_WITHOUT_SUCCESS);
        many && !self.is_forgotten(now)
    }

    /// Whether the trouble is the upstream's, and not that of one or two conversations.
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
