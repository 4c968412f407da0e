//! Reads back until a read shows every key that was sent, or no time is left.
//!
//! Once upstream has accepted the PATCH, no failure makes the answer an error: a failed read-back
//! leaves keys unverified, with the reason in the warnings.
//!
//! While no lag is known, one write reads early and often to measure it. The others wait for its
//! result, so that many first writes do not all explore at once.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::{
    AttributeMap, CoalescedRead, Duration, Effect, Freshness, PriorityClass, RequestContext,
    RequestPhase, ReservedCalls, Snapshot, WriteOperation, log_id,
};
use crate::app::lag::LagProbe;
use crate::domain::WriteVerifier;
use crate::error::Error;
use crate::policy::{MAX_FIRST_WAIT, ReadBackSchedule};

/// Added to the duration of the last read when the final read is placed before the deadline.
const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// A lag with only an upper bound counts a little less, so that the first read-back moves forward
/// again when upstream gets faster.
const DECAY: f64 = 0.95;

/// Timers cannot wait for less; below it the first read-back is sent at once.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// How many reads must show a replaced map before that is reported.
const EVIDENCE: u32 = 2;

impl WriteOperation {
    /// Reads back until the deadline of the request.
    pub(super) async fn read_back(&mut self) {
        let (context, start) = (self.request.context.clone(), Instant::now());
        self.read_until_settled(&context).await;
        // Reserved calls that were not needed are returned.
        self.reserved_calls = ReservedCalls::default();
        // The phase includes the waits between the reads.
        context.spend(RequestPhase::Verify, start.elapsed());
    }

    async fn read_until_settled(&mut self, context: &RequestContext) {
        let explorer = LagProbe::start(&self.shared.lags);
        let mut measured = self.shared.lags.subscribe();
        let mut schedule = ReadBackSchedule::new(self.shared.settings.max_reads);
        let mut subscription = self.shared.reads.subscribe(&self.subject());
        while !self.is_settled() {
            let known = *measured.borrow_and_update();
            let cost =
                self.verification.read_cost + self.verification.read_cost / 4 + DEADLINE_MARGIN;
            let (left, asked) = (context.time_left(), self.throttled_for());
            let (least, mut ahead) = (self.wait_for_lag(explorer.is_some()), schedule);
            let Some(wait) = ahead.next(least, left, cost).filter(|_| asked + cost <= left) else {
                break;
            };
            let due = Instant::now() + wait.max(asked);
            // A read sent at the moment of acceptance is new as well.
            let accepted = self.sent.accepted.map(|at| at - Duration::from_nanos(1));
            let newest = accepted.max(self.verification.last_read).max(Some(self.arrived));
            tokio::select! {
                biased;
                // Other requests' reads verify too, and postpone our own next read.
                snapshot = subscription.next(newest) => {
                    context.add_usage_of(&snapshot.spent);
                    if let Err(error) = self.read_back_shared(&snapshot) {
                        self.warn(format!("a read-back failed: {error}"));
                    }
                    continue;
                }
                _ = measured.changed(), if !known => continue,
                () = until(due) => {}
            }
            schedule = ahead;
            if let Err(error) = self.read_back_once().await {
                self.warn(format!("a read-back failed: {error}"));
                // An unusable response may be a proxy's hiccup; a refusal is final.
                let unusable = matches!(error, Error::UpstreamInvalidResponse(_));
                if !unusable && !error.code().retryable() {
                    break;
                }
            }
        }
    }

    /// How long to wait until a read can show the accepted PATCH.
    fn wait_for_lag(&mut self, explores: bool) -> Duration {
        let lag = self.shared.lags.first_wait();
        if self.verification.reads == 0 {
            self.verification.first_wait = lag;
        }
        let lag = lag.unwrap_or(if explores { Duration::ZERO } else { MAX_FIRST_WAIT });
        let due = self.sent.accepted.map(|accepted| accepted + lag);
        due.map(|due| due.saturating_duration_since(Instant::now())).unwrap_or_default()
    }

    /// Whether further reads could change nothing that matters.
    fn is_settled(&self) -> bool {
        if self.verification.reads == 0 {
            return false;
        }
        // Missing keys that were not sent are sent first.
        let missing = !self.verification.unchanged_keys.third().is_empty();
        let settled = self.verification.sent_keys.is_settled(self.shared.settle());
        let in_doubt =
            self.verification.replaced_reads > 0 && self.verification.replaced_reads < EVIDENCE;
        missing || settled && !in_doubt
    }

