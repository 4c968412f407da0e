//! Publishes the clients and their weights to everything that they share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::app::{App, RequestLimiter};
use crate::domain::Client;
use crate::genesys::CallLimiter;
use crate::ports::BudgetAccount;
use crate::telemetry::ServiceMetrics;

/// The resources that clients share.
#[derive(Clone)]
pub struct ClientWeightsPublisher {
    /// The use cases, with the limits of concurrent writes.
    pub app: App,
    pub limiter: CallLimiter,
    pub metrics: ServiceMetrics,
    /// The limit of concurrent requests.
    pub requests: Arc<RequestLimiter>,
}

impl ClientWeightsPublisher {
    /// A publisher to these parts, with `requests` concurrent requests at most.
    pub fn new(
        app: &App,
        limiter: &CallLimiter,
        requests: NonZeroUsize,
        metrics: &ServiceMetrics,
    ) -> Self {
        let (app, limiter, metrics) = (app.clone(), limiter.clone(), metrics.clone());
        Self { app, limiter, metrics, requests: Arc::new(RequestLimiter::new(requests.get())) }
    }

    /// Gives each of these clients its share, even if it has sent no request yet.
    pub fn publish(&self, clients: &[Arc<Client>]) {
        self.metrics.know_clients(clients);
        let accounts: Vec<_> =
            clients.iter().map(|client| BudgetAccount::from(&**client)).collect();
        self.limiter.set_known_clients(&accounts);
        self.app.set_known_clients(&accounts);
        self.requests.set_known_clients(&accounts);
    }
}
