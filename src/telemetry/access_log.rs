//! The access log: one event per request with target `access` and level INFO. Requests of probes and
//! scrapers have level DEBUG. Lines contain no path or query, because these may contain keys.

use std::net::IpAddr;
use std::time::Duration;

use tracing::Level;

use crate::domain::ConversationId;
use crate::error::{Effect, ErrorCode};

/// Target of the lines, to be used in filters.
const TARGET: &str = "access";

#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// A probe or scraper sent it, and it succeeded: frequent, and interesting only if it fails.
    pub is_probe: bool,
    pub method: &'a str,
    /// The pattern of the matched route, never the path.
    pub route: Option<&'a str>,
    /// Status of the answer; 499 if the client disconnected before it.
    pub status: u16,
    /// Time from the arrival of the request head to the answer.
    pub took: Duration,
    pub request_id: &'a str,
    pub client: Option<&'a str>,
    /// The peer of the connection, or the client of a trusted proxy.
    pub client_address: Option<IpAddr>,
    pub conversation: Option<ConversationId>,
    pub upstream_calls: u32,
    /// Whether the request changed anything upstream; `None` outside the API.
    pub effect: Option<Effect>,
    /// The correlation id of Genesys Cloud for the last call.
    pub correlation_id: Option<&'a str>,
    pub trace_id: Option<u128>,
    pub code: Option<ErrorCode>,
}

/// An event must know its level when it is compiled.
macro_rules! log_at {
    ($level:expr, $record:expr) => {
        tracing::event!(
            target: TARGET,
            $level,
            http.method = $record.method,
            http.route = $record.route.unwrap_or("-"),
            http.status = $record.status,
            duration_ms = milliseconds($record.took),
            request.id = $record.request_id,
            client = $record.client,
            client.address = $record.client_address.map(display),
            conversation.id = $record.conversation.map(display),
            upstream.calls = $record.upstream_calls,
            effect = $record.effect.map(Effect::as_str),
            correlation.id = $record.correlation_id,
            trace.id = $record.trace_id.map(|id| display(format!("{id:032x}"))),
            problem.code = $record.code.map(ErrorCode::as_str),
        )
    };
}

impl AccessRecord<'_> {
    pub fn log(&self) {
        if self.is_probe {
            log_at!(Level::DEBUG, self);
        } else {
            log_at!(Level::INFO, self);
        }
    }
}

/// A duration in milliseconds, rounded to whole microseconds.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
impl AccessRecord<'static> {
    /// A record with every field set.
    pub(crate) fn example() -> Self {
        Self {
            is_probe: false,
            method: "PUT",
            route: Some("/v1/conversations/{conversationId}/attributes"),
            status: 200,
            took: Duration::from_micros(12_345),
            request_id: "req-1",
            client: Some("crm"),
            client_address: "192.0.2.7".parse().ok(),
            conversation: "8e0f1a2b-0000-4000-8000-000000000001".parse().ok(),
            upstream_calls: 3,
            effect: Some(Effect::Applied),
            correlation_id: Some("corr\n1"),
            trace_id: Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
            code: Some(ErrorCode::WriteSuperseded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{LogLineFormat, LogOutput, TelemetryOutput};

    fn logged(record: &AccessRecord<'_>, format: LogLineFormat) -> String {
        let (output, captured) = LogOutput::captured();
        let telemetry = TelemetryOutput::new(output, format, "info").expect("valid filter");
        tracing::dispatcher::with_default(telemetry.dispatch(), || record.log());
        captured.text()
    }

    #[test]
    fn json_contains_every_field_under_its_dotted_name() {
        let text = logged(&AccessRecord::example(), LogLineFormat::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).expect("one object");
        let expected = [
            ("http.method", "PUT"),
            ("http.route", "/v1/conversations/{conversationId}/attributes"),
            ("request.id", "req-1"),
            ("client", "crm"),
            ("client.address", "192.0.2.7"),
            ("conversation.id", "8e0f1a2b-0000-4000-8000-000000000001"),
            ("effect", "applied"),
            ("correlation.id", "corr\n1"),
            ("trace.id", "0af7651916cd43dd8448eb211c80319c"),
            ("problem.code", "write-superseded"),
            ("target", "access"),
        ];
        for (name, value) in expected {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!(line["http.status"], 200);
        assert_eq!(line["upstream.calls"], 3);
        assert_eq!(line["duration_ms"].as_f64(), Some(12.345));
        assert!(line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')));
    }

    #[test]
    fn text_from_upstream_cannot_break_the_line() {
        let text = logged(&AccessRecord::example(), LogLineFormat::Text);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains(
                " duration_ms=12.345 request.id=\"req-1\" client=\"crm\" client.address=192.0.2.7 "
            ),
            "{text}"
        );
        assert!(text.contains(r#" correlation.id="corr\n1" "#), "{text}");
    }

    #[test]
    fn unknown_fields_are_left_out() {
        let record = AccessRecord {
            client: None,
            client_address: None,
            conversation: None,
            effect: None,
            correlation_id: None,
            trace_id: None,
            code: None,
            ..AccessRecord::example()
        };
        let text = logged(&record, LogLineFormat::Json);
        for name in
            ["client", "conversation.id", "effect", "correlation.id", "trace.id", "problem.code"]
        {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }
}