    /// Makes one read-back.
    async fn read_back_once(&mut self) -> Result<(), Error> {
        // A read is new if it was sent after the last one and after the acceptance.
        let cause = self
            .arrived
            .max(self.sent.accepted.max(self.verification.last_read).unwrap_or(self.arrived));
        let cause = Freshness::SentAfter(cause);
        let wanted = CoalescedRead {
            // Read-backs are repeated by their own schedule.
            retries: false,
            permit: self.reserved_calls.take(),
            ..CoalescedRead::new(self.subject(), cause, PriorityClass::ReadBack)
        };
        let read = self.read(wanted).await;
        if let Err(Error::UpstreamRateLimited { retry_after, .. }) = &read {
            self.verification.throttled = Some(Instant::now() + *retry_after);
        }
        let now = read?;
        self.observe_read(&now);
        Ok(())
    }

    /// Uses a read-back of another request.
    fn read_back_shared(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        (self.reserved_calls, self.baseline.is_remembered) = (ReservedCalls::default(), false);
        let now = self.apply_snapshot(snapshot)?;
        self.observe_read(&now);
        Ok(())
    }

    /// How long upstream still wants no read-back after a 429.
    fn throttled_for(&self) -> Duration {
        let until = self
            .verification
            .throttled
            .map(|until| until.saturating_duration_since(Instant::now()));
        until.unwrap_or_default()
    }

    /// Applies what a read after a PATCH shows of our keys and of others.
    pub(super) fn observe_read(&mut self, now: &AttributeMap) {
        let had_shown = self.verification.sent_keys.all_wanted();
        let at = self.shared.lags.now();
        self.verification.reads += 1;
        self.baseline.shown_after = true;
        self.verification.sent_keys.observe(now, at);
        self.verification.unchanged_keys.observe(now, at);
        self.take_proofs();
        if self.verification.sent_keys.all_wanted() && !had_shown {
            self.record_lag();
        }
        self.check_other_keys(now);
    }

    /// A key that shows its value proves that a PATCH with it was applied, although none may have been
    /// answered 2xx. The keys in the same PATCH do not count as accepted for that: an earlier PATCH
    /// with fewer keys may have been the one that was applied.
    fn take_proofs(&mut self) {
        let sent_keys = &self.verification.sent_keys;
        if self.sent.changes.keys().any(|key| sent_keys.is_proved(key)) {
            self.effect = Effect::Applied;
        }
    }

    /// Records the lag: from the acceptance of the PATCH to the start of the read that showed it.
    /// The end of the read would include its latency, and push the next first read-back back every
    /// time.
    fn record_lag(&self) {
        let (Some(accepted), Some(read)) = (self.sent.accepted, self.verification.last_read) else {
            return;
        };
        let waited = read.saturating_duration_since(accepted);
        self.shared.recorder.writes.visibility_lag.observe(waited);
        // The planned wait: timers round up to whole milliseconds, which would add up.
        let bound = self.verification.first_wait.filter(|_| self.verification.reads == 1);
        let lag = bound.map_or(waited, |meant| meant.min(waited).mul_f64(DECAY));
        let lag = if lag < MIN_WAIT { Duration::ZERO } else { lag };
        self.shared.lags.record(waited, lag);
    }

    /// Looks for lost keys of other writers. A read that shows no change of ours proves nothing.
    fn check_other_keys(&mut self, now: &AttributeMap) {
        if self.shared.settings.patch_full || !self.verification.sent_keys.shows_any() {
            return;
        }
        let Ok(participant_key) = self.participant_key() else { return };
        let pending_writes = &self.shared.pending_writes;
        let state_before = &self.sent.state_before_batch;
        // A key that another write of ours has cleared, or may have, is not lost.
        let ours = |key: &_| {
            state_before.map.get(crate::domain::AttributeKey::as_str(key)).is_none()
                || state_before.doubtful.contains(key)
                || pending_writes.is_cleared(participant_key, key)
        };
        self.verification.lost = WriteVerifier::lost(&self.sent.batch, &self.baseline.before, now);
        self.verification.lost.retain(|key| !ours(key));
        if !WriteVerifier::looks_replaced(&self.sent.batch, &self.baseline.before, now) {
            self.verification.replaced_reads = 0;
            return;
        }
        self.verification.replaced_reads += 1;
        if self.verification.replaced_reads == EVIDENCE
            && self.verification.losses.is_first_evidence()
        {
            self.shared.replaces.store(true, Ordering::Relaxed);
            tracing::error!(
                conversation.id = log_id(participant_key.0),
                "upstream replaced the attributes with what a PATCH held, and other keys are lost; \
                 set genesys.patch_body = \"full\"",
            );
        }
    }
}

/// Waits until `due`. A timer would take a millisecond even for no wait.
async fn until(due: Instant) {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
}
