//! The access log: one line per request with target `access` and level INFO. Requests of probes and
//! scrapers have level DEBUG.
//!
//! The lines go directly into the buffer of the [`LogWriter`]. A `tracing` event would cost as much as
//! the rest of the request. Lines contain no path or query, because these may contain keys.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tracing::Level;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::{LogLineFormat, LogLosses, LogWriter};
use crate::domain::ConversationId;
use crate::error::{Effect, ErrorCode};
#[cfg(test)]
use crate::ports::TraceContext;
use crate::ports::TraceId;

/// Target of the lines, to be used in filters.
pub(super) const TARGET: &str = "access";

/// Writes access lines, unless it is disabled. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    output: Option<(LogWriter, LogLineFormat)>,
    /// The finest level that is written.
    finest: Option<Level>,
}

/// The fields of one access line.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// INFO or DEBUG.
    pub level: Level,
    /// HTTP method.
    pub method: &'a str,
    /// The pattern of the matched route, never the path.
    pub route: &'a str,
    /// Status of the answer; 499 if the client disconnected before it.
    pub status: u16,
    /// Time from the arrival of the request head to the answer.
    pub took: Duration,
    /// Id of the request.
    pub request_id: &'a str,
    /// The client, if the request is authenticated.
    pub client: Option<&'a str>,
    /// Address of the client: the peer of the connection, or the client of a trusted proxy.
    pub client_address: Option<IpAddr>,
    /// The conversation, if the path names one.
    pub conversation: Option<ConversationId>,
    /// Number of calls to the platform API.
    pub upstream_calls: u32,
    /// Whether the request changed anything upstream; `None` outside the API.
    pub effect: Option<Effect>,
    /// The correlation id of Genesys Cloud for the last call.
    pub correlation_id: Option<&'a str>,
    /// The trace of the request.
    pub trace_id: Option<TraceId>,
    /// Code of the problem in the answer.
    pub code: Option<ErrorCode>,
}

impl AccessLog {
    /// Writes lines of `finest` level and above; without a level, none.
    pub fn new(sink: LogWriter, format: LogLineFormat, finest: Option<Level>) -> Self {
        Self { output: Some((sink, format)), finest }
    }

    /// An access log that writes nothing.
    pub const fn disabled() -> Self {
        Self { output: None, finest: None }
    }

    /// The lines that could not be written.
    pub fn losses(&self) -> Option<&LogLosses> {
        self.output.as_ref().map(|(sink, _)| sink.losses())
    }

    /// Writes the line of one request.
    pub fn write(&self, record: &AccessRecord<'_>) {
        let wanted = self.finest.is_some_and(|finest| record.level <= finest);
        match self.output.as_ref().filter(|_| wanted) {
            None => {}
            Some((sink, LogLineFormat::Json)) => {
                // Writing to a `Vec` cannot fail, and every key of the line is a string.
                sink.line(|bytes| {
                    drop(serde_json::to_writer(bytes, &AccessLine::from_record(record)));
                });
            }
            Some((sink, LogLineFormat::Text)) => {
                sink.line(|bytes| bytes.extend_from_slice(text(record).as_bytes()));
            }
        }
    }
}

#[derive(Serialize)]
struct AccessLine<'a> {
    timestamp: WallTime,
    level: &'static str,
    target: &'static str,
    #[serde(rename = "http.method")]
    method: &'a str,
    #[serde(rename = "http.route")]
    route: &'a str,
    #[serde(rename = "http.status")]
    status: u16,
    duration_ms: f64,
    #[serde(rename = "request.id")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(rename = "client.address", skip_serializing_if = "Option::is_none")]
    client_address: Option<IpAddr>,
    #[serde(rename = "conversation.id", skip_serializing_if = "Option::is_none")]
    conversation: Option<DisplayText<ConversationId>>,
    #[serde(rename = "upstream.calls")]
    upstream_calls: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(rename = "correlation.id", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(rename = "trace.id", skip_serializing_if = "Option::is_none")]
    trace_id: Option<DisplayText<TraceId>>,
    #[serde(rename = "problem.code", skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl<'a> AccessLine<'a> {
    fn from_record(record: &AccessRecord<'a>) -> Self {
        Self {
            timestamp: WallTime,
            level: record.level.as_str(),
            target: TARGET,
            method: record.method,
            route: record.route,
            status: record.status,
            duration_ms: milliseconds(record.took),
            request_id: record.request_id,
            client: record.client,
            client_address: record.client_address,
            conversation: record.conversation.map(DisplayText),
            upstream_calls: record.upstream_calls,
            effect: record.effect.map(Effect::as_str),
            correlation_id: record.correlation_id,
            trace_id: record.trace_id.map(DisplayText),
            code: record.code.map(ErrorCode::as_str),
        }
    }
}

