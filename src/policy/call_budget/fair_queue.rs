//! Queued requests, and the fair order of their clients (start-time fair queueing).
//!
//! Each granted call advances its client's virtual time by `1 / weight`. The client with the earliest
//! virtual time goes next. An idle client starts again at the current virtual time: it neither saves
//! up unused calls nor owes calls that it borrowed.

use std::collections::BTreeMap;

use super::client_usage::ClientUsage;
use super::types::{CallPriority, CallRequest, CallRequestId};

/// Virtual time of one call at weight 1.
const CALL: u128 = 1 << 32;

/// Requests in the order of their arrival, and the virtual time. The queue holds a few hundred
/// requests at most, so scanning it is cheap.
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

    /// Appends a request.
    pub(super) fn push(&mut self, request: CallRequest) -> CallRequestId {
        self.last_id += 1;
        let id = CallRequestId(self.last_id);
        self.requests.insert(id, request);
        id
    }

    /// Removes a request; `None` if it has left the queue.
    pub(super) fn remove(&mut self, id: CallRequestId) -> Option<CallRequest> {
        self.requests.remove(&id)
    }

    /// The oldest request.
    pub(super) fn first(&self) -> Option<CallRequestId> {
        self.requests.first_key_value().map(|(id, _)| *id)
    }

    /// The oldest request of each client and priority.
    pub(super) fn heads(&self) -> Vec<(CallRequestId, CallRequest)> {
        let mut heads = BTreeMap::new();
        for (id, request) in &self.requests {
            heads.entry((request.account.id, request.priority)).or_insert((*id, *request));
        }
        heads.into_values().collect()
    }

    /// Queued calls of each client, of this priority and higher ones.
    pub(super) fn calls_up_to(&self, priority: CallPriority) -> BTreeMap<u64, u64> {
        let mut calls = BTreeMap::new();
        for request in self.requests.values().filter(|request| request.priority <= priority) {
            *calls.entry(request.account.id).or_default() += u64::from(request.calls);
        }
        calls
    }

    /// How many calls the fair order gives `other` before `client` has had `calls` more.
    pub(super) fn before(&self, client: &ClientUsage, calls: u64, other: &ClientUsage) -> u64 {
        let until = self.start_tag(client) + u128::from(calls) * CALL / u128::from(client.weight());
        let ahead = until.saturating_sub(self.start_tag(other));
        let calls = (ahead * u128::from(other.weight())).div_ceil(CALL);
        u64::try_from(calls).unwrap_or(u64::MAX)
    }

    /// Whether a client has a queued request.
    pub(super) fn waits(&self, client: u64) -> bool {
        self.requests.values().any(|request| request.account.id == client)
    }

    /// The client's virtual start time. The lowest goes first.
    pub(super) fn start_tag(&self, client: &ClientUsage) -> u128 {
        client.virtual_finish.max(self.virtual_time)
    }

    /// Advances the virtual time of a client by its granted calls.
    pub(super) fn advance(&mut self, client: &mut ClientUsage, calls: u32) {
        let start = self.start_tag(client);
        self.virtual_time = start;
        client.virtual_finish = start + u128::from(calls) * CALL / u128::from(client.weight());
    }
}
