//! How a request leaves the process: over HTTP by reqwest, or straight into a router of this
//! process, which is how tests run under paused time without a socket.
//!
//! The body of an answer is read here, up to a limit, so that everything above works on bytes and
//! no upstream can fill our memory.

mod last_url;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::Service;
use tower::util::ServiceExt;

use self::last_url::LastUrl;
use super::error::UpstreamError;
use crate::ports::BoxFuture;

/// What comes of one HTTP exchange.
type Exchanged = Result<Response<Bytes>, UpstreamError>;

/// A service that makes one HTTP exchange. Request URIs are absolute. Each layer above takes clones
/// for every call, so they share what is inside: a dozen boxed copies a call could be measured.
#[derive(Clone)]
pub struct Transport(Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Exchanged> + Send + Sync>);

impl Transport {
    /// Exchanges as `service` does.
    pub fn new(service: impl Exchange) -> Self {
        Self::of(move |request| service.clone().oneshot(request))
    }

    fn of<F: Future<Output = Exchanged> + Send + 'static>(
        exchange: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(exchange(request))))
    }
}

impl Service<Request<Bytes>> for Transport {
    type Response = Response<Bytes>;
    type Error = UpstreamError;
    type Future = BoxFuture<'static, Exchanged>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        (self.0)(request)
    }
}

/// How long an idle connection is kept: below the minute after which load balancers commonly
/// close theirs, so that a request seldom meets a connection that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// Exchanges over HTTP(S), with pooled connections. Retries, redirects and proxies of the library
/// are off: its retries would escape the retry budget, and a redirect would carry the token to
/// another host. Certificates are always verified.
///
/// # Errors
/// If the TLS set-up of the machine is unusable, for want of CA certificates for instance.
pub fn over_http(
    connect_timeout: Duration,
    body_limit: usize,
) -> Result<Transport, reqwest::Error> {
    // A second installation fails, which is fine: it is the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_CONNECTION)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .build()?;
    let last_url = Arc::<LastUrl>::default();
    Ok(Transport::of(move |request| {
        let (client, request) = (client.clone(), last_url.request(request));
        async move { exchange(&client, request?, body_limit).await }
    }))
}

async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    body_limit: usize,
) -> Exchanged {
    let is_patch = request.method() == Method::PATCH;
    let mut answer = client.execute(request).await.map_err(UpstreamError::from_reqwest)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let body = match gathered(&mut answer, body_limit).await {
        Ok(body) => body,
        // Accepted is accepted: nothing is read from the body of a good answer to a PATCH.
        Err(_) if is_patch && answer.status().is_success() => Bytes::new(),
        Err(error) => return Err(error),
    };
    response.body(body).map_err(|_| UpstreamError::Invalid("unusable headers"))
}

async fn gathered(
    answer: &mut reqwest::Response,
    body_limit: usize,
) -> Result<Bytes, UpstreamError> {
    let mut body = Bytes::new();
    while let Some(chunk) = answer.chunk().await.map_err(UpstreamError::from_reqwest)? {
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

/// Exchanges with a router of this process.
pub fn in_process(router: Router, body_limit: usize) -> Transport {
    Transport::of(move |request| {
        let router = router.clone();
        async move {
            let answer = router.oneshot(request.map(Body::from)).await;
            let (head, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
            let body = Limited::new(body, body_limit).collect().await.map_err(|error| {
                if error.downcast_ref::<LengthLimitError>().is_some() {
                    UpstreamError::TooLarge { limit: body_limit }
                } else {
                    UpstreamError::Reset(error.to_string())
                }
            })?;
            let body = body.to_bytes();
            // Over a socket the connection would end in the middle of such a body.
            if announced(&head.headers).is_some_and(|length| length > body.len()) {
                return Err(UpstreamError::Reset("the body ended early".to_owned()));
            }
            Ok(Response::from_parts(head, body))
        }
    })
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What every layer above asks of the service inside it.
pub trait Exchange:
    Service<Request<Bytes>, Response = Response<Bytes>, Error = UpstreamError, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Exchange for S where
    S: Service<Request<Bytes>, Response = Response<Bytes>, Error = UpstreamError, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

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
