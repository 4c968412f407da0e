//! Lets an attempt go only with a permit, and tells the limiter what upstream said to it.
//!
//! The first attempt brings the permit that its call was given; others, and calls without one, wait
//! for theirs here. A permit is spent when its attempt has ended, in whatever way, since only then
//! upstream has certainly counted it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

use super::{Call, call};
use crate::genesys::error::{self, UpstreamError};
use crate::genesys::limiter::{Heard, Limiter};
use crate::genesys::transport::Exchange;
use crate::policy::{Start, Told};
use crate::ports::{Permit, Phase};

/// Calls that Genesys has counted in its window.
const COUNT: &str = "inin-ratelimit-count";
/// Calls that it grants a window.
const ALLOWED: &str = "inin-ratelimit-allowed";
/// Seconds until the count starts again.
const RESET: &str = "inin-ratelimit-reset";

/// Keeps attempts within the budget of `limiter`.
pub fn layer<S: Exchange>(limiter: Limiter, inner: S) -> impl Exchange {
    service_fn(move |request: Request<Bytes>| {
        let (inner, limiter) = (inner.clone(), limiter.clone());
        async move { limited(&limiter, inner, request).await }
    })
}

async fn limited<S: Exchange>(
    limiter: &Limiter,
    inner: S,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, UpstreamError> {
    let call = call(&request).clone();
    let (permit, start) = admitted(limiter, &call).await?;
    let mut attempt = Attempt(Some(permit));
    let result = inner.oneshot(request).await;
    match &result {
        Ok(answer) => limiter.heard(start, &heard(&call, answer)),
        // Nothing was sent: nothing can have been counted.
        Err(UpstreamError::Connect(_) | UpstreamError::NotSentInTime) => attempt.give_back(),
        Err(_) => {}
    }
    result
}

/// Waits until the attempt may start. A permit from before a 429 is not good any more.
async fn admitted(limiter: &Limiter, call: &Call) -> Result<(Permit, Start), UpstreamError> {
    let mut held = call.permit.take();
    loop {
        if call.cycle.time_to_start().is_zero() {
            call.cycle.hurry();
            return Err(UpstreamError::NotSentInTime);
        }
        let permit = match held.take() {
            Some(permit) => permit,
            None => booked(limiter, call).await?,
        };
        if let Some(start) = limiter.start() {
            return Ok((permit, start));
        }
    }
}

async fn booked(limiter: &Limiter, call: &Call) -> Result<Permit, UpstreamError> {
    let start = Instant::now();
    let permits = limiter.permits(call.class, call.cycle.start_by()).await;
    call.cycle.spend(Phase::Queue, start.elapsed());
    if permits.is_err() {
        // There may be calls before the deadline, if not before something has to leave.
        call.cycle.hurry();
    }
    permits?.take().ok_or(UpstreamError::NotSentInTime)
}

/// The permit of an attempt that is under way.
struct Attempt(Option<Permit>);

impl Attempt {
    fn give_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(permit) = self.0.take() {
            permit.spend();
        }
    }
}

fn heard(call: &Call, answer: &Response<Bytes>) -> Heard {
    let headers = answer.headers();
    let throttled = (answer.status() == StatusCode::TOO_MANY_REQUESTS)
        .then(|| error::retry_after(headers).unwrap_or(error::DEFAULT_THROTTLE));
    Heard { operation: call.operation, throttled, told: told(headers) }
}

fn told(headers: &HeaderMap) -> Told {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    Told {
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
        assert_eq!(told(&headers), Told::default());
        headers.insert(COUNT, "17".parse().expect("valid"));
        headers.insert(ALLOWED, "many".parse().expect("valid"));
        headers.insert(RESET, "-1".parse().expect("valid"));
        assert_eq!(told(&headers), Told { count: Some(17), allowed: None, reset: None });
    }
}
