//! The order of the layers between a client method and the wire.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use tower::ServiceBuilder;

use super::layers::attempt::AttemptSettings;
use super::layers::rate_limit::CallLimiters;
use super::layers::retry::RetryPolicy;
use super::layers::throttle::{UpstreamThrottle, UpstreamThrottles};
use super::layers::{ApiService, attempt, auth, from_fn, rate_limit, retry, send, throttle};
use super::random::JitterSource;
use super::token::TokenCache;
use super::token::fetch;
use super::transport::HttpTransport;
use crate::clock::MonotonicClock;
use crate::policy::{Backoff, RetryBudget};
use crate::ports::MetricsRecorder;

/// The parts that both stacks need.
pub struct StackParts {
    /// Time of one attempt under the default deadline.
    pub attempt_timeout: Duration,
    pub deadline: Duration,
    pub backoff: Backoff,
    pub transport: HttpTransport,
    pub user_agent: HeaderValue,
    pub recorder: Arc<MetricsRecorder>,
    pub jitter: JitterSource,
    pub clock: MonotonicClock,
}

/// The layers of the platform API that others look into, too.
pub type ApiLayers = (Arc<RetryPolicy>, UpstreamThrottles, TokenCache, CallLimiters);

impl StackParts {
    pub fn throttles(&self) -> UpstreamThrottles {
        let throttle = |upstream| {
            let (jitter, recorder) = (self.jitter.clone(), Arc::clone(&self.recorder));
            Arc::new(UpstreamThrottle::new(upstream, jitter, recorder, self.clock))
        };
        UpstreamThrottles {
            conversations: throttle("conversations"),
            analytics: throttle("analytics"),
            token: throttle("token"),
        }
    }

    pub fn retries(&self) -> Arc<RetryPolicy> {
        Arc::new(RetryPolicy {
            backoff: self.backoff,
            budget: Mutex::new(RetryBudget::default()),
            jitter: self.jitter.clone(),
            recorder: Arc::clone(&self.recorder),
            clock: self.clock,
        })
    }

    fn attempts(&self) -> AttemptSettings {
        AttemptSettings {
            least: self.attempt_timeout,
            deadline: self.deadline,
            usual: Arc::default(),
            recorder: Arc::clone(&self.recorder),
        }
    }
}

/// Builds the stack of the platform API below the URL `base`.
pub fn api_stack(
    parts: &StackParts,
    base: &str,
    (retries, throttles, tokens, limits): ApiLayers,
) -> ApiService {
    ServiceBuilder::new()
        // Outermost: records each call once. Outside auth: each attempt gets a valid token.
        .layer(from_fn(retries, retry::run))
        // Outside auth: a refused call needs no token.
        .layer(from_fn(throttles, throttle::run))
        // Outside the rate limit: fetching a token does not use the call budget.
        .layer(from_fn(tokens, auth::authorise))
        // Uses the permit of the call, or waits for one.
        .layer(from_fn(limits, rate_limit::run))
        // Inside the rate limit: waiting for a permit does not count as a slow upstream.
        .layer(from_fn(parts.attempts(), attempt::run))
        .service(send::service(base, parts.transport.clone(), parts.user_agent.clone()))
}

/// Builds the stack of the token endpoint. It has no retries: the task that fetches tokens has its
/// own schedule.
pub fn token_stack(parts: &StackParts, base: &str, throttles: UpstreamThrottles) -> ApiService {
    ServiceBuilder::new()
        .layer(from_fn(throttles, throttle::run))
        .layer(from_fn(parts.attempts(), attempt::run))
        // Inside the records, which count an unusable token as a failure.
        .layer(from_fn((), fetch::check))
        .service(send::service(base, parts.transport.clone(), parts.user_agent.clone()))
}
