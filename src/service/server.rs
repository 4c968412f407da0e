//! The listening side: accepts connections within their limits, and ends them on a drain.

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

/// How long answers may still be on their way to clients after a drain.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the server waits when the system gives it no connection: some will have ended by then.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How often the log tells that no connection can be accepted.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long the server waits for a connection that the system has made and it has not accepted yet.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(10);

/// Connections that are accepted at most once a drain is over.
const MAX_BACKLOG: usize = 4096;

/// What the server needs.
pub struct ServerDeps {
    /// The routes.
    pub router: Router,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// Going down.
    pub shutdown: ShutdownSignal,
    /// The metrics.
    pub metrics: ServiceMetrics,
    /// Proxies whose word about the address of a client counts.
    pub trusted_proxies: Arc<[IpNetwork]>,
}

/// The listening side, ready to run.
pub struct HttpServer {
    handler: Arc<ConnectionHandler>,
    slots: Arc<ConnectionSlots>,
    shutdown: ShutdownSignal,
    metrics: ServiceMetrics,
    tasks: TaskTracker,
    /// Connections finish the request under way, and close.
    closing: CancellationToken,
    /// Connections end at once.
    abort: CancellationToken,
}

impl HttpServer {
    /// A server within these limits, or narrower ones if the open files of the process demand it.
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

    /// Serves on `listener` until a drain has begun and ended.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        listener.set_nonblocking(true).context("cannot use the listener")?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        // The listener stays open during a drain, so that /readyz can say what is going on and late
        // clients get an answer.
        let drained = async {
            self.shutdown.draining().await;
            self.shutdown.finished(CLOSE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.accept_all(&listener) => {}
            () = self.handler.keep_tls() => {}
            () = drained => {}
        }
        self.closing.cancel();
        self.accept_backlog(&listener).await;
        drop(listener);
        self.tasks.close();
        if timeout(CLOSE_TIMEOUT, self.tasks.wait()).await.is_err() {
            self.abort.cancel();
            // What they had begun has to be on record before the audit is closed.
            let _ = timeout(CLOSE_TIMEOUT, self.tasks.wait()).await;
        }
        Ok(())
    }

    async fn accept_all(&self, listener: &tokio::net::TcpListener) {
        let mut logged = None::<Instant>;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.spawn(stream, address),
                Err(error) if is_of_client(&error) => {}
                Err(error) => {
                    if logged.is_none_or(|at| at.elapsed() > LOG_INTERVAL) {
                        logged = Some(Instant::now());
                        tracing::error!(%error, "no connection can be accepted");
                    }
                    sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    /// Accepts connections that the system has made already. It would reset them with the listener.
    async fn accept_backlog(&self, listener: &tokio::net::TcpListener) {
        for _ in 0..MAX_BACKLOG {
            match timeout(BACKLOG_TIMEOUT, listener.accept()).await {
                Ok(Ok((stream, address))) => self.spawn(stream, address),
                Ok(Err(error)) if is_of_client(&error) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn spawn(&self, stream: TcpStream, address: SocketAddr) {
        let Some(slot) = self.slots.acquire(address) else {
            self.metrics.connection_ended(CloseReason::Refused);
            return;
        };
        // Answers leave as one piece each, so holding one back gains nothing.
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

/// Whether the client was gone before it was accepted, which says nothing about the listener.
fn is_of_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
