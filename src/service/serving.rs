//! The listening side: takes connections, keeps them within their bounds, and ends them.
//!
//! One task accepts, and looks at all connections several times a second for those whose time is
//! up. So a request arms no timer of its own: it leaves a mark on the line of its connection, and
//! that is all that the bounds cost it.

mod conversing;
mod files;
mod line;
mod queue;
mod table;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::conversing::Conversing;
use self::files::connections_that_fit;
use self::queue::{is_of_the_caller, those_that_wait};
use self::table::Table;
use super::tls::Tls;
use crate::config::Network;
use crate::http::Peer;
use crate::shutdown::Shutdown;
use crate::telemetry::{Ended, Metrics};

/// How long after a drain answers may still be on their way to their callers.
const GRACE: Duration = Duration::from_secs(1);

/// How long no connection is accepted when the system gives us none: some will have ended by then.
const RESPITE: Duration = Duration::from_millis(50);

/// Connections that are taken at most when nobody listens any more: as many as may wait by then.
const MOST_WAITING: usize = 4096;

/// What connections may take up, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address.
    pub per_address: usize,
    /// Bytes of the head of a request.
    pub header_bytes: usize,
    /// Time for a head to arrive.
    pub header_timeout: Duration,
    /// Time between an answer and the next request.
    pub idle_timeout: Duration,
    /// Time for a TLS handshake.
    pub handshake_timeout: Duration,
    /// Time in which a caller takes nothing of its answer.
    pub answer_timeout: Duration,
}

impl Bounds {
    /// Time between two looks at all connections: a fraction of the shortest time to be kept, which
    /// is as much as a connection may overstay.
    fn look_every(&self) -> Duration {
        let arrival = self.header_timeout.min(self.idle_timeout);
        let shortest = arrival.min(self.handshake_timeout).min(self.answer_timeout);
        (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

/// What is around the listening side.
pub struct Around {
    /// Going down.
    pub shutdown: Shutdown,
    /// The figures.
    pub metrics: Metrics,
    /// Proxies that are believed about who asks.
    pub trusted: Arc<[Network]>,
}

/// The listening side, ready to serve.
pub struct Serving {
    table: Arc<Table>,
    conversing: Arc<Conversing>,
    shutdown: Shutdown,
    metrics: Metrics,
    every: Duration,
}

impl Serving {
    /// Serves these routes within these bounds, or narrower ones if the system demands it.
    pub fn new(router: Router, tls: Option<Arc<Tls>>, mut bounds: Bounds, parts: Around) -> Self {
        let Around { shutdown, metrics, trusted } = parts;
        bounds.connections = connections_that_fit(bounds.connections);
        Self {
            table: Arc::new(Table::new(bounds, Arc::clone(&trusted), metrics.clone())),
            conversing: Arc::new(Conversing {
                router,
                tls,
                trusted,
                http: conversing::http(bounds.header_bytes),
                header_bytes: bounds.header_bytes,
                metrics: metrics.clone(),
            }),
            shutdown,
            metrics,
            every: bounds.look_every(),
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
        // callers get an answer instead of a closed door.
        let drained = async {
            self.shutdown.draining().await;
            self.shutdown.finished(GRACE).await;
        };
        tokio::select! {
            () = self.accept(&listener) => {}
            () = self.conversing.keep_tls() => {}
            () = drained => {}
        }
        // Answers given during the drain told their callers that it was the last one.
        self.table.end_those_that_rest(GRACE);
        self.take_those_that_wait(listener)?;
        self.end_gently().await;
        self.table.end_all();
        // What they had begun has to be on record before the audit is closed.
        let _ = timeout(GRACE, self.table.empty()).await;
        Ok(())
    }

    /// Ends connections as nothing is under way on them any more: those whose callers are slow to take
    /// an answer have their time.
    async fn end_gently(&self) {
        let begun = Instant::now();
        while begun.elapsed() < GRACE {
            self.table.end_those_that_rest(GRACE);
            if timeout(RESPITE, self.table.empty()).await.is_ok() {
                return;
            }
        }
    }

    /// Takes connections for ever.
    async fn accept(&self, listener: &tokio::net::TcpListener) {
        let mut looks = interval(self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complained = None::<Instant>;
        loop {
            tokio::select! {
                biased;
                _ = looks.tick() => self.table.look(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => self.take(stream, address),
                    Err(error) if is_of_the_caller(&error) => {}
                    Err(error) => {
                        if complained.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
                            complained = Some(Instant::now());
                            tracing::error!(%error, "no connection can be accepted");
                        }
                        // Commonly no file descriptors are left: one idle connection has one.
                        self.table.make_room();
                        tokio::time::sleep(RESPITE).await;
                    }
                },
            }
        }
    }

    /// Takes those who wait to be accepted, since nobody listens any more afterwards. The listener is
    /// asked itself: the runtime may not have heard yet of who came last.
    fn take_those_that_wait(&self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        for (stream, address) in those_that_wait(&listener.into_std()?, MOST_WAITING) {
            self.take(TcpStream::from_std(stream)?, address);
        }
        Ok(())
    }

    fn take(&self, stream: TcpStream, address: SocketAddr) {
        let Some(place) = self.table.admit(address) else {
            self.metrics.connection_ended(Ended::Refused);
            return;
        };
        // Answers leave as one piece each: nothing is gained by holding one back.
        let _ = stream.set_nodelay(true);
        let line = Arc::clone(place.line());
        let conversing = Arc::clone(&self.conversing);
        let task = tokio::spawn(async move {
            conversing.over(stream, Peer::at(address), Arc::clone(place.line())).await;
            drop(place);
        });
        line.runs_as(task.abort_handle());
    }
}
