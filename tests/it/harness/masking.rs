//! Looks at what a test has caused: upstream's side of it, metrics, readiness.

use std::time::Duration;

use attribute_gateway::genesys::JitterSource;
use genesys_simulator::{CallRecord, RequestKind};
use serde_json::Value;

use super::{Answer, TestApp};

impl TestApp {
    /// When reads, writes or token requests arrived upstream, in milliseconds since the service
    /// was ready.
    pub fn sent(&self, kind: RequestKind) -> Vec<u128> {
        let calls = self.simulator.calls();
        let of_kind = calls.iter().filter(|call| call.kind == kind);
        of_kind.map(|call| call.at.saturating_duration_since(self.ready).as_millis()).collect()
    }

    /// Waits until so long after the service was ready.
    pub async fn until(&self, after: Duration) {
        tokio::time::sleep_until(self.ready + after).await;
    }

    /// The kinds of all API calls, in order: `R` for a read, `P` for a PATCH.
    pub fn order(&self) -> String {
        let letter = |call: &CallRecord| match call.kind {
            RequestKind::Read => Some('R'),
            RequestKind::Patch => Some('P'),
            RequestKind::Token | RequestKind::Analytics | RequestKind::Other => None,
        };
        self.simulator.calls().iter().filter_map(letter).collect()
    }

    /// What the backoff waits after failures 1, 2, … of the first call that fails, when nothing
    /// but the first token has taken a random number yet. `base` is `genesys.backoff_base`; sleeps
    /// end at whole milliseconds.
    pub fn backoffs<const N: usize>(&self, base: Duration) -> [u128; N] {
        let twin = JitterSource::seeded(self.seed);
        let _token = twin.unit();
        let mut ceiling = base;
        std::array::from_fn(|_| {
            let wait = ceiling.mul_f64(twin.unit()).as_micros().div_ceil(1000);
            ceiling *= 2;
            wait
        })
    }

    /// A metric of `/metrics`, by its name without the prefix and with its labels.
    pub async fn figure(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let name = format!("attribute_gateway_{series} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// `/readyz?verbose`.
    pub async fn readiness(&self) -> Answer {
        self.get("/readyz?verbose").await
    }

    /// A write under a deadline of so many seconds, by `Prefer: wait=`.
    pub async fn write_within(&self, seconds: u64, query: &str, attributes: Value) -> Answer {
        let path = format!("{}{query}", super::attributes_of(super::CALL));
        let body = serde_json::json!({ "attributes": attributes }).to_string();
        self.put(&path, &[("prefer", &format!("wait={seconds}"))], body).await
    }

    /// A read under a deadline of so many seconds.
    pub async fn read_within(&self, seconds: u64) -> Answer {
        let request = super::request("GET", &super::attributes_of(super::CALL))
            .header("prefer", format!("wait={seconds}"));
        self.send(request.body(axum::body::Body::empty()).expect("a request")).await
    }
}