/// A duration in milliseconds, rounded to whole microseconds.
pub fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn text(record: &AccessRecord<'_>) -> String {
    let mut line = format!(
        "{WallTime} {:>5} {TARGET}: http.method={} http.route={} http.status={} duration_ms={} request.id={}",
        record.level.as_str(),
        record.method,
        record.route,
        record.status,
        milliseconds(record.took),
        record.request_id,
    );
    let mut add = |name: &str, value: &dyn fmt::Display| {
        let _ = write!(line, " {name}={value}");
    };
    if let Some(name) = record.client {
        add("client", &name);
    }
    if let Some(address) = record.client_address {
        add("client.address", &address);
    }
    if let Some(id) = record.conversation {
        add("conversation.id", &id);
    }
    add("upstream.calls", &record.upstream_calls);
    if let Some(effect) = record.effect {
        add("effect", &effect);
    }
    if let Some(id) = record.correlation_id {
        // Upstream sends this text, and must not be able to forge a log line.
        add("correlation.id", &id.escape_debug());
    }
    if let Some(id) = record.trace_id {
        add("trace.id", &id);
    }
    if let Some(code) = record.code {
        add("problem.code", &code.as_str());
    }
    line
}

/// Formats the current time, in the same way as events.
pub(super) struct WallTime;

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SystemTime.format_time(&mut Writer::new(f))
    }
}

impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct DisplayText<T>(T);

impl<T: fmt::Display> Serialize for DisplayText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
impl AccessRecord<'static> {
    /// A record with every field set.
    pub(crate) fn example() -> Self {
        Self {
            level: Level::INFO,
            method: "PUT",
            route: "/v1/conversations/{conversationId}/attributes",
            status: 200,
            took: Duration::from_micros(12_345),
            request_id: "req-1",
            client: Some("crm"),
            client_address: "192.0.2.7".parse().ok(),
            conversation: "8e0f1a2b-0000-4000-8000-000000000001".parse().ok(),
            upstream_calls: 3,
            effect: Some(Effect::Applied),
            correlation_id: Some("corr\n1"),
            trace_id: TraceContext::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
                .map(TraceContext::trace),
            code: Some(ErrorCode::WriteSuperseded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_contains_every_field_under_its_dotted_name() {
        let (sink, captured) = LogWriter::captured(LogLineFormat::Json);
        AccessLog::new(sink, LogLineFormat::Json, Some(Level::INFO))
            .write(&AccessRecord::example());
        let text = captured.text();
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
        let (sink, captured) = LogWriter::captured(LogLineFormat::Text);
        AccessLog::new(sink, LogLineFormat::Text, Some(Level::INFO))
            .write(&AccessRecord::example());
        let text = captured.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains(
                " duration_ms=12.345 request.id=req-1 client=crm client.address=192.0.2.7 "
            ),
            "{text}"
        );
        assert!(text.contains(r" correlation.id=corr\n1 "), "{text}");
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
        let (sink, captured) = LogWriter::captured(LogLineFormat::Json);
        AccessLog::new(sink, LogLineFormat::Json, Some(Level::INFO)).write(&record);
        let text = captured.text();
        for name in
            ["client", "conversation.id", "effect", "correlation.id", "trace.id", "problem.code"]
        {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }
}
