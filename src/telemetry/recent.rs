//! The last requests about conversations, for `GET …/trace`: one ring for the process.
//!
//! There is none unless `debug.enabled`. It holds no value and no header but `User-Agent`; what it
//! knows of upstream is in each request's own trail, which goes on after the answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::access_log::Now;
use crate::domain::ConversationId;
use crate::error::{Code, Effect};
use crate::ports::{Cycle, Trail};

/// Requests that are kept.
const MOST: usize = 1000;

/// Bytes that they may take, as far as is known when they are added: what a request does after its
/// answer comes on top, at most 16 KiB each.
const MOST_BYTES: usize = 8 << 20;

/// Requests that are told of one conversation.
const MOST_TOLD: usize = 100;

/// What a request takes beside its texts and its trail.
const OVERHEAD: usize = 512;

/// Characters of a `User-Agent` that are kept.
const LONGEST_AGENT: usize = 200;

/// The ring. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct RecentRequests(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// With the bytes that each was taken for.
    requests: VecDeque<(usize, Arc<RecentRequest>)>,
    bytes: usize,
}

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

impl RecentRequest {
    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let agent = self.arrival.user_agent.as_ref().map_or(0, String::len);
        let texts = agent + self.method.len() + self.route.len() + self.request_id.len();
        OVERHEAD + texts + self.cycle.trail().map_or(0, Trail::bytes)
    }
}

impl RecentRequests {
    /// Keeps a request, in the place of the oldest if there is no other.
    pub fn add(&self, request: RecentRequest) {
        let bytes = request.bytes();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.requests.len() >= MOST || kept.bytes + bytes > MOST_BYTES {
            let Some((freed, _)) = kept.requests.pop_front() else { break };
            kept.bytes -= freed;
        }
        kept.bytes += bytes;
        kept.requests.push_back((bytes, Arc::new(request)));
    }

    /// The last ones about a conversation, the newest first, and how many more there are.
    pub fn about(&self, conversation: ConversationId) -> (Vec<Arc<RecentRequest>>, usize) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = kept.requests.iter().rev().map(|(_, request)| request);
        let mut about = requests.filter(|request| request.conversation == conversation);
        let told = about.by_ref().take(MOST_TOLD).cloned().collect();
        (told, about.count())
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
            ring.add(request(if number < 50 { one } else { other }, number));
        }
        let (kept, left_out) = ring.about(one);
        assert_eq!((kept.len(), left_out), (48, 0));
        assert_eq!((kept[0].request_id.as_str(), kept[47].request_id.as_str()), ("49", "2"));
        assert_eq!(kept[0].arrival.user_agent.as_ref().map(String::len), Some(LONGEST_AGENT));
        let (told, left_out) = ring.about(other);
        assert_eq!((told.len(), left_out), (MOST_TOLD, MOST - 48 - MOST_TOLD));
        assert_eq!(told[0].request_id, (MOST + 1).to_string());
    }

    #[test]
    fn large_requests_push_out_more_than_one() {
        let id = "8e0f1a2b-0000-4000-8000-000000000001".parse().expect("an id");
        let ring = RecentRequests::default();
        for number in 0..MOST {
            let cycle = Cycle::new(Instant::now()).recorded(true);
            let keys: Vec<_> = (0..1000).map(|key| format!("{key}{}", "k".repeat(400))).collect();
            cycle.note_keys(keys.iter().map(String::as_str));
            for _ in 0..100 {
                cycle.note_attempt(crate::ports::Operation::Read);
            }
            ring.add(RecentRequest { cycle, ..request(id, number) });
        }
        let kept = ring.0.lock().expect("no panic");
        assert!(kept.bytes <= MOST_BYTES && kept.bytes > MOST_BYTES / 10 * 9, "{}", kept.bytes);
        let sum: usize = kept.requests.iter().map(|(_, request)| request.bytes()).sum();
        assert_eq!(sum, kept.bytes);
        assert_eq!(kept.requests.back().map(|(_, last)| last.request_id.as_str()), Some("999"));
    }
}
