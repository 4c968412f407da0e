//! The labels of metrics. Each comes from a closed set, so that no client can create time series.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::histogram::Histogram;

use crate::ports::{AttemptOutcome, PlatformOperation};

/// Bucket bounds in seconds, from a read of a stub nearby (0.5 ms) to the longest deadline (60 s).
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// A histogram of durations in seconds.
pub(super) fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"];

/// Label of every method that no route serves. Clients can invent methods.
const OTHER: &str = "other";

/// Label of a request that matched no route. Clients can invent paths.
const UNMATCHED: &str = "unmatched";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    operation: &'static str,
    answer: String,
}

impl AttemptLabels {
    pub(super) fn new(operation: PlatformOperation, answer: AttemptOutcome) -> Self {
        let answer = match answer {
            AttemptOutcome::Status(status) => status.to_string(),
            AttemptOutcome::Timeout => "timeout".to_owned(),
            AttemptOutcome::Connect => "connect".to_owned(),
            AttemptOutcome::Reset => "reset".to_owned(),
            AttemptOutcome::Invalid => "invalid".to_owned(),
            AttemptOutcome::NotSent => "notSent".to_owned(),
        };
        Self { operation: operation.as_str(), answer }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct OperationLabels {
    operation: &'static str,
}

impl OperationLabels {
    pub(super) const fn new(operation: PlatformOperation) -> Self {
        Self { operation: operation.as_str() }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct UpstreamLabels {
    pub(super) upstream: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

/// Method and route of a request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RouteLabels {
    method: &'static str,
    route: &'static str,
}

impl RouteLabels {
    /// Replaces a method that no route serves and a missing route by fixed labels.
    pub(super) fn new(method: &str, route: Option<&'static str>) -> Self {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
        Self { method, route: route.unwrap_or(UNMATCHED) }
    }

    pub(super) fn with_status(&self, status: u16) -> RequestLabels {
        RequestLabels { method: self.method, route: self.route, status }
    }
}

/// Method, route and status of a request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status: u16,
}
