//! The last requests about conversations, for `GET …/trace`: one ring for the process.
//!
//! There is none unless `debug.enabled`. It holds no value and no header but `User-Agent`; what it
//! knows of upstream is in each request's own trail, which goes on after the answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::access::Now;
use crate::domain::ConversationId;
use crate::error::{Code, Effect};
use crate::ports::Cycle;

/// Requests that are kept; with all that their trails may hold, about 20 MiB.
const MOST: usize = 1000;

/// Characters of a `User-Agent` that are kept.
const LONGEST_AGENT: usize = 200;

/// The ring. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct RecentRequests(Arc<Mutex<VecDeque<Arc<RecentRequest>>>>);

/// Who asked, and when, as it is known at the arrival.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The wall time, as RFC 3339 has it.
    pub at: String,
    /// The other end of the connection; a proxy, where there is one.
    pub address: Option<SocketAddr>,
    /// What the caller calls its program.
    pub user_agent: Option<String>,
}

/// One request.
#[derive(Debug)]
pub struct RecentRequest {
    /// Who and when.
    pub arrival: Arrival,
    /// When, on the clock that attempts are timed by.
    pub arrived: Instant,
    /// The conversation.
    pub conversation: ConversationId,
    /// HTTP method.
    pub method: String,
    /// The pattern that matched.
    pub route: String,
    /// Status of the answer; 499 if the caller hung up before there was one.
    pub status: u16,
    /// Code of the problem that was answered.
    pub code: Option<Code>,
    /// What it was known to have done when it was answered.
    pub effect: Effect,
    /// From the arrival of the request head to the answer.
    pub took: Duration,
    /// Id of the request.
    pub request_id: String,
    /// Its spending and its trail, also of what was done after the answer.
    pub cycle: Cycle,
}

impl Arrival {
    /// A request that arrives now.
    pub fn now(address: Option<SocketAddr>, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent.map(|name| name.chars().take(LONGEST_AGENT).collect());
        Self { at: Now.to_string(), address, user_agent }
    }
}

impl RecentRequests {
    /// Keeps a request, in the place of the oldest if there is no other.
    pub fn add(&self, request: RecentRequest) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back(Arc::new(request));
    }

    /// Those about a conversation, the newest first.
    pub fn about(&self, conversation: ConversationId) -> Vec<Arc<RecentRequest>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().filter(|kept| kept.conversation == conversation).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(conversation: ConversationId, number: usize) -> RecentRequest {
        RecentRequest {
            arrival: Arrival::now(None, Some(&"a".repeat(LONGEST_AGENT + 1))),
            arrived: Instant::now(),
            conversation,
            method: "GET".to_owned(),
            route: "/".to_owned(),
            status: 200,
            code: None,
            effect: Effect::NotApplied,
            took: Duration::ZERO,
            request_id: number.to_string(),
            cycle: Cycle::new(Instant::now()),
        }
    }

    #[test]
    fn the_last_thousand_are_kept_and_told_by_conversation_newest_first() {
        let id = |text: &str| text.parse::<ConversationId>().expect("an id");
        let (one, other) = (
            id("8e0f1a2b-0000-4000-8000-000000000001"),
            id("8e0f1a2b-0000-4000-8000-000000000002"),
        );
        let ring = RecentRequests::default();
        for number in 0..MOST + 2 {
            ring.add(request(if number % 2 == 0 { one } else { other }, number));
        }
        let kept = ring.about(one);
        assert_eq!(kept.len(), MOST / 2);
        assert_eq!((kept[0].request_id.as_str(), MOST), ("1000", 1000));
        assert_eq!(kept[MOST / 2 - 1].request_id, "2");
        assert_eq!(kept[0].arrival.user_agent.as_ref().map(String::len), Some(LONGEST_AGENT));
    }
}
