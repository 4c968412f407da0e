//! The listening side: accepts connections within their limits and closes them after a drain.

mod connection;
mod connection_state;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::connection::ConnectionHandler;
pub use self::connection_state::ConnectionLimits;
use crate::http::{AddressLimiter, AddressSlot, PeerInfo};
use crate::shutdown::ShutdownSignal;
use crate::telemetry::CloseReason;

/// Time for the last responses to reach their clients after a drain.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Where slots are scarce, an address gets at most one of so many free ones.
const FREE_PER_ADDRESS: usize = 8;

/// Delay after a failed accept; by then, other connections may have closed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The listening side, ready to run.
pub struct HttpServer {
    handler: Arc<ConnectionHandler>,
    slots: Arc<Semaphore>,
    /// The number of slots.
    connections: usize,
    addresses: AddressLimiter,
    shutdown: ShutdownSignal,
    tasks: TaskTracker,
    /// Connections finish the request in flight and close.
    closing: CancellationToken,
    /// Connections close at once.
    abort: CancellationToken,
}

impl HttpServer {
    /// A server for `handler`, with fewer connections if the limit on open files requires it.
    pub fn new(handler: ConnectionHandler, shutdown: ShutdownSignal) -> Self {
        let connections = connections_that_fit(handler.limits.connections);
        Self {
            slots: Arc::new(Semaphore::new(connections)),
            connections,
            addresses: AddressLimiter::new(handler.limits.per_address),
            handler: Arc::new(handler),
            shutdown,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Serves on `listener` until a drain has ended.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        listener.set_nonblocking(true).context("cannot use the listener")?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        // The listener stays open during a drain, so that /readyz answers and late clients get a
        // response.
        let drained = async {
            self.shutdown.draining().await;
            self.shutdown.finished(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.accept_all(&listener) => {}
            () = drained => {}
        }
        self.closing.cancel();
        drop(listener);
        self.tasks.close();
        if timeout(CLOSE_TIMEOUT, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            // The aborted requests must be recorded before the audit log closes.
            let _ = timeout(CLOSE_TIMEOUT, self.tasks.wait()).await;
        }
        Ok(())
    }

    async fn accept_all(&self, listener: &tokio::net::TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.spawn(stream, address),
                Err(error) if is_client_error(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, address: SocketAddr) {
        let Some(slot) = self.slot(address.ip()) else {
            self.handler.metrics.connection_ended(CloseReason::Refused);
            return;
        };
        self.handler.metrics.connections(1);
        // Each response is written as a whole, so Nagle's algorithm would only delay it.
        let _ = stream.set_nodelay(true);
        let (handler, abort) = (Arc::clone(&self.handler), self.abort.clone());
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = handler.serve(stream, PeerInfo::from_address(address), closing) => {}
                () = abort.cancelled() => handler.metrics.connection_ended(CloseReason::Shutdown),
            }
            drop(slot);
            handler.metrics.connections(-1);
        });
    }

    /// A slot for a new connection, which is closed at once over a limit. The limit per address prevents that
    /// one client takes all slots. Once half of them are in use, it shrinks with those that are free, so that
    /// a few dozen addresses together cannot take all slots either.
    fn slot(&self, address: IpAddr) -> Option<(OwnedSemaphorePermit, AddressSlot)> {
        let (free, per_address) = (self.slots.available_permits(), self.handler.limits.per_address);
        let most = if self.handler.is_proxy(address) {
            // A proxy has connections of many clients, so only the total limits it.
            usize::MAX
        } else if free > self.connections.saturating_sub(free) {
            per_address
        } else {
            per_address.min(free.div_ceil(FREE_PER_ADDRESS))
        };
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some((slot, self.addresses.slot(address, most)?))
    }
}

/// Whether the client was gone before the accept, so that the listener is not at fault.
fn is_client_error(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Raises the limit on open files as far as allowed, and returns how many of the `wanted` connections
/// fit. They get three quarters of the files, because upstream calls need some too.
fn connections_that_fit(wanted: usize) -> usize {
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

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;
    use crate::http::paths;
    use crate::telemetry::ServiceMetrics;

    fn server(connections: usize, per_address: usize) -> HttpServer {
        let second = Duration::from_secs(1);
        let limits = ConnectionLimits {
            connections,
            per_address,
            header_bytes: 8192,
            header_timeout: second,
            idle_timeout: second,
            handshake_timeout: second,
            answer_timeout: second,
        };
        let handler = ConnectionHandler {
            router: Router::new(),
            tls: None,
            trusted_proxies: ["10.0.0.0/8".parse().expect("a network")].into(),
            limits,
            metrics: ServiceMetrics::new(paths::ALL),
        };
        HttpServer::new(handler, ShutdownSignal::default())
    }

    #[test]
    fn an_address_gets_its_slots_back() {
        let server = server(10, 2);
        let from = |text: &str| server.slot(text.parse().expect("an address"));
        let first = from("192.0.2.1").expect("a slot");
        let _second = from("192.0.2.1").expect("a slot");
        assert!(from("192.0.2.1").is_none());
        assert!(from("192.0.2.2").is_some(), "another address has its own slots");
        drop(first);
        assert!(from("192.0.2.1").is_some());
    }

    #[test]
    fn many_addresses_leave_slots_for_another_one() {
        let server = server(400, 40);
        let held: Vec<_> = (0..20)
            .flat_map(|address| [IpAddr::from([192, 0, 2, address]); 40])
            .filter_map(|address| server.slot(address))
            .collect();
        assert!(held.len() > 300, "{} are in use", held.len());
        assert!(server.slot("198.51.100.1".parse().expect("an address")).is_some());
    }

    #[test]
    fn only_the_total_limits_a_proxy() {
        let server = server(3, 1);
        let held: Vec<_> =
            (0..4).filter_map(|_| server.slot(IpAddr::from([10, 0, 0, 1]))).collect();
        assert_eq!(held.len(), 3);
        assert!(server.slot("192.0.2.1".parse().expect("an address")).is_none());
    }
}
