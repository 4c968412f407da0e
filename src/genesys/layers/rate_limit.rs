//! Lets an attempt go only with a permit, and gives the limiter what upstream said to it.
//!
//! The first attempt brings the permit that its call was given; others, and calls without one, wait
//! for theirs here. A permit is spent when its attempt has ended, in whatever way, since only then
//! upstream has certainly counted it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use tokio::time::Instant;

use super::{CallMetadata, call};
use crate::genesys::error::{self, UpstreamError};
use crate::genesys::limiter::{CallFeedback, CallLimiter};
use crate::genesys::transport::HttpTransport;
use crate::policy::{CallStart, RateLimitHeaders};
use crate::ports::{CallPermit, PlatformOperation, RequestPhase};

/// Calls that Genesys has counted in its window.
const COUNT: HeaderName = HeaderName::from_static("inin-ratelimit-count");
/// Calls that it grants a window.
const ALLOWED: HeaderName = HeaderName::from_static("inin-ratelimit-allowed");
/// Seconds until the count starts again.
const RESET: HeaderName = HeaderName::from_static("inin-ratelimit-reset");

/// What attempts are kept within. Clones share it.
#[derive(Clone)]
pub struct CallLimiters {
    /// The budget of the token, for every operation.
    pub budget: CallLimiter,
    /// The details query waits for this one, too: upstream throttles it separately, and a 429 to it
    /// stops nothing else.
    pub analytics: CallLimiter,
}

/// Keeps attempts within `limits`.
pub fn layer(limits: CallLimiters, inner: HttpTransport) -> HttpTransport {
    HttpTransport::from_fn(move |request: Request<Bytes>| {
        let (inner, limits) = (inner.clone(), limits.clone());
        async move { limited(&limits, inner, request).await }
    })
}

async fn limited(
    limits: &CallLimiters,
    inner: HttpTransport,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let call = call(&request).clone();
    let lane = (call.operation == PlatformOperation::Analytics).then_some(&limits.analytics);
    let (mut attempt, starts) = admitted(&limits.budget, lane, &call).await?;
    let result = inner.exchange(request).await;
    match &result {
        Ok(answer) => give_feedback(limits, starts, &feedback(&call, answer)),
        // Nothing was sent: nothing can have been counted.
        Err(UpstreamError::Connect(_) | UpstreamError::NotSentInTime) => attempt.give_back(),
        Err(_) => {}
    }
    result
}

/// When an attempt started, by the budget and by its lane.
type CallStarts = (CallStart, Option<CallStart>);

/// Tells each limiter what concerns it.
fn give_feedback(limits: &CallLimiters, (start, lane): CallStarts, feedback: &CallFeedback) {
    let Some(lane) = lane else { return limits.budget.feedback(start, feedback) };
    if feedback.throttled.is_none() {
        limits.budget.feedback(start, feedback);
    }
    limits
        .analytics
        .feedback(lane, &CallFeedback { headers: RateLimitHeaders::default(), ..*feedback });
}

/// Waits until the attempt may start. A permit from before a 429 is not good any more. The lane is
/// waited for first: nobody keeps calls of the budget meanwhile.
async fn admitted(
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
            Some(lane) => Some((lane, booked(lane, call).await.map_err(of_lane)?)),
            None => None,
        };
        let permit = match held.take() {
            Some(permit) => permit,
            None => booked(budget, call).await?,
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

fn of_lane(error: UpstreamError) -> UpstreamError {
    match error {
        UpstreamError::RateLimited { retry_after, .. } => {
            UpstreamError::RateLimited { reason: error::QUERY_THROTTLED, retry_after }
        }
        other => other,
    }
}

async fn booked(limiter: &CallLimiter, call: &CallMetadata) -> Result<CallPermit, UpstreamError> {
    let start = Instant::now();
    let permits =
        limiter.permits(call.class, call.context.budget_account(), call.context.start_by()).await;
    call.context.spend(RequestPhase::Queue, start.elapsed());
    if permits.is_err() {
        // There may be calls before the deadline, if not before something has to leave.
        call.context.mark_cut_short();
    }
    permits?.take().ok_or(UpstreamError::NotSentInTime)
}

/// The permits of an attempt that is under way.
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
    fn headers_that_are_absent_or_no_numbers_say_nothing() {
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
