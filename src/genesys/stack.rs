//! The order of the layers between a client method and the wire.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower::ServiceBuilder;
use tower::layer::layer_fn;

use super::layers::rate_limit::CallLimiters;
use super::layers::retry::RetryPolicy;
use super::layers::throttle::{ApiThrottles, UpstreamThrottle};
use super::layers::timeout::AttemptTimeout;
use super::layers::{auth, base_uri, deadline, observe, rate_limit, retry, throttle, timeout};
use super::random::JitterSource;
use super::token::TokenCache;
use super::token::fetch::mark_unusable;
use super::transport::HttpTransport;
use crate::clock::MonotonicClock;
use crate::policy::{Backoff, RetryBudget};
use crate::ports::MetricsRecorder;

/// Settings of the stack.
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// Time of one attempt under the default deadline.
    pub attempt_timeout: Duration,
    /// The default deadline of a request.
    pub deadline: Duration,
    /// Waits between attempts if upstream sends no `Retry-After`.
    pub backoff: Backoff,
    /// Base URL of the API, without a trailing slash.
    pub api_base: String,
    /// Base URL of the login host, without a trailing slash.
    pub login_base: String,
}

/// The parts that both stacks need.
#[derive(Clone)]
pub struct StackParts {
    /// Settings.
    pub settings: StackSettings,
    /// Sends requests.
    pub transport: HttpTransport,
    /// Records metrics.
    pub recorder: Arc<dyn MetricsRecorder>,
    /// Source of jitter.
    pub jitter: JitterSource,
    /// The clock.
    pub clock: MonotonicClock,
}

/// The stack of the platform API, and its parts that `/readyz` shows.
pub struct ApiStack {
    /// The stack.
    pub transport: HttpTransport,
    /// Its adaptive throttles.
    pub throttles: ApiThrottles,
    /// Its retry budget.
    pub retries: Arc<RetryPolicy>,
}

/// Builds the stack of the platform API with these limits.
pub fn api_stack(parts: &StackParts, tokens: TokenCache, limits: CallLimiters) -> ApiStack {
    let StackParts { settings, transport, recorder, jitter, clock } = parts.clone();
    let throttle = |upstream| {
        let (jitter, recorder) = (jitter.clone(), Arc::clone(&recorder));
        Arc::new(UpstreamThrottle::new(upstream, jitter, recorder, clock))
    };
    let throttles =
        ApiThrottles { conversations: throttle("conversations"), analytics: throttle("analytics") };
    let retries = Arc::new(RetryPolicy {
        backoff: settings.backoff,
        budget: Mutex::new(RetryBudget::default()),
        jitter,
        recorder: Arc::clone(&recorder),
        clock,
    });
    let api_base = settings.api_base;
    let (layer_throttle, call_meter) = (throttles.clone(), Arc::clone(&recorder));
    let retry_policy = Arc::clone(&retries);
    let attempt = AttemptTimeout::new(settings.attempt_timeout, settings.deadline);
    let stack = ServiceBuilder::new()
        // Outermost: ends the call at the deadline of the request.
        .layer(layer_fn(deadline::layer))
        // Records each call once, with all its attempts.
        .layer(layer_fn(move |inner| observe::calls(Arc::clone(&call_meter), inner)))
        // Outside auth: each attempt gets a valid token.
        .layer(layer_fn(move |inner| retry::layer(Arc::clone(&retry_policy), inner)))
        // Outside auth: a refused call needs no token.
        .layer(layer_fn(move |inner| throttle::by_operation(layer_throttle.clone(), inner)))
        // Outside the rate limit: fetching a token does not use the call budget.
        .layer(layer_fn(move |inner| auth::layer(tokens.clone(), inner)))
        // Uses the permit of the call, or waits for one.
        .layer(layer_fn(move |inner| rate_limit::layer(limits.clone(), inner)))
        // Inside the rate limit: waiting for a permit does not count as a slow upstream.
        .layer(layer_fn(move |inner| timeout::layer(attempt.clone(), inner)))
        // Records each attempt.
        .layer(layer_fn(move |inner| observe::attempts(Arc::clone(&recorder), inner)))
        // Adds the host to the path.
        .layer(layer_fn(move |inner| base_uri::layer(&api_base, inner)))
        .service(transport);
    ApiStack { transport: stack, throttles, retries }
}

/// Builds the stack of the token endpoint. It has no retries: the task that fetches tokens has its
/// own schedule.
pub fn token_stack(parts: &StackParts) -> (HttpTransport, Arc<UpstreamThrottle>) {
    let StackParts { settings, transport, recorder, jitter, clock } = parts.clone();
    let throttle = Arc::new(UpstreamThrottle::new("token", jitter, Arc::clone(&recorder), clock));
    let (layer_throttle, login_base) = (Arc::clone(&throttle), settings.login_base);
    let attempt = AttemptTimeout::new(settings.attempt_timeout, settings.deadline);
    let stack = ServiceBuilder::new()
        .layer(layer_fn(move |inner| throttle::layer(Arc::clone(&layer_throttle), inner)))
        .layer(layer_fn(move |inner| timeout::layer(attempt.clone(), inner)))
        .layer(layer_fn(move |inner| observe::attempts(Arc::clone(&recorder), inner)))
        // Inside the records, which count an unusable token as a failure.
        .layer(layer_fn(mark_unusable))
        .layer(layer_fn(move |inner| base_uri::layer(&login_base, inner)))
        .service(transport);
    (stack, throttle)
}
