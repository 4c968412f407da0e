//! Metrics by client: who asks how much, with which success, and on whose account upstream is called.
//!
//! A client is a label only by the name that it is configured with, so nobody makes labels up; where
//! anybody may call there are none of these metrics.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::domain::Client;
use crate::ports::BudgetAccount;

/// What is counted of each client.
#[derive(Default)]
pub(super) struct ClientMetrics {
    requests: Family<AnswerLabels, Counter>,
    calls: Family<ClientLabels, Counter>,
    /// Those of `calls`, by the account.
    accounts: RwLock<BTreeMap<u64, Counter>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AnswerLabels {
    client: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientLabels {
    client: String,
}

impl ClientMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "client_requests",
            "Requests answered, by caller; 429 is over its own rate",
            self.requests.clone(),
        );
        registry.register(
            "client_upstream_calls",
            "Calls made on the account of a caller",
            self.calls.clone(),
        );
    }

    /// These are the clients; what others have had stays.
    pub(super) fn know<'a>(&self, clients: impl Iterator<Item = &'a Client>) {
        let account = |client: &Client| {
            let labels = ClientLabels { client: client.name.as_str().to_owned() };
            (BudgetAccount::from(client).id, self.calls.get_or_create_owned(&labels))
        };
        let accounts = clients.map(account).collect();
        *self.accounts.write() = accounts;
    }

    pub(super) fn answered(&self, client: &str, status: u16) {
        let labels = AnswerLabels { client: client.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn called(&self, account: BudgetAccount) {
        if account == BudgetAccount::SHARED {
            return;
        }
        let accounts = self.accounts.read();
        if let Some(calls) = accounts.get(&account.id) {
            calls.inc();
        }
    }
}
