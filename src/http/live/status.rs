//! What the live view shows. Never an attribute key or value, and no phone number.
#![expect(missing_docs, reason = "the names of most members say it")]

use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveStatus {
    pub at: String,
    pub ready: bool,
    pub budget: LiveBudget,
    pub upstream: Vec<LiveUpstream>,
    pub token: LiveToken,
    pub writes: LiveWrites,
    pub visibility_lag: LiveLag,
    /// The last 20 operations, newest first.
    pub operations: Vec<LiveOperation>,
}

/// The call budget.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveBudget {
    /// Most calls in a window.
    pub limit: u64,
    pub window_seconds: f64,
    /// How many calls new writes could make now.
    pub available: u64,
    pub waiting: usize,
    /// Calls of other programs with the same OAuth client.
    pub others: u64,
    /// How long Genesys Cloud still wants no calls (429).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
    /// The clients that have made most calls in the window, at most 20.
    pub clients: Vec<LiveClient>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveClient {
    /// Name of the client; `shared` for calls of several clients, or if no client is configured.
    pub client: String,
    pub calls: u64,
}

/// One part of Genesys Cloud, in the last ten seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveUpstream {
    /// `conversations`, `analytics` or `token`.
    pub name: &'static str,
    /// `ok`; `reduced` if a part of the calls is refused; `failingConversations` if those of one or two
    /// conversations are; `probing` if nearly all are.
    pub state: &'static str,
    pub requests: u32,
    pub accepts: u32,
}

/// The access token.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveToken {
    /// `valid`, `starting`, `refused` or `unavailable`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// The writes in progress.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveWrites {
    /// Writes that wait in the queue of their participant.
    pub waiting: i64,
    /// All writes in progress.
    pub in_flight: i64,
}

/// How long Genesys Cloud takes to show a write: of the last 32 measurements. Absent without any.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveLag {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95 of 100 lags are at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveOperation {
    pub at: String,
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The conversation, if the path names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// Status of the response; 499 if the client disconnected before it.
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// `notApplied`, `applied` or `unknown`.
    pub effect: &'static str,
    pub duration_ms: f64,
    pub calls: u32,
}
