//! Gives every attempt a permit of the call budget, and reports the answers to the limiter.
//!
//! The first attempt uses the permit of its call, if it has one. All other attempts wait for a permit
//! here. A permit is spent when its attempt has ended, with any result: only then has upstream
//! certainly counted it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use tokio::time::Instant;

use super::{ApiRequest, ApiService, CallMetadata};
use crate::genesys::error::{self, UpstreamError};
use crate::genesys::limiter::{CallFeedback, CallLimiter};
use crate::genesys::transport::ExchangeResult;
use crate::policy::{CallStart, RateLimitHeaders};
use crate::ports::{CallPermit, PlatformOperation, RequestPhase};

/// Calls that upstream has counted in its window.
const COUNT: HeaderName = HeaderName::from_static("inin-ratelimit-count");
/// Calls that upstream allows in a window.
const ALLOWED: HeaderName = HeaderName::from_static("inin-ratelimit-allowed");
/// Seconds until upstream starts a new count.
const RESET: HeaderName = HeaderName::from_static("inin-ratelimit-reset");

/// The limiters of all attempts. Clones share them.
#[derive(Clone)]
pub struct CallLimiters {
    /// The budget of the token, for every operation.
    pub budget: CallLimiter,
    /// The second limiter of the details query: upstream throttles it separately, and a 429 to it
    /// must not stop other calls.
    pub analytics: CallLimiter,
}

/// Keeps attempts within the limits.
pub async fn run(limits: CallLimiters, request: ApiRequest, next: ApiService) -> ExchangeResult {
    let (limits, call) = (&limits, request.call.clone());
    let lane = (call.operation == PlatformOperation::Analytics).then_some(&limits.analytics);
    let (mut attempt, starts) = admit(&limits.budget, lane, &call).await?;
    let result = next.exchange(request).await;
    match &result {
        Ok(answer) => give_feedback(limits, starts, &feedback(&call, answer)),
        // Nothing was sent, so upstream has counted nothing.
        Err(UpstreamError::Connect(_) | UpstreamError::NotSentInTime) => attempt.give_back(),
        Err(_) => {}
    }
    result
}

/// The start of an attempt: in the budget, and in the lane if it has one.
type CallStarts = (CallStart, Option<CallStart>);

/// Reports an answer to the limiters. A 429 with a lane concerns only the lane.
fn give_feedback(limits: &CallLimiters, (start, lane): CallStarts, feedback: &CallFeedback) {
    let Some(lane) = lane else { return limits.budget.feedback(start, feedback) };
    if feedback.throttled.is_none() {
        limits.budget.feedback(start, feedback);
    }
    limits
        .analytics
        .feedback(lane, &CallFeedback { headers: RateLimitHeaders::default(), ..*feedback });
}

/// Waits until the attempt may start. A permit that was granted before a 429 is replaced. The lane
/// comes first, so that the attempt holds no permit of the budget while it waits for the lane.
async fn admit(
    budget: &CallLimiter,
    lane: Option<&CallLimiter>,
    call: &CallMetadata,
) -> Result<(HeldPermits, CallStarts), UpstreamError> {
    let mut held = call.permit.take();
    loop {
        if call.context.time_to_start().is_zero() {
            call.context.mark_cut_short();
            return Err(UpstreamError::NotSentInTime);
        }
        let waited = match lane {
            Some(lane) => Some((lane, permit(lane, call).await.map_err(lane_error)?)),
            None => None,
        };
        let permit = match held.take() {
            Some(permit) => permit,
            None => permit(budget, call).await?,
        };
        let (lane_permit, lane_start) = match waited {
            Some((lane, permit)) => match lane.start() {
                Some(start) => (Some(permit), Some(start)),
                None => continue,
            },
            None => (None, None),
        };
        if let Some(start) = budget.start() {
            return Ok((HeldPermits([Some(permit), lane_permit]), (start, lane_start)));
        }
    }
}

fn lane_error(error: UpstreamError) -> UpstreamError {
    match error {
        UpstreamError::RateLimited { retry_after, .. } => {
            UpstreamError::RateLimited { reason: error::QUERY_THROTTLED, retry_after }
        }
        other => other,
    }
}

async fn permit(limiter: &CallLimiter, call: &CallMetadata) -> Result<CallPermit, UpstreamError> {
    let start = Instant::now();
    let permits =
        limiter.permits(call.class, call.context.budget_account(), call.context.start_by()).await;
    call.context.spend(RequestPhase::Queue, start.elapsed());
    if permits.is_err() {
        // The call may still be possible before the deadline, but not by the time it must start.
        call.context.mark_cut_short();
    }
    permits?.take().ok_or(UpstreamError::NotSentInTime)
}

/// The permits of an attempt in flight.
struct HeldPermits([Option<CallPermit>; 2]);

impl HeldPermits {
    fn give_back(&mut self) {
        self.0 = [None, None];
    }
}

impl Drop for HeldPermits {
    fn drop(&mut self) {
        for permit in &mut self.0 {
            if let Some(permit) = permit.take() {
                permit.spend();
            }
        }
    }
}

fn feedback(call: &CallMetadata, answer: &Response<Bytes>) -> CallFeedback {
    let headers = answer.headers();
    let throttled = (answer.status() == StatusCode::TOO_MANY_REQUESTS)
        .then(|| error::retry_after(headers).unwrap_or(error::DEFAULT_THROTTLE));
    CallFeedback { operation: call.operation, throttled, headers: rate_limit_headers(headers) }
}

fn rate_limit_headers(headers: &HeaderMap) -> RateLimitHeaders {
    let number = |name: HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    RateLimitHeaders {
        count: number(COUNT),
        allowed: number(ALLOWED),
        reset: number(RESET).map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_or_malformed_headers_are_ignored() {
        let mut headers = HeaderMap::new();
        assert_eq!(rate_limit_headers(&headers), RateLimitHeaders::default());
        headers.insert(COUNT, "17".parse().expect("valid"));
        headers.insert(ALLOWED, "many".parse().expect("valid"));
        headers.insert(RESET, "-1".parse().expect("valid"));
        assert_eq!(
            rate_limit_headers(&headers),
            RateLimitHeaders { count: Some(17), allowed: None, reset: None }
        );
    }
}
