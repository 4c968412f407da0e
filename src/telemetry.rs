//! Telemetry: log events, one access line per request, metrics, and spans.
//!
//! Everything written goes through one [`LogWriter`], so that lines never interleave and no request
//! waits for a terminal. Nothing in here is global but what [`TelemetryOutput::install`] installs;
//! tests build as many as they like. No token, secret or attribute value is ever given to it.

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

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLineFormat {
    /// One JSON object a line, for log collectors.
    Json,
    /// Text, for people.
    Text,
}

impl LogLineFormat {
    /// Text if stdout is a terminal, else JSON.
    pub fn for_stdout() -> Self {
        if std::io::stdout().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// The filter directives cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the log filter cannot be read: {0}")]
pub struct InvalidFilter(#[from] tracing_subscriber::filter::ParseError);

/// A log subscriber and the access log, over one sink.
#[derive(Clone)]
pub struct TelemetryOutput {
    dispatch: Dispatch,
    access: AccessLog,
    sink: LogWriter,
}

impl TelemetryOutput {
    /// Builds both; `filter` is in the syntax of `RUST_LOG`. Nothing is installed yet.
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
        // The filter can only be asked through the subscriber that holds it.
        let finest = tracing::dispatcher::with_default(&dispatch, || {
            if tracing::enabled!(target: access_log::TARGET, Level::DEBUG) {
                return Some(Level::DEBUG);
            }
            tracing::enabled!(target: access_log::TARGET, Level::INFO).then_some(Level::INFO)
        });
        let access = AccessLog::new(sink.clone(), format, finest);
        Ok(Self { dispatch, access, sink })
    }

    /// Makes this the subscriber of the process and logs panics through it. Only the first call
    /// in a process has the first effect.
    pub fn install(&self) {
        // A second subscriber can only mean a test that runs the whole service twice.
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

    /// Where everything goes; flush it before the process ends.
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
    fn events_leave_as_one_flat_json_object_a_line() {
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
    fn the_filter_decides_about_the_access_log_too() {
        for (filter, wanted) in
            [("info", true), ("warn", false), ("info,access=off", false), ("off,access=info", true)]
        {
            let (telemetry, captured) = telemetry(LogLineFormat::Text, filter);
            telemetry.access().write(&AccessRecord::example());
            assert_eq!(captured.text().contains("http.status=200"), wanted, "{filter}");
        }
    }

    #[test]
    fn what_probes_ask_for_is_logged_at_debug() {
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
    fn a_filter_that_cannot_be_read_is_an_error() {
        let (sink, _captured) = LogWriter::captured(LogLineFormat::Json);
        assert!(TelemetryOutput::new(sink, LogLineFormat::Json, "a=b=c").is_err());
    }
}
