//! The listening side: accepts connections within their limits and closes them after a drain.

mod connection;
mod connection_slots;
mod connection_state;
mod open_files;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::ConnectionHandler;
use self::connection_slots::ConnectionSlots;
pub use self::connection_state::ConnectionLimits;
use super::tls::ServerTls;
use crate::config::IpNetwork;
use crate::http::PeerInfo;
use crate::shutdown::ShutdownSignal;
use crate::telemetry::{CloseReason, ServiceMetrics};

/// Time for the last responses to reach their clients after a drain.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Delay after a failed accept; by then, other connections may have closed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Minimum time between two log lines about failed accepts.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The dependencies of the server.
pub struct ServerDeps {
    pub router: Router,
    pub tls: Option<Arc<ServerTls>>,
    pub shutdown: ShutdownSignal,
    pub metrics: ServiceMetrics,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Arc<[IpNetwork]>,
}

/// The listening side, ready to run.
pub struct HttpServer {
    handler: Arc<ConnectionHandler>,
    slots: Arc<ConnectionSlots>,
    shutdown: ShutdownSignal,
    metrics: ServiceMetrics,
    tasks: TaskTracker,
    /// Connections finish the request in flight and close.
    closing: CancellationToken,
    /// Connections close at once.
    abort: CancellationToken,
}

impl HttpServer {
    /// A server with these limits, or fewer connections if the limit on open files requires it.
    pub fn new(deps: ServerDeps, mut limits: ConnectionLimits) -> Self {
        let ServerDeps { router, tls, shutdown, metrics, trusted_proxies } = deps;
        limits.connections = open_files::connections_that_fit(limits.connections);
        let slots = ConnectionSlots::new(limits, Arc::clone(&trusted_proxies), metrics.clone());
        let handler = ConnectionHandler {
            router,
            tls,
            trusted_proxies,
            http: connection::http(limits.header_bytes),
            limits,
            metrics: metrics.clone(),
        };
        Self {
            handler: Arc::new(handler),
            slots: Arc::new(slots),
            shutdown,
            metrics,
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
            () = self.handler.watch_tls() => {}
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
        let mut logged = None::<Instant>;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.spawn(stream, address),
                Err(error) if is_client_error(&error) => {}
                Err(error) => {
                    if logged.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                        logged = Some(Instant::now());
                        tracing::error!(%error, "cannot accept connections");
                    }
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    fn spawn(&self, stream: TcpStream, address: SocketAddr) {
        let Some(slot) = self.slots.acquire(address) else {
            self.metrics.connection_ended(CloseReason::Refused);
            return;
        };
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
        });
    }
}

/// Whether the client was gone before the accept, so that the listener is not at fault.
fn is_client_error(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
