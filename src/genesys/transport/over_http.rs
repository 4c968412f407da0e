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
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::net::TcpStream;
use tower::Service;

use super::{Exchanged, Transport};
use crate::genesys::error::{UpstreamError, innermost};
use crate::ports::BoxFuture;

/// How long an idle connection is kept: below the minute after which load balancers commonly
/// close theirs, so that a request seldom meets a connection that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// Connects within a time that covers the TLS handshake as well.
#[derive(Clone)]
struct Connector {
    https: HttpsConnector<HttpConnector>,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.timeout, self.https.call(uri));
        Box::pin(async { connected.await? })
    }
}

/// Exchanges over HTTP(S), with pooled connections. It follows no redirect, which would carry the token
/// to another host, and repeats nothing but what never left because its idle connection was closed.
/// Certificates are always verified.
///
/// # Errors
/// If the TLS set-up of the machine is unusable, for want of CA certificates for instance.
pub fn over_http(connect_timeout: Duration, body_limit: usize) -> Result<Transport, rustls::Error> {
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(connector(connect_timeout)?);
    Ok(Transport::of(move |request| exchange(client.clone(), request, body_limit)))
}

fn connector(timeout: Duration) -> Result<Connector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Shared by the addresses of a host, so that a dead one leaves time for the next.
    tcp.set_connect_timeout(Some(timeout));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    Ok(Connector { https: https.enable_http1().wrap_connector(tcp), timeout })
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
