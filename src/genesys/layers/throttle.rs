//! Refuses calls while upstream fails, with the adaptive throttle of that upstream.
//!
//! This layer is outside the timeout, so a call that hangs counts as a failure. A call that arrives
//! while a probe is in flight waits for its result. So clients that follow `Retry-After` are served
//! once upstream is back.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{ApiRequest, ApiService, CallMetadata};
use crate::clock::MonotonicClock;
use crate::genesys::error::{ResultTraits, UpstreamError};
use crate::genesys::random::JitterSource;
use crate::genesys::transport::ExchangeResult;
use crate::policy::{
    AdaptiveThrottle, CallPermit, CallResult, MonoTime, ThrottleLevel, ThrottleRefusal,
    ThrottleState,
};
use crate::ports::{MetricsRecorder, PlatformOperation};

/// A failing upstream is logged at most once in this time.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// The throttle of one upstream, shared by all its calls.
pub struct UpstreamThrottle {
    upstream: &'static str,
    state: Mutex<ThrottleInner>,
    probe_ended: Notify,
    jitter: JitterSource,
    recorder: Arc<MetricsRecorder>,
    clock: MonotonicClock,
}

#[derive(Default)]
struct ThrottleInner {
    throttle: AdaptiveThrottle,
    /// Calls refused since the last warning.
    refused: u64,
    warned: Option<MonoTime>,
    /// Whether a warning was logged, and its end was not.
    is_open: bool,
}

impl UpstreamThrottle {
    pub fn new(
        upstream: &'static str,
        jitter: JitterSource,
        recorder: Arc<MetricsRecorder>,
        clock: MonotonicClock,
    ) -> Self {
        let (state, probe_ended) = (Mutex::default(), Notify::new());
        Self { upstream, state, probe_ended, jitter, recorder, clock }
    }

    pub fn state(&self) -> ThrottleState {
        self.state.lock().throttle.state(self.clock.now())
    }

    /// The permit for this call. It waits at most once, for the probe in flight.
    async fn permit(&self, call: &CallMetadata) -> Result<CallPermit, UpstreamError> {
        let source = call.conversation.map(|id| u128::from_be_bytes(*id.as_bytes()));
        let mut has_waited = false;
        loop {
            let probe_ended = self.probe_ended.notified();
            tokio::pin!(probe_ended);
            // Register before asking, so that the end of a probe is never missed.
            probe_ended.as_mut().enable();
            let now = self.clock.now();
            let admission = self.state.lock().throttle.ask(source, || self.jitter.unit(), now);
            let ThrottleRefusal { retry_after, is_probing } = match admission {
                Ok(permit) => return Ok(permit),
                Err(refusal) => refusal,
            };
            if has_waited || !is_probing {
                let refused = &self.recorder.upstream.refused_by_throttle;
                refused.with(&[self.upstream.into()]).inc();
                let mut state = self.state.lock();
                state.refused += 1;
                self.warn(&mut state);
                return Err(UpstreamError::InTrouble { retry_after });
            }
            has_waited = true;
            let longest = retry_after.min(call.context.time_to_start());
            let _ = tokio::time::timeout(longest, probe_ended).await;
        }
    }

    fn record(&self, permit: CallPermit, result: CallResult) {
        let (mut state, now) = (self.state.lock(), self.clock.now());
        state.throttle.record(permit, result, now);
        let throttling = state.throttle.state(now).throttling;
        if throttling == ThrottleLevel::AllButProbes {
            self.warn(&mut state);
        }
        let is_over = throttling == ThrottleLevel::Nothing && result == CallResult::Accepted;
        if is_over && std::mem::take(&mut state.is_open) {
            tracing::info!(
                upstream = self.upstream,
                calls.refused = std::mem::take(&mut state.refused),
                "upstream answers again: no calls are refused any more"
            );
        }
        drop(state);
        if permit.is_probe() || result == CallResult::Accepted {
            self.probe_ended.notify_waiters();
        }
    }

    fn warn(&self, state: &mut ThrottleInner) {
        let now = self.clock.now();
        if state.warned.is_some_and(|last| now < last + WARNING_INTERVAL) {
            return;
        }
        let ThrottleState { requests, accepts, throttling } = state.throttle.state(now);
        tracing::warn!(
            upstream = self.upstream,
            ?throttling,
            calls.counted = requests,
            calls.answered = accepts,
            calls.refused = std::mem::take(&mut state.refused),
            "upstream is in trouble: too many calls failed in the last ten seconds"
        );
        (state.warned, state.is_open) = (Some(now), true);
    }
}

/// A call in flight. A cancelled call is recorded when it is dropped.
struct PendingCall<'a> {
    throttle: &'a UpstreamThrottle,
    permit: CallPermit,
    result: CallResult,
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.throttle.record(self.permit, self.result);
    }
}

/// The throttles, one per upstream: failures of one must not affect the others.
#[derive(Clone)]
pub struct UpstreamThrottles {
    pub conversations: Arc<UpstreamThrottle>,
    pub analytics: Arc<UpstreamThrottle>,
    pub token: Arc<UpstreamThrottle>,
}

pub async fn run(
    throttles: UpstreamThrottles,
    request: ApiRequest,
    next: ApiService,
) -> ExchangeResult {
    let throttle = match request.call.operation {
        PlatformOperation::Analytics => &throttles.analytics,
        PlatformOperation::Read | PlatformOperation::Patch => &throttles.conversations,
        PlatformOperation::Token => &throttles.token,
    };
    let permit = throttle.permit(&request.call).await?;
    let mut pending = PendingCall { throttle, permit, result: CallResult::Unknown };
    let result = next.exchange(request).await;
    pending.result = ResultTraits::of(&result).counts_as;
    drop(pending);
    result
}
