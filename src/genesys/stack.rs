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

/// Numbers of the stack.
#[derive(Clone, Debug)]
pub struct StackSettings {
    /// Time of one attempt under the usual deadline.
    pub attempt_timeout: Duration,
    /// The usual deadline of a request.
    pub deadline: Duration,
    /// Waits between attempts where upstream names none.
    pub backoff: Backoff,
    /// Base URL of the API, without a slash at its end.
    pub api_base: String,
    /// Base URL of the login host, without a slash at its end.
    pub login_base: String,
}

/// What both stacks are made of.
#[derive(Clone)]
pub struct StackParts {
    /// Numbers.
    pub settings: StackSettings,
    /// The wire.
    pub transport: HttpTransport,
    /// Where everything is counted.
    pub recorder: Arc<dyn MetricsRecorder>,
    /// Where jitter comes from.
    pub jitter: JitterSource,
    /// The time.
    pub clock: MonotonicClock,
}

/// The stack of the platform API, and what `/readyz` tells of it.
pub struct ApiStack {
    /// The stack.
    pub transport: HttpTransport,
    /// Its adaptive throttles.
    pub throttles: ApiThrottles,
    /// Its retry budget.
    pub retries: Arc<RetryPolicy>,
}

/// The stack of the platform API within these limits.
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
    let (asked, call_meter) = (throttles.clone(), Arc::clone(&recorder));
    let repeating = Arc::clone(&retries);
    let attempt = AttemptTimeout::new(settings.attempt_timeout, settings.deadline);
    let stack = ServiceBuilder::new()
        // Outermost, so that nothing below can be late.
        .layer(layer_fn(deadline::layer))
        // One record a call, whatever it takes.
        .layer(layer_fn(move |inner| observe::calls(Arc::clone(&call_meter), inner)))
        // Outside auth: each attempt gets a live token.
        .layer(layer_fn(move |inner| retry::layer(Arc::clone(&repeating), inner)))
        // Asked before a token is fetched for a call that is not made.
        .layer(layer_fn(move |inner| throttle::by_operation(asked.clone(), inner)))
        // Outside the rate limit: a token spends none of its budget.
        .layer(layer_fn(move |inner| auth::layer(tokens.clone(), inner)))
        // Takes the permit that a call brings, or waits for one.
        .layer(layer_fn(move |inner| rate_limit::layer(limits.clone(), inner)))
        // Inside the rate limit: waiting for that is not the upstream being slow.
        .layer(layer_fn(move |inner| timeout::layer(attempt.clone(), inner)))
        // One record an attempt.
        .layer(layer_fn(move |inner| observe::attempts(Arc::clone(&recorder), inner)))
        // From path to host.
        .layer(layer_fn(move |inner| base_uri::layer(&api_base, inner)))
        .service(transport);
    ApiStack { transport: stack, throttles, retries }
}

/// The stack of the token endpoint. It has no retries: the task that fetches tokens has a schedule
/// of its own.
pub fn token_stack(parts: &StackParts) -> (HttpTransport, Arc<UpstreamThrottle>) {
    let StackParts { settings, transport, recorder, jitter, clock } = parts.clone();
    let throttle = Arc::new(UpstreamThrottle::new("token", jitter, Arc::clone(&recorder), clock));
    let (asked, login_base) = (Arc::clone(&throttle), settings.login_base);
    let attempt = AttemptTimeout::new(settings.attempt_timeout, settings.deadline);
    let stack = ServiceBuilder::new()
        .layer(layer_fn(move |inner| throttle::layer(Arc::clone(&asked), inner)))
        .layer(layer_fn(move |inner| timeout::layer(attempt.clone(), inner)))
        .layer(layer_fn(move |inner| observe::attempts(Arc::clone(&recorder), inner)))
        // Inside the records of attempts, so that they see it.
        .layer(layer_fn(mark_unusable))
        .layer(layer_fn(move |inner| base_uri::layer(&login_base, inner)))
        .service(transport);
    (stack, throttle)
}
