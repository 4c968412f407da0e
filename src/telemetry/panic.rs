//! Logs the location of panics. The payload is left out, because it may contain an attribute value.

/// Installs a hook that logs every panic.
pub(super) fn log_location() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let at = info.location();
        tracing::error!(
            code.file = at.map(|at| at.file()),
            code.line = at.map(|at| at.line()),
            code.column = at.map(|at| at.column()),
            thread.name = thread.name().unwrap_or("unnamed"),
            "panicked"
        );
    }));
}
