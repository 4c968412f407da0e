//! Signal handling of a running service.

use std::time::Duration;

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::service::{ServiceHandle, WatchedFiles};
use crate::telemetry::TelemetryOutput;

/// Time for the last audit records after a second signal.
const FORCED_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Exit status after a second signal, the same as after SIGINT.
const INTERRUPTED_STATUS: i32 = 130;

/// The signals that the service handles. None of them ends the process by default any more.
pub struct SignalListener {
    /// SIGINT, SIGTERM and SIGQUIT.
    ends: [Signal; 3],
    hangup: Signal,
    /// SIGUSR1, SIGUSR2 and SIGPIPE do nothing. SIGXFSZ makes a write fail, as on a full disk.
    _ignored: [Signal; 4],
}

impl SignalListener {
    /// Installs the handlers.
    pub fn listen() -> std::io::Result<Self> {
        let [int, term, quit] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()];
        Ok(Self {
            ends: [signal(int)?, signal(term)?, signal(quit)?],
            hangup: signal(SignalKind::hangup())?,
            _ignored: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::pipe())?,
                signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
            ],
        })
    }

    /// The first SIGINT, SIGTERM or SIGQUIT begins the drain, the second ends the process. SIGHUP
    /// reloads files.
    pub async fn handle(mut self, service: ServiceHandle, drain: Duration, log: TelemetryOutput) {
        self.end_signal(&service.files).await;
        tracing::info!(drain_s = drain.as_secs(), "draining; a second signal ends at once");
        service.shutdown.begin(drain);
        self.end_signal(&service.files).await;
        tracing::warn!("ended at once by a second signal");
        service.records.written(FORCED_FLUSH_TIMEOUT).await;
        log.finish();
        std::process::exit(INTERRUPTED_STATUS);
    }

    /// Waits for a signal that ends the service; handles SIGHUP meanwhile.
    async fn end_signal(&mut self, files: &WatchedFiles) {
        let [interrupt, terminate, quit] = &mut self.ends;
        loop {
            tokio::select! {
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                _ = quit.recv() => return,
                _ = self.hangup.recv() => reload(files),
            }
        }
    }
}

fn reload(files: &WatchedFiles) {
    let names = files.reload();
    if names.is_empty() {
        tracing::info!(
            "SIGHUP: neither auth.clients_file nor server.tls is set, so there is nothing to reload"
        );
    } else {
        tracing::info!("SIGHUP: reloading {}", names.join(" and "));
    }
}
