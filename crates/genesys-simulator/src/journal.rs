//! Every request that arrived and how it was answered, for tests to count and check. Bounded, and
//! never holds a secret or a token: a token shows as its serial number.

use std::collections::{BTreeMap, VecDeque};

use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::faults::RequestKind;

/// Headers that tests ask for.
const OF_INTEREST: [&str; 8] = [
    "accept",
    "cache-control",
    "content-length",
    "content-type",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "x-request-id",
];

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Not answered yet, or the client hung up before.
    Pending,
    /// Answered with this status.
    Status(u16),
    /// The connection was broken.
    Reset,
    /// It never gets an answer.
    Hang,
}

/// One request that arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRecord {
    /// Position in the order of arrival, from 0.
    pub seq: u64,
    /// When it arrived.
    pub at: Instant,
    /// When the state was asked or changed for it; absent if a fault took its place.
    pub handled: Option<Instant>,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// What it is.
    pub kind: RequestKind,
    /// The conversation in its path.
    pub conversation: Option<String>,
    /// The participant in its path.
    pub participant: Option<String>,
    /// How it ended.
    pub answer: RequestOutcome,
    /// The body of a PATCH or a query, if it was JSON.
    pub body: Option<Value>,
    /// The headers worth asserting, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The live token it presented, counted from 1 in the order of issue.
    pub token: Option<u64>,
    /// The correlation id it was answered with.
    pub correlation_id: String,
}

impl CallRecord {
    /// Whether it was answered with this status.
    pub fn was_answered(&self, status: u16) -> bool {
        self.answer == RequestOutcome::Status(status)
    }

    pub(super) fn to_json(&self, start: Instant) -> Value {
        let answer = match self.answer {
            RequestOutcome::Pending => json!("pending"),
            RequestOutcome::Status(status) => json!(status),
            RequestOutcome::Reset => json!("reset"),
            RequestOutcome::Hang => json!("hang"),
        };
        json!({
            "seq": self.seq,
            "at_ms": millis(start, self.at),
            "at_us": micros(start, self.at),
            "handled_us": self.handled.map(|handled| micros(start, handled)),
            "method": self.method,
            "path": self.path,
            "kind": self.kind,
            "status": answer,
            "body": self.body,
            "headers": self.headers,
            "token": self.token,
            "correlation_id": self.correlation_id,
        })
    }
}

/// Milliseconds from the simulator's start, for JSON.
pub(super) fn millis(start: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds from the simulator's start, fine enough to order events.
pub(super) fn micros(start: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(start).as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn headers_of_interest(headers: &HeaderMap) -> BTreeMap<String, String> {
    let found = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    OF_INTEREST.into_iter().filter_map(found).collect()
}

/// The requests so far, the newest `keep` of them.
#[derive(Default)]
pub(super) struct RequestJournal {
    records: VecDeque<CallRecord>,
    arrived: u64,
}

impl RequestJournal {
    /// Records an arrival under the next number, and returns the number.
    pub(super) fn arrive(&mut self, mut record: CallRecord, keep: usize) -> u64 {
        record.seq = self.arrived;
        self.records.push_back(record);
        self.arrived += 1;
        while self.records.len() > keep {
            self.records.pop_front();
        }
        self.arrived - 1
    }

    /// Records how a request ended, if its record is still kept.
    pub(super) fn answer(&mut self, seq: u64, answer: RequestOutcome) {
        if let Some(record) = self.record(seq) {
            record.answer = answer;
        }
    }

    /// Records when a request was handled, if its record is still kept.
    pub(super) fn handle(&mut self, seq: u64, now: Instant) {
        if let Some(record) = self.record(seq) {
            record.handled = Some(now);
        }
    }

    fn record(&mut self, seq: u64) -> Option<&mut CallRecord> {
        let first = self.records.front().map_or(self.arrived, |record| record.seq);
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.records.get_mut(index)
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &CallRecord> {
        self.records.iter()
    }

    pub(super) fn clear(&mut self) {
        self.records.clear();
    }
}
