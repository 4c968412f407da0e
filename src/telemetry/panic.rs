//! Panics in the log: where, never what. A payload is formatted from the data at hand, which may
//! be an attribute value.

use std::panic::PanicHookInfo;

use super::LogWriter;

/// Logs every panic of the process from now on, and writes the log out, since the process may be
/// about to end.
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
