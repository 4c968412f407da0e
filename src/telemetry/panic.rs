//! Logs the location of panics. The payload is left out, because it may contain an attribute value.

use std::panic::PanicHookInfo;

use super::LogWriter;

/// Installs a hook that logs every panic and flushes the log, because the process may be about to end.
pub(super) fn log_through(sink: LogWriter) {
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        sink.flush();
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    if let Some(at) = info.location() {
        tracing::error!(
            code.file = at.file(),
            code.line = at.line(),
            code.column = at.column(),
            thread.name = thread,
            "panicked"
        );
    } else {
        tracing::error!(thread.name = thread, "panicked");
    }
}
