//! How many connections the open files of the process allow.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files as far as the process may, and tells how many of these connections
/// can then be held: three quarters of the files, since calls to upstream need some too.
pub fn connections_that_fit(wanted: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Shells commonly give 1,024 of many more, for the sake of programs older than this one's kind.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let fit = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX);
    if fit < wanted {
        tracing::warn!(
            limits.connections = wanted,
            process.open_files = files,
            connections = fit,
            "the process may not have open files for as many connections as are configured; raise its \
             limit (`ulimit -n`, LimitNOFILE=)",
        );
    }
    fit.min(wanted)
}
