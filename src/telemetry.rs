//! Telemetry: log events, one access line per request, metrics, and spans.
//!
//! All log lines go through one [`LogOutput`], so lines never interleave and no request waits for the
//! output. Only [`TelemetryOutput::install`] changes global state, so tests can create many
//! instances. Callers never pass a token, secret or attribute value.

mod access_log;
mod log_output;
mod metrics;
mod panic;
mod process;
mod recent;
mod spans;

use std::io::IsTerminal;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Dispatch;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

pub(crate) use access_log::{AccessRecord, milliseconds};
pub use log_output::{CapturedLog, LogLosses, LogOutput};
pub use metrics::{CloseReason, ServiceMetrics};
pub use recent::RecentRequests;
pub(crate) use recent::{RecentRequest, RequestOrigin};
pub use spans::SpanExport;

pub(crate) use crate::clock::timestamp;

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

/// The subscriber of all log events, and its output. Cheap to clone.
#[derive(Clone)]
pub struct TelemetryOutput {
    dispatch: Dispatch,
    losses: LogLosses,
    guard: Arc<Mutex<Option<WorkerGuard>>>,
}

impl TelemetryOutput {
    /// Creates the subscriber. `filter` has the syntax of `RUST_LOG`.
    pub fn new(output: LogOutput, format: LogLineFormat, filter: &str) -> Result<Self, ParseError> {
        let LogOutput { writer, losses, guard } = output;
        let events = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(filter)?)
            .with_writer(writer)
            .with_ansi(false);
        let dispatch = match format {
            LogLineFormat::Json => Dispatch::new(events.json().flatten_event(true).finish()),
            LogLineFormat::Text => Dispatch::new(events.finish()),
        };
        Ok(Self { dispatch, losses, guard: Arc::new(Mutex::new(guard)) })
    }

    /// Makes this the subscriber of the process, unless it has one, and logs panics through it.
    pub fn install(&self) {
        // This fails only in tests, which run the service several times in one process.
        let _ = tracing::dispatcher::set_global_default(self.dispatch.clone());
        panic::log_location();
    }

    /// The subscriber, for `tracing::dispatcher::with_default` or `set_default`.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The lines that could not be written.
    pub fn losses(&self) -> &LogLosses {
        &self.losses
    }

    /// Writes the remaining lines, for at most a second, and ends the log. For the end of the process.
    pub fn finish(&self) {
        drop(self.guard.lock().take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(format: LogLineFormat, filter: &str) -> (TelemetryOutput, CapturedLog) {
        let (output, captured) = LogOutput::captured();
        (TelemetryOutput::new(output, format, filter).expect("valid filter"), captured)
    }

    fn log(telemetry: &TelemetryOutput, record: &AccessRecord<'_>) {
        tracing::dispatcher::with_default(telemetry.dispatch(), || record.log());
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
            log(&telemetry, &AccessRecord::example());
            assert_eq!(captured.text().contains("http.status=200"), wanted, "{filter}");
        }
    }

    #[test]
    fn requests_of_probes_are_logged_at_debug() {
        for (filter, wanted) in
            [("info", false), ("debug", true), ("info,access=debug", true), ("access=off", false)]
        {
            let (telemetry, captured) = telemetry(LogLineFormat::Text, filter);
            log(&telemetry, &AccessRecord { is_probe: true, ..AccessRecord::example() });
            assert_eq!(captured.text().contains(" DEBUG access: "), wanted, "{filter}");
        }
    }

    #[test]
    fn an_invalid_filter_is_an_error() {
        let (output, _captured) = LogOutput::captured();
        assert!(TelemetryOutput::new(output, LogLineFormat::Json, "a=b=c").is_err());
    }
}
