//! A write, the answer to its client, and what the ledger shows of it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use genesys_simulator::{LedgerEntry, WriteSource};
use serde_json::json;
use tokio::time::Instant;

use super::{Answer, attributes_of, ms, request, send};

/// A write, and the answer to its client.
pub struct WriteExchange {
    pub conversation: String,
    pub wanted: BTreeMap<String, String>,
    pub start: Instant,
    pub end: Instant,
    pub deadline: Duration,
    pub answer: Answer,
}

impl WriteExchange {
    /// Writes, with so many seconds to wait.
    pub async fn by(
        router: Router,
        conversation: String,
        wanted: BTreeMap<String, String>,
        wait: u64,
    ) -> Self {
        let request = request("PUT", &attributes_of(&conversation))
            .header("content-type", "application/json")
            .header("prefer", format!("wait={wait}"))
            .body(json!({ "attributes": wanted }).to_string().into());
        let start = Instant::now();
        let answer = send(router, request.expect("a request")).await;
        let deadline = Duration::from_secs(wait);
        Self { conversation, wanted, start, end: Instant::now(), deadline, answer }
    }

    /// Fails if the answer came after its deadline, beyond what is allowed.
    pub fn assert_in_time(&self, context: &str) {
        let took = self.end - self.start;
        assert!(took <= self.deadline + ms(100), "late by {took:?}: {context}");
    }

    /// Whether another value was there when it was answered, to be seen or as a later client's of the
    /// same batch.
    pub fn was_replaced(&self, ledger: &[LedgerEntry], key: &str) -> bool {
        let value = self.wanted.get(key).map(String::as_str);
        ledger.iter().any(|entry| {
            let ours = entry.writer == WriteSource::Gateway;
            let since = if ours { entry.at } else { entry.visible_at };
            let other = |change: &Option<String>| change.as_deref() != value;
            entry.conversation == self.conversation
                && entry.changes.get(key).is_some_and(other)
                && since <= self.end
        })
    }
}
