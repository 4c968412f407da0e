//! Who shares the budget of calls and the places for requests and writes: told to all of them whenever
//! it changes.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::app::{App, RequestLimiter};
use crate::domain::Client;
use crate::genesys::CallLimiter;
use crate::ports::BudgetAccount;
use crate::telemetry::ServiceMetrics;

/// What clients share.
#[derive(Clone)]
pub struct ClientWeightsPublisher {
    /// The use cases, with the places for writes.
    pub app: App,
    /// The budget.
    pub limiter: CallLimiter,
    /// The metrics of each of them.
    pub metrics: ServiceMetrics,
    /// The places for requests.
    pub requests: Arc<RequestLimiter>,
}

impl ClientWeightsPublisher {
    /// What is shared of these, and so many places for requests.
    pub fn new(
        app: &App,
        limiter: &CallLimiter,
        requests: NonZeroUsize,
        metrics: &ServiceMetrics,
    ) -> Self {
        let (app, limiter, metrics) = (app.clone(), limiter.clone(), metrics.clone());
        Self { app, limiter, metrics, requests: Arc::new(RequestLimiter::new(requests.get())) }
    }

    /// Sees to it that each of these clients has its part, whether it has called yet or not.
    pub fn publish(&self, client_registry: &[Arc<Client>]) {
        self.metrics.know_clients(client_registry);
        let accounts: Vec<_> =
            client_registry.iter().map(|client| BudgetAccount::from(&**client)).collect();
        self.limiter.set_known_clients(&accounts);
        self.app.set_known_clients(&accounts);
        self.requests.set_known_clients(&accounts);
    }
}
