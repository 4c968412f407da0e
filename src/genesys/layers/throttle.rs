//! Refuses calls while upstream fails, with the adaptive throttle of that upstream.
//!
//! This layer is outside the timeout, so a call that hangs counts as a failure. A call that arrives
//! while a probe is in flight waits for its result. So clients that follow `Retry-After` are served
//! once upstream is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::Notify;

use super::{CallMetadata, UnusableToken, call};
use crate::clock::MonotonicClock;
use crate::genesys::error::UpstreamError;
use crate::genesys::random::JitterSource;
use crate::genesys::transport::HttpTransport;
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
    recorder: Arc<dyn MetricsRecorder>,
    clock: MonotonicClock,
}

#[derive(Default)]
struct ThrottleInner {
    throttle: AdaptiveThrottle,
    report: TroubleReport,
}

/// What the log shows of a failing upstream.
#[derive(Default)]
struct TroubleReport {
    /// Calls refused since the last warning.
    refused: u64,
    warned: Option<MonoTime>,
    /// Whether a warning was logged, and its end was not.
    is_open: bool,
}

impl UpstreamThrottle {
    /// The throttle of the upstream with this name.
    pub fn new(
        upstream: &'static str,
        jitter: JitterSource,
        recorder: Arc<dyn MetricsRecorder>,
        clock: MonotonicClock,
    ) -> Self {
        let (state, probe_ended) = (Mutex::default(), Notify::new());
        Self { upstream, state, probe_ended, jitter, recorder, clock }
    }

    /// The state of the throttle, for `/readyz?verbose`.
    pub fn state(&self) -> ThrottleState {
        self.lock().throttle.state(self.clock.now())
    }

    async fn run(
        &self,
        inner: HttpTransport,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let permit = self.permit(call(&request)).await?;
        let mut pending = PendingCall { throttle: self, permit, result: CallResult::Unknown };
        let result = inner.exchange(request).await;
        pending.result = result_of(&result);
        drop(pending);
        result
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
            let admission = self.lock().throttle.ask(source, || self.jitter.unit(), now);
            let refusal = match admission {
                Ok(permit) => return Ok(permit),
                Err(refusal) => refusal,
            };
            if has_waited || !refusal.is_probing {
                return Err(self.refuse(refusal));
            }
            has_waited = true;
            let longest = refusal.retry_after.min(call.context.time_to_start());
            let _ = tokio::time::timeout(longest, probe_ended).await;
        }
    }

    fn refuse(&self, refusal: ThrottleRefusal) -> UpstreamError {
        self.recorder.refused_by_throttle(self.upstream);
        let mut state = self.lock();
        state.report.refused += 1;
        self.warn(&mut state);
        UpstreamError::InTrouble { retry_after: refusal.retry_after }
    }

    fn record(&self, permit: CallPermit, result: CallResult) {
        self.update(permit, result);
        if permit.is_probe() || result == CallResult::Accepted {
            self.probe_ended.notify_waiters();
        }
    }

    fn update(&self, permit: CallPermit, result: CallResult) {
        let (mut state, now) = (self.lock(), self.clock.now());
        state.throttle.record(permit, result, now);
        match state.throttle.state(now).throttling {
            ThrottleLevel::Nothing if state.report.is_open && result == CallResult::Accepted => {
                state.report.is_open = false;
                let refused = std::mem::take(&mut state.report.refused);
                drop(state);
                tracing::info!(
                    upstream = self.upstream,
                    calls.refused = refused,
                    "upstream answers again: no calls are refused any more"
                );
            }
            ThrottleLevel::AllButProbes => self.warn(&mut state),
            ThrottleLevel::Nothing | ThrottleLevel::Share | ThrottleLevel::FailingConversations => {
            }
        }
    }

    fn warn(&self, state: &mut ThrottleInner) {
        let now = self.clock.now();
        if state.report.warned.is_some_and(|last| now < last + WARNING_INTERVAL) {
            return;
        }
        let ThrottleState { requests, accepts, throttling } = state.throttle.state(now);
        tracing::warn!(
            upstream = self.upstream,
            ?throttling,
            calls.counted = requests,
            calls.answered = accepts,
            calls.refused = state.report.refused,
            "upstream is in trouble: too many calls failed in the last ten seconds"
        );
        state.report = TroubleReport { refused: 0, warned: Some(now), is_open: true };
    }

    fn lock(&self) -> MutexGuard<'_, ThrottleInner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

fn result_of(result: &Result<Response<Bytes>, UpstreamError>) -> CallResult {
    let failed = match result {
        Ok(answer) => {
            let is_unusable = answer.extensions().get::<UnusableToken>().is_some();
            Some(answer.status().is_server_error() || is_unusable)
        }
        Err(error) => error.is_upstream_failure(),
    };
    match failed {
        Some(true) => CallResult::Failed,
        Some(false) => CallResult::Accepted,
        None => CallResult::Unknown,
    }
}

/// The throttles of the platform API. Analytics has its own: its failures must not affect attributes.
#[derive(Clone)]
pub struct ApiThrottles {
    /// For reads and writes.
    pub conversations: Arc<UpstreamThrottle>,
    /// For the details query.
    pub analytics: Arc<UpstreamThrottle>,
}

/// Throttles each operation with the throttle of its upstream.
pub fn by_operation(throttles: ApiThrottles, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let throttle = match call(&request).operation {
            PlatformOperation::Analytics => Arc::clone(&throttles.analytics),
            PlatformOperation::Read | PlatformOperation::Patch | PlatformOperation::Token => {
                Arc::clone(&throttles.conversations)
            }
        };
        let inner = inner.clone();
        async move { throttle.run(inner, request).await }
    })
}

/// Throttles all calls to one upstream.
pub fn layer(throttle: Arc<UpstreamThrottle>, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, throttle) = (inner.clone(), Arc::clone(&throttle));
        async move { throttle.run(inner, request).await }
    })
}
