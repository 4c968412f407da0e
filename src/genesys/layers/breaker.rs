//! Refuses calls at once while upstream fails, by the circuit breaker of that upstream.
//!
//! It is asked before a token is fetched and told after the time-out, so a call that hangs counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};

use super::call;
use crate::clock::Monotonic;
use crate::genesys::error::UpstreamError;
use crate::genesys::transport::Transport;
use crate::policy::{Breaker, BreakerSettings};
use crate::ports::{BreakerState, Meter, Operation};

/// The breaker of one upstream, shared by all its calls.
pub struct Guard {
    upstream: &'static str,
    breaker: Mutex<Breaker>,
    meter: Arc<dyn Meter>,
    clock: Monotonic,
}

impl Guard {
    /// A closed breaker for the upstream of this name.
    pub fn new(upstream: &'static str, meter: Arc<dyn Meter>, clock: Monotonic) -> Self {
        meter.breaker(upstream, BreakerState::Closed);
        let breaker = Mutex::new(Breaker::new(BreakerSettings::default()));
        Self { upstream, breaker, meter, clock }
    }

    /// Its state, for `/readyz?verbose`.
    pub fn state(&self) -> BreakerState {
        state_of(&self.breaker())
    }

    async fn run(
        &self,
        inner: Transport,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let asked = self.breaker().ask(self.clock.now());
        let ticket = asked.map_err(|retry_after| UpstreamError::BreakerOpen { retry_after })?;
        let result = inner.exchange(request).await;
        let failed = match &result {
            Ok(answer) => Some(answer.status().is_server_error()),
            Err(error) => error.is_upstream_failure(),
        };
        let (mut breaker, now) = (self.breaker(), self.clock.now());
        let changed = match failed {
            Some(failed) => breaker.tell(ticket, failed, now),
            None => breaker.hand_back(ticket, now),
        };
        if changed {
            let state = state_of(&breaker);
            drop(breaker);
            tracing::warn!(upstream = self.upstream, ?state, "circuit breaker changed");
            self.meter.breaker(self.upstream, state);
        }
        result
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state_of(breaker: &Breaker) -> BreakerState {
    match (breaker.is_closed(), breaker.is_half_open()) {
        (true, _) => BreakerState::Closed,
        (false, true) => BreakerState::HalfOpen,
        (false, false) => BreakerState::Open,
    }
}

/// The breakers of the platform API: analytics fails for reasons of its own, and must not take the
/// attributes along.
#[derive(Clone)]
pub struct ApiGuards {
    /// Of reads and writes.
    pub conversations: Arc<Guard>,
    /// Of the details query.
    pub analytics: Arc<Guard>,
}

/// Guards each operation of the API by the breaker of its upstream.
pub fn by_operation(guards: ApiGuards, inner: Transport) -> Transport {
    Transport::of(move |request: Request<Bytes>| {
        let guard = match call(&request).operation {
            Operation::Analytics => Arc::clone(&guards.analytics),
            Operation::Read | Operation::Patch | Operation::Token => {
                Arc::clone(&guards.conversations)
            }
        };
        let inner = inner.clone();
        async move { guard.run(inner, request).await }
    })
}

/// Guards an upstream.
pub fn layer(guard: Arc<Guard>, inner: Transport) -> Transport {
    Transport::of(move |request: Request<Bytes>| {
        let (inner, guard) = (inner.clone(), Arc::clone(&guard));
        async move { guard.run(inner, request).await }
    })
}
