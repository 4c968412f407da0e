//! Logs the location of panics. The payload is left out, because it may contain an attribute value.

use std::panic::Location;

/// Installs a hook that logs every panic.
pub(super) fn log_location() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let at = info.location();
        tracing::error!(
            code.file = at.map(Location::file),
            code.line = at.map(Location::line),
            code.column = at.map(Location::column),
            thread.name = thread.name().unwrap_or("unnamed"),
            "panicked"
        );
    }));
}
