//! The access log: one line a request, at target `access`, level INFO. What probes and scrapers ask
//! for is logged at DEBUG.
//!
//! Written by hand into the sink's buffer and not as a `tracing` event, which costs as much as
//! the rest of the request's handling. Paths and queries are left out: they may name keys.

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

/// Target of the lines, for filters.
pub(super) const TARGET: &str = "access";

/// Where access lines go, if anywhere. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    output: Option<(LogWriter, LogLineFormat)>,
    /// The finest level that is written.
    finest: Option<Level>,
}

/// What there is to say about one request.
#[derive(Clone, Debug)]
pub struct AccessRecord<'a> {
    /// INFO, or DEBUG.
    pub level: Level,
    /// HTTP method.
    pub method: &'a str,
    /// The pattern that matched, never the path.
    pub route: &'a str,
    /// Status of the answer; 499 if the client hung up before there was one.
    pub status: u16,
    /// From the arrival of the request head to the answer.
    pub took: Duration,
    /// Id of the request.
    pub request_id: &'a str,
    /// The client, where clients are known.
    pub client: Option<&'a str>,
    /// Where it came from: the other end of the connection, or who stands before trusted proxies.
    pub client_address: Option<IpAddr>,
    /// The conversation, where the path names one.
    pub conversation: Option<ConversationId>,
    /// Calls to the platform API.
    pub upstream_calls: u32,
    /// Whether something was changed upstream; `None` outside the API.
    pub effect: Option<Effect>,
    /// Genesys' correlation id of the last call.
    pub correlation_id: Option<&'a str>,
    /// The trace that it is part of.
    pub trace_id: Option<TraceId>,
    /// Code of the problem that was answered.
    pub code: Option<ErrorCode>,
}

impl AccessLog {
    /// Writes lines of `finest` level and above to this sink, or none.
    pub fn new(sink: LogWriter, format: LogLineFormat, finest: Option<Level>) -> Self {
        Self { output: Some((sink, format)), finest }
    }

    /// Writes nothing.
    pub const fn disabled() -> Self {
        Self { output: None, finest: None }
    }

    /// The lines that the output of the log did not take.
    pub fn losses(&self) -> Option<&LogLosses> {
        self.output.as_ref().map(|(sink, _)| sink.losses())
    }

    /// Writes the line of one request.
    pub fn write(&self, record: &AccessRecord<'_>) {
        let wanted = self.finest.is_some_and(|finest| record.level <= finest);
        match self.output.as_ref().filter(|_| wanted) {
            None => {}
            Some((sink, LogLineFormat::Json)) => {
                // Writing into a `Vec` cannot fail, and the line has no map with odd keys.
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
    conversation: Option<RequestFields<ConversationId>>,
    #[serde(rename = "upstream.calls")]
    upstream_calls: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(rename = "correlation.id", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(rename = "trace.id", skip_serializing_if = "Option::is_none")]
    trace_id: Option<RequestFields<TraceId>>,
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
            conversation: record.conversation.map(RequestFields),
            upstream_calls: record.upstream_calls,
            effect: record.effect.map(Effect::as_str),
            correlation_id: record.correlation_id,
            trace_id: record.trace_id.map(RequestFields),
            code: record.code.map(ErrorCode::as_str),
        }
    }
}

/// Whole microseconds, in milliseconds, as a person is shown them.
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
        // Upstream's word: it must not be able to forge a line of ours.
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

/// The wall time at which it is written, spelled as in events.
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

struct RequestFields<T>(T);

impl<T: fmt::Display> Serialize for RequestFields<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
impl AccessRecord<'static> {
    /// A record with everything in it.
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
    fn json_holds_every_field_under_its_dotted_name() {
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
    fn text_stays_on_one_line_whatever_upstream_says() {
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
    fn what_is_not_known_is_left_out() {
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
