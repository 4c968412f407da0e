//! Requests that wait, in start-time fair queueing over the weights of their clients.
//!
//! Each granted call moves its client's virtual time on by one over its weight. The client with the
//! earliest virtual time goes next. A client that was idle starts at the present virtual time: it
//! saves nothing up, and owes nothing for what it was lent.

use std::collections::BTreeMap;

use super::client_usage::ClientUsage;
use super::types::{CallPriority, CallRequest, CallRequestId};

/// Virtual time of one call at weight 1.
const CALL: u128 = 1 << 32;

/// Requests in the order of their arrival, and the virtual time. There are a few hundred at most, so
/// that a look at all of them is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct FairQueue {
    requests: BTreeMap<CallRequestId, CallRequest>,
    last_id: u64,
    virtual_time: u128,
}

impl FairQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Puts a request at the end.
    pub(super) fn push(&mut self, request: CallRequest) -> CallRequestId {
        self.last_id += 1;
        let id = CallRequestId(self.last_id);
        self.requests.insert(id, request);
        id
    }

    /// Takes a request out; `None` if it is not there any more.
    pub(super) fn remove(&mut self, id: CallRequestId) -> Option<CallRequest> {
        self.requests.remove(&id)
    }

    /// The request that came first.
    pub(super) fn first(&self) -> Option<CallRequestId> {
        self.requests.first_key_value().map(|(id, _)| *id)
    }

    /// The first request of each client and class.
    pub(super) fn heads(&self) -> Vec<(CallRequestId, CallRequest)> {
        let mut heads = BTreeMap::new();
        for (id, request) in &self.requests {
            heads.entry((request.account.id, request.priority)).or_insert((*id, *request));
        }
        heads.into_values().collect()
    }

    /// Calls that each client waits for, in this class and those above it.
    pub(super) fn calls_up_to(&self, priority: CallPriority) -> BTreeMap<u64, u64> {
        let mut calls = BTreeMap::new();
        for request in self.requests.values().filter(|request| request.priority <= priority) {
            *calls.entry(request.account.id).or_default() += u64::from(request.calls);
        }
        calls
    }

    /// Calls that `other` gets until `client` had `calls` more, in the fair order.
    pub(super) fn before(&self, client: &ClientUsage, calls: u64, other: &ClientUsage) -> u64 {
        let until = self.start_tag(client) + u128::from(calls) * CALL / u128::from(client.weight());
        let ahead = until.saturating_sub(self.start_tag(other));
        let calls = (ahead * u128::from(other.weight())).div_ceil(CALL);
        u64::try_from(calls).unwrap_or(u64::MAX)
    }

    /// Whether a client waits.
    pub(super) fn waits(&self, client: u64) -> bool {
        self.requests.values().any(|request| request.account.id == client)
    }

    /// Where a client stands in the fair order; the least goes first.
    pub(super) fn start_tag(&self, client: &ClientUsage) -> u128 {
        client.virtual_finish.max(self.virtual_time)
    }

    /// Calls of a client were granted.
    pub(super) fn advance(&mut self, client: &mut ClientUsage, calls: u32) {
        let start = self.start_tag(client);
        self.virtual_time = start;
        client.virtual_finish = start + u128::from(calls) * CALL / u128::from(client.weight());
    }
}
