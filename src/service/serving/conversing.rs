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
use http::{HeaderValue, Request, StatusCode};
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
    /// Bytes of the head of a request.
    pub header_bytes: usize,
    /// The figures.
    pub metrics: Metrics,
}

/// HTTP with heads of about this size at most. hyper looks at the size of its buffer after each read, so
/// that a head may be half as long again; [`is_over`] holds the limit itself.
pub fn http(header_bytes: usize) -> http1::Builder {
    let mut http = http1::Builder::new();
    // A caller that closes its side has hung up: only so is that noticed before the answer.
    // Heads that do not end are seen to by those who look at the line.
    http.half_close(false).header_read_timeout(None).max_buf_size(header_bytes + header_bytes / 16);
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
        let (router, header_bytes) = (self.router.clone(), self.header_bytes);
        let requests = Requests { router, header_bytes, peer, identity, proxies, line };
        // How it ended is nothing that the service could do something about.
        let _ = self.http.serve_connection(io, requests).await;
    }
}

/// The requests of one connection. Each of them tells its [`Peer`].
struct Requests {
    router: Router,
    header_bytes: usize,
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
        let is_over = is_over(&request, self.header_bytes);
        let answer =
            if is_over { refuse(self.header_bytes) } else { self.router.clone() }.call(request);
        Answering { answer, line: Arc::clone(&self.line), is_last: lapsed || is_over }
    }
}

/// Whether the head is over this limit, counted as it is written with one space behind each colon.
fn is_over(request: &Request<Body>, header_bytes: usize) -> bool {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + headers.sum::<usize>() > header_bytes
}

/// What answers a head that is over the limit. hyper answers much longer ones with the same status.
fn refuse(header_bytes: usize) -> Router {
    let text = format!(
        "the head of the request is longer than {header_bytes} bytes (limits.header_bytes)\n"
    );
    Router::new().fallback(async move || (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text))
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
