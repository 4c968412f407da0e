//! The number of connections that the limit on open files allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on open files as far as allowed, and returns how many of the `wanted` connections
/// fit. They get three quarters of the files, because upstream calls need some too.
pub fn connections_that_fit(wanted: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Shells commonly set a soft limit of 1,024, for old programs that use `select`.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let fit = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX);
    if fit < wanted {
        tracing::warn!(
            limits.connections = wanted,
            process.open_files = files,
            connections = fit,
            "the limit on open files allows fewer connections than configured; raise it \
             (`ulimit -n`, LimitNOFILE=)",
        );
    }
    fit.min(wanted)
}
