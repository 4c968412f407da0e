//! The last requests about conversations, for `GET …/trace`: one ring for the process.
//!
//! There is none unless `debug.enabled`. It holds no value and no header but `User-Agent`; what it
//! knows of upstream is in each request's own trail, which goes on after the answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::access_log::WallTime;
use crate::domain::ConversationId;
use crate::error::{Effect, ErrorCode};
use crate::ports::{AttemptLog, RequestContext};

/// Requests that are kept.
const MAX_REQUESTS: usize = 1000;

/// Bytes that they may take, as far as is known when they are added: what a request does after its
/// answer comes on top, at most 16 KiB each.
const MAX_BYTES: usize = 8 << 20;

/// Requests that are told of one conversation.
const MAX_SHOWN: usize = 100;

/// What a request takes beside its texts and its trail.
const OVERHEAD: usize = 512;

/// Characters of a `User-Agent` that are kept.
const MAX_USER_AGENT_BYTES: usize = 200;

/// The ring. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct RecentRequests(Arc<Mutex<RingBuffer>>);

#[derive(Debug, Default)]
struct RingBuffer {
    /// With the bytes that each was taken for.
    requests: VecDeque<(usize, Arc<RecentRequest>)>,
    bytes: usize,
}

/// Who asked, and when, as it is known at the arrival.
#[derive(Clone, Debug)]
pub struct RequestOrigin {
    /// The wall time, as RFC 3339 has it.
    pub at: String,
    /// The other end of the connection; a proxy, where there is one.
    pub address: Option<SocketAddr>,
    /// What the client calls its program.
    pub user_agent: Option<String>,
}

/// One request.
#[derive(Debug)]
pub struct RecentRequest {
    /// Who and when.
    pub arrival: RequestOrigin,
    /// When, on the clock that attempts are timed by.
    pub arrived: Instant,
    /// The conversation.
    pub conversation: ConversationId,
    /// HTTP method.
    pub method: String,
    /// The pattern that matched.
    pub route: String,
    /// Status of the answer; 499 if the client hung up before there was one.
    pub status: u16,
    /// Code of the problem that was answered.
    pub code: Option<ErrorCode>,
    /// What it was known to have done when it was answered.
    pub effect: Effect,
    /// From the arrival of the request head to the answer.
    pub took: Duration,
    /// Id of the request.
    pub request_id: String,
    /// Its spending and its trail, also of what was done after the answer.
    pub context: RequestContext,
}

impl RequestOrigin {
    /// A request that arrives now.
    pub fn now(address: Option<SocketAddr>, user_agent: Option<&str>) -> Self {
        let user_agent = user_agent.map(|name| name.chars().take(MAX_USER_AGENT_BYTES).collect());
        Self { at: WallTime.to_string(), address, user_agent }
    }
}

impl RecentRequest {
    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let agent = self.arrival.user_agent.as_ref().map_or(0, String::len);
        let texts = agent + self.method.len() + self.route.len() + self.request_id.len();
        OVERHEAD + texts + self.context.attempt_log().map_or(0, AttemptLog::bytes)
    }
}

impl RecentRequests {
    /// Keeps a request, in the place of the oldest if there is no other.
    pub fn add(&self, request: RecentRequest) {
        let bytes = request.bytes();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.requests.len() >= MAX_REQUESTS || kept.bytes + bytes > MAX_BYTES {
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
        let told = about.by_ref().take(MAX_SHOWN).cloned().collect();
        (told, about.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ContextParts;

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
        let (told, left_out) = ring.about(other);
        assert_eq!((told.len(), left_out), (MAX_SHOWN, MAX_REQUESTS - 48 - MAX_SHOWN));
        assert_eq!(told[0].request_id, (MAX_REQUESTS + 1).to_string());
    }

    #[test]
    fn large_requests_push_out_more_than_one() {
        let id = "8e0f1a2b-0000-4000-8000-000000000001".parse().expect("an id");
        let ring = RecentRequests::default();
        for number in 0..MAX_REQUESTS {
            let parts = ContextParts { has_attempt_log: true, ..ContextParts::new(Instant::now()) };
            let context = RequestContext::from_parts(parts);
            let keys: Vec<_> = (0..1000).map(|key| format!("{key}{}", "k".repeat(400))).collect();
            context.note_keys(keys.iter().map(String::as_str));
            for _ in 0..100 {
                context.note_attempt(crate::ports::PlatformOperation::Read);
            }
            ring.add(RecentRequest { context, ..request(id, number) });
        }
        let kept = ring.0.lock().expect("no panic");
        assert!(kept.bytes <= MAX_BYTES && kept.bytes > MAX_BYTES / 10 * 9, "{}", kept.bytes);
        let sum: usize = kept.requests.iter().map(|(_, request)| request.bytes()).sum();
        assert_eq!(sum, kept.bytes);
        assert_eq!(kept.requests.back().map(|(_, last)| last.request_id.as_str()), Some("999"));
    }
}
