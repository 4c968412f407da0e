//! HTTP over one connection.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service as _;

use super::line::{Line, Phase};
use crate::config::Network;
use crate::http::{Peer, forwarded};
use crate::service::tls::{Identity, Tls};
use crate::telemetry::{Ended, Metrics};

/// How HTTP is spoken, and what is served.
pub struct Conversing {
    /// What is served.
    pub router: Router,
    /// TLS; `None` for plain HTTP.
    pub tls: Option<Arc<Tls>>,
    /// Proxies that are believed about who asks.
    pub trusted: Arc<[Network]>,
    /// How HTTP is spoken.
    pub http: http1::Builder,
    /// The figures.
    pub metrics: Metrics,
}

/// HTTP with heads of at most this size.
pub fn http(header_bytes: usize) -> http1::Builder {
    let mut http = http1::Builder::new();
    // A caller that closes its side has hung up: only so is that noticed before the answer.
    // Heads that do not end are seen to by those who look at the line.
    http.half_close(false).header_read_timeout(None).max_buf_size(header_bytes);
    http
}

impl Conversing {
    /// Serves one connection to its end.
    pub async fn over(&self, stream: TcpStream, peer: Peer, line: Arc<Line>) {
        // Buffers are made for who has something to say: one that only connects costs little.
        if stream.readable().await.is_err() {
            return;
        }
        match &self.tls {
            None => self.converse(stream, (peer, None), line).await,
            // Apart, so that a plain connection takes up no room for what it does not do.
            Some(tls) => Box::pin(self.encrypted(tls, stream, peer, line)).await,
        }
    }

    async fn encrypted(&self, tls: &Tls, stream: TcpStream, mut peer: Peer, line: Arc<Line>) {
        line.enter(Phase::Handshake);
        let generation = tls.generation();
        match tls.acceptor().accept(stream).await {
            Ok(stream) => {
                line.enter(Phase::Opening);
                let shown = stream.get_ref().1.peer_certificates();
                let identity = shown.and_then(|chain| Identity::of(chain, generation));
                peer.certificate = identity.as_ref().and_then(|known| known.subject.clone());
                self.converse(stream, (peer, identity), line).await;
            }
            Err(error) => {
                self.metrics.connection_ended(Ended::HandshakeFailed);
                tracing::debug!(peer.address = %peer.socket, %error, "no TLS handshake");
            }
        }
    }

    /// Takes the TLS files anew whenever they change, for ever.
    pub async fn keep_tls(&self) {
        match &self.tls {
            Some(tls) => tls.keep(&self.metrics).await,
            None => std::future::pending().await,
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        (peer, identity): (Peer, Option<Identity>),
        line: Arc<Line>,
    ) {
        let io = TokioIo::new(Heard { stream, line: Arc::clone(&line) });
        let by_proxy = self.trusted.iter().any(|proxy| proxy.contains(peer.socket.ip()));
        let proxies = by_proxy.then(|| Arc::clone(&self.trusted));
        let identity = self.tls.clone().zip(identity);
        let requests = Requests { router: self.router.clone(), peer, identity, proxies, line };
        // How it ended is nothing that the service could do something about.
        let _ = self.http.serve_connection(io, requests).await;
    }
}

/// The requests of one connection. Each of them tells its [`Peer`].
struct Requests {
    router: Router,
    peer: Peer,
    /// The certificate that the connection was made with, and who judges it.
    identity: Option<(Arc<Tls>, Identity)>,
    /// If the other end is one of them.
    proxies: Option<Arc<[Network]>>,
    line: Arc<Line>,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.line.enter(Phase::Busy);
        let mut request = request.map(Body::new);
        let mut peer = self.peer.clone();
        if let Some(proxies) = &self.proxies {
            let trusted = |address| proxies.iter().any(|proxy| proxy.contains(address));
            peer.address = forwarded(peer.socket, request.headers(), trusted);
        }
        let lapsed = self.identity.as_ref().is_some_and(|(tls, own)| !tls.lets_in(own));
        if lapsed {
            (peer.certificate, peer.lapsed) = (None, true);
        }
        request.extensions_mut().insert(peer);
        let (answer, line) = (self.router.clone().call(request), Arc::clone(&self.line));
        Answering { answer, line, is_last: lapsed }
    }
}

pin_project! {
    /// A request being answered.
    struct Answering {
        #[pin]
        answer: RouteFuture<Infallible>,
        line: Arc<Line>,
        is_last: bool,
    }
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(context));
        this.line.enter(Phase::Answering);
        if let (true, Ok(answer)) = (*this.is_last, &mut answer) {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(answer)
    }
}

/// A stream that marks its line when something arrives, and when something is taken.
struct Heard<S> {
    stream: S,
    line: Arc<Line>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.line.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.line.takes(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.line.takes(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.line.takes(flushed.is_ready());
        if flushed.is_ready() {
            self.line.took_all();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
