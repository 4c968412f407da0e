//! Sends requests over HTTP, or directly to a router in this process. Tests use the router: it needs
//! no socket, so time can be paused.
//!
//! The transport reads the whole body of an answer, up to a limit that protects our memory. The
//! layers above work on bytes.

mod http_client;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::util::ServiceExt;
use url::Url;

pub use self::http_client::HttpClientSettings;
pub use super::error::ExchangeResult;
use super::error::UpstreamError;
use crate::ports::BoxFuture;

/// A request for the wire. Its URL is parsed already, because that is expensive.
#[derive(Debug)]
pub struct HttpRequest {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An asynchronous function from a request to an answer: the transport, or layers around it. It is
/// always ready. Clones share it, and futures are boxed: every layer would copy the nested ones.
pub struct SharedService<R>(Arc<dyn Fn(R) -> BoxFuture<'static, ExchangeResult> + Send + Sync>);

/// Makes one HTTP exchange.
pub type HttpTransport = SharedService<HttpRequest>;

impl<R> Clone for SharedService<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> SharedService<R> {
    /// A service that calls `exchange`.
    pub fn from_fn<F: Future<Output = ExchangeResult> + Send + 'static>(
        exchange: impl Fn(R) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(exchange(request))))
    }

    /// Makes one exchange.
    pub fn exchange(&self, request: R) -> BoxFuture<'static, ExchangeResult> {
        (self.0)(request)
    }
}

impl HttpTransport {
    /// Sends a request that did not come through a stack.
    pub async fn send(&self, request: Request<Bytes>) -> ExchangeResult {
        let (head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string())
            .map_err(|error| UpstreamError::Connect(error.to_string()))?;
        self.exchange(HttpRequest { method: head.method, url, headers: head.headers, body }).await
    }
}

/// A transport to a router in this process.
pub fn in_process(router: Router, body_limit: usize) -> HttpTransport {
    HttpTransport::from_fn(move |request: HttpRequest| {
        let router = router.clone();
        async move {
            let mut sent = Request::new(Body::from(request.body));
            *sent.method_mut() = request.method;
            *sent.headers_mut() = request.headers;
            let uri = request.url.as_str().parse();
            *sent.uri_mut() = uri.map_err(|_| UpstreamError::Connect("unusable URL".to_owned()))?;
            let answer = router.oneshot(sent).await;
            let (head, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
            let body = Limited::new(body, body_limit).collect().await.map_err(|error| {
                if error.downcast_ref::<LengthLimitError>().is_some() {
                    UpstreamError::TooLarge { limit: body_limit }
                } else {
                    UpstreamError::Reset(error.to_string())
                }
            })?;
            let body = body.to_bytes();
            // Over a socket, the connection would break in the middle of this body.
            if content_length(&head.headers).is_some_and(|length| length > body.len()) {
                return Err(UpstreamError::Reset("the body ended early".to_owned()));
            }
            Ok(Response::from_parts(head, body))
        }
    })
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
