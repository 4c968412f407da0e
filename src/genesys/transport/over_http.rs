//! Exchanges over HTTP(S): hyper's client with its pool of connections, and rustls.
//!
//! hyper's client and not reqwest, which is the same one with redirects, proxies, retries and cookies
//! around it: with all of that off it still takes an eighth of the processor time of a read.

use std::error::Error;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower::Service;

use super::{Exchanged, Transport};
use crate::genesys::error::{UpstreamError, innermost};
use crate::ports::BoxFuture;

/// How long an idle connection is kept: below the minute after which load balancers commonly
/// close theirs, so that a request seldom meets a connection that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// How upstream is reached.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Time to connect, TLS and proxy included.
    pub connect_timeout: Duration,
    /// Largest body of an answer.
    pub body_limit: usize,
    /// Authorities to trust beside those of the system.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The proxy for https, if there is one.
    pub proxy: Option<ProxyServer>,
}

/// An HTTP proxy, which is asked for tunnels.
#[derive(Clone, Debug)]
pub struct ProxyServer {
    /// Where it is.
    pub address: Uri,
    /// What it is shown as `Proxy-Authorization`; to be marked as sensitive.
    pub authorization: Option<HeaderValue>,
}

impl Outbound {
    /// Directly, trusting whom the system trusts.
    pub fn new(connect_timeout: Duration, body_limit: usize) -> Self {
        Self { connect_timeout, body_limit, authorities: Vec::new(), proxy: None }
    }

    /// Exchanges over HTTP(S), with pooled connections. It follows no redirect, which would carry the
    /// token to another host, and repeats nothing but what never left because its idle connection was
    /// closed. Certificates are always verified.
    ///
    /// # Errors
    /// If the TLS set-up of the machine is unusable, for want of CA certificates for instance.
    pub fn transport(self) -> Result<Transport, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = self.authorities.iter().cloned();
        let verifier = Verifier::new_with_extra_roots(authorities, Arc::clone(&provider))?;
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous() // so named for what else could stand here
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(self.transport_with(tls))
    }

    /// The same with other ideas of TLS.
    pub fn transport_with(self, tls: ClientConfig) -> Transport {
        let body_limit = self.body_limit;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .build(self.connector(tls));
        Transport::of(move |request| exchange(client.clone(), request, body_limit))
    }

    fn connector(self, tls: ClientConfig) -> Connector {
        let timeout = self.connect_timeout;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared by the addresses of a host, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(timeout));
        let tunnel = self.proxy.map(|proxy| {
            let tunnel = Tunnel::new(proxy.address, tcp.clone());
            match proxy.authorization {
                Some(authorization) => tunnel.with_auth(authorization),
                None => tunnel,
            }
        });
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let https = https.enable_http1().wrap_connector(Way { direct: tcp, tunnel });
        Connector { https, timeout }
    }
}

/// Exchanges over HTTP(S) as [`Outbound::new`] has it.
///
/// # Errors
/// As [`Outbound::transport`].
pub fn over_http(connect_timeout: Duration, body_limit: usize) -> Result<Transport, rustls::Error> {
    Outbound::new(connect_timeout, body_limit).transport()
}

type Failure = Box<dyn Error + Send + Sync>;

/// Connects within a time that covers the TLS handshake as well.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<Way>,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.timeout, self.https.call(uri));
        Box::pin(async { connected.await? })
    }
}

/// Opens connections, directly or through a proxy. What is not encrypted goes directly: proxies open
/// tunnels for https alone.
#[derive(Clone)]
struct Way {
    direct: HttpConnector,
    tunnel: Option<Tunnel<HttpConnector>>,
}

impl Service<Uri> for Way {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match &mut self.tunnel {
            Some(tunnel) if uri.scheme() == Some(&Scheme::HTTPS) => {
                let connected = tunnel.call(uri);
                Box::pin(async { connected.await.map_err(Into::into) })
            }
            _ => {
                let connected = self.direct.call(uri);
                Box::pin(async { connected.await.map_err(Into::into) })
            }
        }
    }
}

async fn exchange(
    client: Client<Connector, Full<Bytes>>,
    request: Request<Bytes>,
    body_limit: usize,
) -> Exchanged {
    let is_patch = request.method() == Method::PATCH;
    let answer = client
        .request(request.map(Full::new))
        .await
        .map_err(|error| UpstreamError::from_client(&error))?;
    let (head, mut body) = answer.into_parts();
    let body = match gathered(&mut body, body_limit).await {
        Ok(body) => body,
        // Accepted is accepted: nothing is read from the body of a good answer to a PATCH.
        Err(_) if is_patch && head.status.is_success() => Bytes::new(),
        Err(error) => return Err(error),
    };
    Ok(Response::from_parts(head, body))
}

async fn gathered(
    answer: &mut (impl HttpBody<Data = Bytes, Error: Error> + Unpin),
    body_limit: usize,
) -> Result<Bytes, UpstreamError> {
    let mut body = Bytes::new();
    while let Some(frame) = answer.frame().await {
        let frame = frame.map_err(|error| UpstreamError::Reset(innermost(&error)))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if body.len() + chunk.len() > body_limit {
            return Err(UpstreamError::TooLarge { limit: body_limit });
        }
        // Most answers are one chunk, which needs no copy.
        body = if body.is_empty() { chunk } else { joined(body, &chunk) };
    }
    Ok(body)
}

/// Appends without copying what is there already, as long as nobody else holds it.
fn joined(body: Bytes, chunk: &[u8]) -> Bytes {
    let mut body = BytesMut::from(body);
    body.extend_from_slice(chunk);
    body.freeze()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use http::Method;
    use tower::ServiceExt as _;

    use super::*;

    /// What comes of a request that a server answers with `answer`, and then hangs up.
    async fn answered(
        method: Method,
        answer: &'static str,
    ) -> Result<Response<Bytes>, UpstreamError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let transport = over_http(Duration::from_secs(1), 1024).expect("a client");
        let request = Request::builder().method(method).uri(format!("http://{address}/"));
        transport.oneshot(request.body(Bytes::new()).expect("a request")).await
    }

    #[tokio::test]
    async fn a_good_answer_to_a_patch_stands_whatever_becomes_of_its_body() {
        const BROKEN: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\nshort";
        let accepted = answered(Method::PATCH, BROKEN).await.expect("accepted");
        assert_eq!((accepted.status().as_u16(), accepted.body().len()), (202, 0));
        let read = answered(Method::GET, BROKEN).await;
        assert!(matches!(read, Err(UpstreamError::Reset(_))), "{read:?}");
        let refused = "HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\nshort";
        assert!(answered(Method::PATCH, refused).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_ends_without_an_answer_is_a_reset_and_none_is_no_connection() {
        let reset = answered(Method::PATCH, "").await;
        assert!(matches!(reset, Err(UpstreamError::Reset(_))), "{reset:?}");
        let transport = over_http(Duration::from_secs(1), 1024).expect("a client");
        let nobody = Request::builder().uri("http://127.0.0.1:1/").body(Bytes::new());
        let nobody = transport.oneshot(nobody.expect("a request")).await;
        assert!(matches!(nobody, Err(UpstreamError::Connect(_))), "{nobody:?}");
    }
}
