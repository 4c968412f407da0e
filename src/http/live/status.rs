//! What the live view shows. Never an attribute key or value, and no phone number.

use serde::Serialize;

/// The state of a gateway process.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveStatus {
    /// Time of the event.
    pub at: String,
    /// Whether the gateway accepts requests.
    pub ready: bool,
    /// The call budget.
    pub budget: LiveBudget,
    /// The parts of Genesys Cloud that the gateway calls.
    pub upstream: Vec<LiveUpstream>,
    /// The access token.
    pub token: LiveToken,
    /// The writes in progress.
    pub writes: LiveWrites,
    /// How long Genesys Cloud takes to show a write.
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
    /// Length of the window.
    pub window_seconds: f64,
    /// How many calls new writes could make now.
    pub available: u64,
    /// Requests that wait for calls.
    pub waiting: usize,
    /// Calls of other programs with the same OAuth client.
    pub others: u64,
    /// How long Genesys Cloud still wants no calls (429).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_seconds: Option<f64>,
    /// The clients that have made most calls in the window, at most 20.
    pub clients: Vec<LiveClient>,
}

/// The calls of a client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveClient {
    /// Name of the client; `shared` for calls of several clients, or if no client is configured.
    pub client: String,
    /// Calls on its account in the window.
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
    /// Counted calls.
    pub requests: u32,
    /// Those that were answered.
    pub accepts: u32,
}

/// The access token.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveToken {
    /// `valid`, `starting`, `refused` or `unavailable`.
    pub state: &'static str,
    /// Time since it was fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Time until it expires.
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
    /// The median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95 of 100 lags are at most this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
}

/// An answered request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveOperation {
    /// Time of the response.
    pub at: String,
    /// HTTP method.
    pub method: String,
    /// Name of the client, if clients are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The conversation, if the path names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// Status of the response; 499 if the client disconnected before it.
    pub status: u16,
    /// Code of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// `notApplied`, `applied` or `unknown`.
    pub effect: &'static str,
    /// Milliseconds until the response.
    pub duration_ms: f64,
    /// Calls to Genesys Cloud.
    pub calls: u32,
}
