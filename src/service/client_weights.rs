//! Who shares the budget of calls and the places for requests and writes: told to all of them whenever
//! it changes.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::app::{App, Requests};
use crate::domain::Client;
use crate::genesys::Limiter;
use crate::ports::Payer;
use crate::telemetry::Metrics;

/// What callers share.
#[derive(Clone)]
pub struct Shares {
    /// The use cases, with the places for writes.
    pub app: App,
    /// The budget.
    pub limiter: Limiter,
    /// The figures of each of them.
    pub metrics: Metrics,
    /// The places for requests.
    pub requests: Arc<Requests>,
}

impl Shares {
    /// What is shared of these, and so many places for requests.
    pub fn of(app: &App, limiter: &Limiter, requests: NonZeroUsize, metrics: &Metrics) -> Self {
        let (app, limiter, metrics) = (app.clone(), limiter.clone(), metrics.clone());
        Self { app, limiter, metrics, requests: Arc::new(Requests::at_most(requests.get())) }
    }

    /// Sees to it that each of these callers has its part, whether it has called yet or not.
    pub fn among(&self, callers: &[Arc<Client>]) {
        self.metrics.know_clients(callers);
        let payers: Vec<_> = callers.iter().map(|caller| Payer::from(&**caller)).collect();
        self.limiter.expect(&payers);
        self.app.expect(&payers);
        self.requests.expect(&payers);
    }
}
