//! The last requests for traced conversations, for `GET …/trace`, in one ring buffer.
//!
//! A conversation is traced while an operator's lease on it lasts, and always with `debug.enabled`. The
//! buffer contains no value, and no header except `User-Agent`. The attempt log of each request holds
//! its upstream calls, also those after the answer.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::clock;
use crate::domain::ConversationId;
use crate::error::{Effect, ErrorCode};
use crate::ports::RequestContext;

const MAX_REQUESTS: usize = 1000;

const MAX_SHOWN: usize = 100;

const MAX_USER_AGENT_BYTES: usize = 200;

const MAX_LEASES: usize = 32;

/// The ring buffer. Clones share it. The attempt log of a request is bounded.
#[derive(Clone, Debug, Default)]
pub struct RecentRequests(Arc<RecentRequestsInner>);

#[derive(Debug, Default)]
struct RecentRequestsInner {
    keeps_all: bool,
    requests: Mutex<VecDeque<Arc<RecentRequest>>>,
    /// When the trace of each conversation ends.
    leases: RwLock<BTreeMap<ConversationId, Instant>>,
}

#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// The time of arrival, in RFC 3339 format.
    pub at: String,
    /// The peer of the connection, which may be a proxy.
    pub address: Option<SocketAddr>,
    pub user_agent: Option<String>,
}

#[derive(Debug)]
pub struct RecentRequest {
    pub arrival: RequestOrigin,
    /// The time of arrival, on the clock of the attempts.
    pub arrived: Instant,
    pub conversation: ConversationId,
    pub method: String,
    pub route: String,
    /// Status of the answer; 499 if the client disconnected before it.
    pub status: u16,
    pub code: Option<ErrorCode>,
    /// Its effect, as known at the time of the answer.
    pub effect: Effect,
    /// Time from the arrival of the request head to the answer.
    pub took: Duration,
    pub request_id: String,
    /// Its durations and attempts, also those after the answer.
    pub context: RequestContext,
}

impl RequestOrigin {
    pub fn now(address: Option<SocketAddr>, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent.map(|name| name.chars().take(MAX_USER_AGENT_BYTES).collect());
        Self { at: clock::timestamp(), address, user_agent }
    }
}

impl RecentRequests {
    /// An empty buffer, for all conversations or only for those with a lease.
    pub fn new(keeps_all: bool) -> Self {
        Self(Arc::new(RecentRequestsInner { keeps_all, ..RecentRequestsInner::default() }))
    }

    /// Whether every conversation is traced.
    pub fn keeps_all(&self) -> bool {
        self.0.keeps_all
    }

    /// Whether a conversation may be traced. A quick check for each request.
    pub fn is_active(&self) -> bool {
        self.0.keeps_all || !self.0.leases.read().is_empty()
    }

    /// Whether this conversation is traced now.
    pub fn keeps(&self, conversation: ConversationId) -> bool {
        let is_live = |ends: &Instant| Instant::now() < *ends;
        self.0.keeps_all || self.0.leases.read().get(&conversation).is_some_and(is_live)
    }

    /// Traces this conversation for `time` from now. `false` if too many others are traced.
    pub fn lease(&self, conversation: ConversationId, time: Duration) -> bool {
        let now = Instant::now();
        let mut leases = self.0.leases.write();
        leases.retain(|_, ends| now < *ends);
        if !self.0.keeps_all {
            self.0.requests.lock().retain(|one| leases.contains_key(&one.conversation));
        }
        let has_room = leases.len() < MAX_LEASES || leases.contains_key(&conversation);
        if has_room {
            leases.insert(conversation, now + time);
        }
        has_room
    }

    /// Adds a request. Removes the oldest one if the buffer is full.
    pub fn add(&self, request: RecentRequest) {
        let mut requests = self.0.requests.lock();
        if requests.len() == MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Arc::new(request));
    }

    /// The last requests for a conversation, newest first, and the number of those left out.
    pub fn about(&self, conversation: ConversationId) -> (Vec<Arc<RecentRequest>>, usize) {
        let requests = self.0.requests.lock();
        let mut about =
            requests.iter().rev().filter(|request| request.conversation == conversation);
        let shown = about.by_ref().take(MAX_SHOWN).cloned().collect();
        (shown, about.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(conversation: ConversationId, number: usize) -> RecentRequest {
        RecentRequest {
            arrival: RequestOrigin::now(None, Some(&"a".repeat(MAX_USER_AGENT_BYTES + 1))),
            arrived: Instant::now(),
            conversation,
            method: "GET".to_owned(),
            route: "/".to_owned(),
            status: 200,
            code: None,
            effect: Effect::NotApplied,
            took: Duration::ZERO,
            request_id: number.to_string(),
            context: RequestContext::new(Instant::now()),
        }
    }

    #[test]
    fn the_last_thousand_requests_are_listed_newest_first() {
        let id = |text: &str| text.parse::<ConversationId>().expect("an id");
        let (one, other) = (
            id("8e0f1a2b-0000-4000-8000-000000000001"),
            id("8e0f1a2b-0000-4000-8000-000000000002"),
        );
        let ring = RecentRequests::default();
        for number in 0..MAX_REQUESTS + 2 {
            ring.add(request(if number < 50 { one } else { other }, number));
        }
        let (kept, left_out) = ring.about(one);
        assert_eq!((kept.len(), left_out), (48, 0));
        assert_eq!((kept[0].request_id.as_str(), kept[47].request_id.as_str()), ("49", "2"));
        assert_eq!(
            kept[0].arrival.user_agent.as_ref().map(String::len),
            Some(MAX_USER_AGENT_BYTES)
        );
        let (shown, left_out) = ring.about(other);
        assert_eq!((shown.len(), left_out), (MAX_SHOWN, MAX_REQUESTS - 48 - MAX_SHOWN));
        assert_eq!(shown[0].request_id, (MAX_REQUESTS + 1).to_string());
    }
}
