//! HTTP over one connection.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::CONNECTION;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::ConnectionLimits;
use super::connection_state::ConnectionState;
use crate::clock;
use crate::config::IpNetwork;
use crate::http::{PeerInfo, forwarded};
use crate::ports::BoxFuture;
use crate::service::tls::{ServerTls, ValidityPeriod, subject};
use crate::telemetry::{CloseReason, ServiceMetrics};

/// Serves connections.
pub struct ConnectionHandler {
    pub router: Router,
    pub tls: Option<ServerTls>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Arc<[IpNetwork]>,
    pub limits: ConnectionLimits,
    pub metrics: ServiceMetrics,
}

/// HTTP with a buffer for heads of about this size. hyper checks its buffer only after each read, so a
/// head can be half as long again. [`exceeds_head_limit`] enforces the exact limit.
fn http(header_bytes: usize) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Without half-close, the server notices at once that a client has hung up.
    // `ConnectionState` limits the time for a head, so hyper need not.
    http.half_close(false).header_read_timeout(None).max_buf_size(header_bytes + header_bytes / 16);
    http
}

impl ConnectionHandler {
    /// Whether the address is that of a trusted proxy.
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|proxy| proxy.contains(address))
    }

    /// Serves one connection to its end. After `closing`, it answers only the request in flight.
    pub async fn serve(&self, stream: TcpStream, peer: PeerInfo, closing: CancellationToken) {
        // Buffers are allocated once the client sends something, so a silent connection costs little.
        let first_bytes = timeout(self.limits.header_timeout, stream.readable());
        match first_bytes.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return self.metrics.connection_ended(CloseReason::HeaderTimeout),
        }
        match &self.tls {
            None => self.serve_http(stream, (peer, None), closing).await,
            // Boxed, so that a plain connection needs no memory for TLS.
            Some(tls) => Box::pin(self.serve_tls(tls, stream, peer, closing)).await,
        }
    }

    async fn serve_tls(
        &self,
        tls: &ServerTls,
        stream: TcpStream,
        mut peer: PeerInfo,
        closing: CancellationToken,
    ) {
        let material = tls.material();
        let acceptor = TlsAcceptor::from(Arc::clone(&material.server));
        match timeout(self.limits.handshake_timeout, acceptor.accept(stream)).await {
            Err(_) => self.metrics.connection_ended(CloseReason::HandshakeTimeout),
            Ok(Err(error)) => {
                self.metrics.connection_ended(CloseReason::HandshakeFailed);
                tracing::debug!(peer.address = %peer.socket, %error, "the TLS handshake failed");
            }
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let certificate = chain.and_then(|chain| chain.first());
                peer.certificate = certificate.and_then(|own| subject(own));
                let term = certificate.and_then(|own| ValidityPeriod::parse(own));
                let lapse = term.map(|term| lapse(term, material.trust.clone()));
                self.serve_http(stream, (peer, lapse), closing).await;
            }
        }
    }

    /// `lapse` resolves when the client certificate is no longer valid.
    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        (peer, lapse): (PeerInfo, Option<BoxFuture<'static, ()>>),
        closing: CancellationToken,
    ) {
        let state = Arc::new(ConnectionState::new());
        let io = TokioIo::new(TrackedIo { stream, state: Arc::clone(&state) });
        let service = service_fn(|request: Request<Incoming>| {
            state.request_started();
            let mut request = request.map(Body::new);
            let mut peer = peer.clone();
            let is_trusted = |address| self.is_proxy(address);
            peer.address = forwarded(peer.socket, request.headers(), is_trusted);
            request.extensions_mut().insert(peer);
            let (mut router, state) = (self.router.clone(), &state);
            async move {
                let answer = if exceeds_head_limit(&request, self.limits.header_bytes) {
                    Ok(refuse_head(self.limits.header_bytes))
                } else {
                    router.call(request).await
                };
                state.answer_started();
                answer
            }
        });
        let mut connection = pin!(http(self.limits.header_bytes).serve_connection(io, service));
        let mut lapse = lapse.unwrap_or_else(|| Box::pin(std::future::pending()));
        let mut is_closing = false;
        loop {
            tokio::select! {
                // In this order, so that a request that has arrived is answered before the close.
                biased;
                // The service can do nothing about a failed connection.
                _ = connection.as_mut() => return,
                reason = state.timeout(&self.limits) => {
                    return self.metrics.connection_ended(reason);
                }
                () = closing.cancelled(), if !is_closing => {
                    self.metrics.connection_ended(CloseReason::Shutdown);
                }
                () = &mut lapse, if !is_closing => {}
            }
            is_closing = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// Resolves when a client certificate expires, or when a reload replaces the authorities.
fn lapse(term: ValidityPeriod, trust: CancellationToken) -> BoxFuture<'static, ()> {
    // The certificate is valid up to and including its last second.
    let left = term.expires - clock::now() + time::Duration::SECOND;
    Box::pin(async move {
        let _ = timeout(left.try_into().unwrap_or_default(), trust.cancelled()).await;
    })
}

/// Whether the head exceeds the limit. It is counted with one space after each colon.
fn exceeds_head_limit(request: &Request<Body>, header_bytes: usize) -> bool {
    let target = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n\r\n".len();
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + headers.sum::<usize>() > header_bytes
}

/// The response to a head over the limit. hyper sends the same status for much longer heads.
fn refuse_head(header_bytes: usize) -> Response {
    let text =
        format!("the request head is longer than {header_bytes} bytes (limits.header_bytes)\n");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    (status, [(CONNECTION, "close")], text).into_response()
}

/// A stream that reports its reads and writes to the state of its connection.
struct TrackedIo<S> {
    stream: S,
    state: Arc<ConnectionState>,
}

impl<S: AsyncRead + Unpin> AsyncRead for TrackedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.state.received();
        }
        read
    }
}

impl<S> TrackedIo<S> {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.wrote(match &written {
            Poll::Pending => None,
            Poll::Ready(written) => Some(*written.as_ref().unwrap_or(&0)),
        });
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TrackedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(flushed.map_ok(|()| 0)).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
