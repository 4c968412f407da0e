//! Telemetry: log events, one access line per request, metrics, and spans.
//!
//! All log lines go through one [`LogWriter`], so lines never interleave and no request waits for the
//! output. Only [`TelemetryOutput::install`] changes global state, so tests can create many
//! instances. Callers never pass a token, secret or attribute value.

mod access_log;
mod budget;
mod clients;
mod connections;
mod labels;
mod log_writer;
mod metrics;
mod panic;
mod process;
mod recent;
mod spans;
mod upstream;
mod writes;

use std::io::IsTerminal;

use tracing::{Dispatch, Level};
use tracing_subscriber::EnvFilter;

pub use access_log::{AccessLog, AccessRecord, milliseconds};
pub use connections::CloseReason;
pub use log_writer::{CapturedLog, LogLosses, LogWriter};
pub use metrics::{HttpRequestMetrics, ServiceMetrics};
pub use recent::{RecentRequest, RecentRequests, RequestOrigin};
pub use spans::SpanExport;

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLineFormat {
    /// One JSON object per line, for log collectors.
    Json,
    /// Plain text, for people.
    Text,
}

impl LogLineFormat {
    /// Text if stdout is a terminal, else JSON.
    pub fn for_stdout() -> Self {
        if std::io::stdout().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// The filter directives are invalid.
#[derive(Debug, thiserror::Error)]
#[error("the log filter is invalid: {0}")]
pub struct InvalidFilter(#[from] tracing_subscriber::filter::ParseError);

/// A log subscriber and the access log, with one output.
#[derive(Clone)]
pub struct TelemetryOutput {
    dispatch: Dispatch,
    access: AccessLog,
    sink: LogWriter,
}

impl TelemetryOutput {
    /// Creates both. `filter` has the syntax of `RUST_LOG`. [`Self::install`] makes them global.
    pub fn new(
        sink: LogWriter,
        format: LogLineFormat,
        filter: &str,
    ) -> Result<Self, InvalidFilter> {
        let filter = EnvFilter::try_new(filter)?;
        let events = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(sink.clone())
            .with_ansi(false);
        let dispatch = match format {
            LogLineFormat::Json => Dispatch::new(events.json().flatten_event(true).finish()),
            LogLineFormat::Text => Dispatch::new(events.finish()),
        };
        // Only the subscriber can evaluate its filter.
        let finest = tracing::dispatcher::with_default(&dispatch, || {
            if tracing::enabled!(target: access_log::TARGET, Level::DEBUG) {
                return Some(Level::DEBUG);
            }
            tracing::enabled!(target: access_log::TARGET, Level::INFO).then_some(Level::INFO)
        });
        let access = AccessLog::new(sink.clone(), format, finest);
        Ok(Self { dispatch, access, sink })
    }

    /// Makes this the subscriber of the process and logs panics through it. Later calls do not replace
    /// the subscriber.
    pub fn install(&self) {
        // This fails only in tests, which run the service several times in one process.
        let _ = tracing::dispatcher::set_global_default(self.dispatch.clone());
        panic::log_through(self.sink.clone());
    }

    /// The subscriber, for `tracing::dispatcher::with_default` or `set_default`.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The access log.
    pub fn access(&self) -> &AccessLog {
        &self.access
    }

    /// The log output. Flush it before the process ends.
    pub fn sink(&self) -> &LogWriter {
        &self.sink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(format: LogLineFormat, filter: &str) -> (TelemetryOutput, CapturedLog) {
        let (sink, captured) = LogWriter::captured(format);
        (TelemetryOutput::new(sink, format, filter).expect("valid filter"), captured)
    }

    #[test]
    fn each_event_is_one_flat_json_object_on_one_line() {
        let (telemetry, captured) = telemetry(LogLineFormat::Json, "info");
        tracing::dispatcher::with_default(telemetry.dispatch(), || {
            tracing::info!(conversation.id = "c", "hello");
            tracing::debug!("not wanted");
        });
        let text = captured.text();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).expect("one object");
        assert_eq!(line["message"], "hello");
        assert_eq!(line["conversation.id"], "c");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_filter_applies_to_the_access_log_too() {
        for (filter, wanted) in
            [("info", true), ("warn", false), ("info,access=off", false), ("off,access=info", true)]
        {
            let (telemetry, captured) = telemetry(LogLineFormat::Text, filter);
            telemetry.access().write(&AccessRecord::example());
            assert_eq!(captured.text().contains("http.status=200"), wanted, "{filter}");
        }
    }

    #[test]
    fn requests_of_probes_are_logged_at_debug() {
        for (filter, wanted) in
            [("info", false), ("debug", true), ("info,access=debug", true), ("access=off", false)]
        {
            let (telemetry, captured) = telemetry(LogLineFormat::Text, filter);
            let record = AccessRecord { level: Level::DEBUG, ..AccessRecord::example() };
            telemetry.access().write(&record);
            assert_eq!(captured.text().contains(" DEBUG access: "), wanted, "{filter}");
        }
    }

    #[test]
    fn an_invalid_filter_is_an_error() {
        let (sink, _captured) = LogWriter::captured(LogLineFormat::Json);
        assert!(TelemetryOutput::new(sink, LogLineFormat::Json, "a=b=c").is_err());
    }
}
