//! Metrics per client: its requests by status, and the upstream calls on its account.
//!
//! The label is the configured name of the client, so requests cannot create labels. Without
//! configured clients, these metrics are empty.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::metric_types::MetricRegistry;
use crate::domain::Client;
use crate::ports::BudgetAccount;

/// The metrics of all clients.
pub(super) struct ClientMetrics {
    requests: Family<AnswerLabels, Counter>,
    calls: Family<[(&'static str, String); 1], Counter>,
    /// The counters of `calls`, by account.
    accounts: RwLock<BTreeMap<u64, Counter>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AnswerLabels {
    client: String,
    status: u16,
}

impl ClientMetrics {
    pub(super) fn new(to: &mut MetricRegistry) -> Self {
        let requests = "Requests answered, by client; 429 means that it exceeded its own rate";
        let calls = "Upstream calls on the account of a client";
        Self {
            requests: to.add("client_requests", requests, Family::default()),
            calls: to.add("client_upstream_calls", calls, Family::default()),
            accounts: RwLock::default(),
        }
    }

    /// Replaces the list of clients. The counts of former clients remain.
    pub(super) fn set_clients<'a>(&self, clients: impl Iterator<Item = &'a Client>) {
        let account = |client: &Client| {
            let labels = [("client", client.name.as_str().to_owned())];
            (BudgetAccount::from(client).id, self.calls.get_or_create_owned(&labels))
        };
        *self.accounts.write() = clients.map(account).collect();
    }

    pub(super) fn answered(&self, client: &str, status: u16) {
        let labels = AnswerLabels { client: client.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn called(&self, account: BudgetAccount) {
        // The shared account is of no client.
        if let Some(calls) = self.accounts.read().get(&account.id) {
            calls.inc();
        }
    }
}
