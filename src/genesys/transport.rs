//! Sends requests over HTTP, or directly to a router in this process. Tests use the router: it needs
//! no socket, so time can be paused.
//!
//! The transport reads the whole body of an answer, up to a limit that protects our memory. The
//! layers above work on bytes.

mod http_client;

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::Service;
use tower::util::ServiceExt;

pub use self::http_client::{HttpClientSettings, over_http};
use super::error::UpstreamError;
use crate::ports::BoxFuture;

/// The result of one HTTP exchange.
type ExchangeResult = Result<Response<Bytes>, UpstreamError>;

/// A service that makes one HTTP exchange: the transport itself, which expects absolute URIs, or
/// layers around it. Clones share it, because each layer clones the inner one for every call. Futures
/// are boxed: nine nested layers have a future of eight kilobytes, which every layer would copy.
#[derive(Clone)]
pub struct HttpTransport(
    Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, ExchangeResult> + Send + Sync>,
);

impl HttpTransport {
    /// A transport that calls `exchange`.
    pub fn from_fn<F: Future<Output = ExchangeResult> + Send + 'static>(
        exchange: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| Box::pin(exchange(request))))
    }

    /// Makes one exchange. The transport is always ready for another.
    pub fn exchange(&self, request: Request<Bytes>) -> BoxFuture<'static, ExchangeResult> {
        (self.0)(request)
    }
}

impl Service<Request<Bytes>> for HttpTransport {
    type Response = Response<Bytes>;
    type Error = UpstreamError;
    type Future = BoxFuture<'static, ExchangeResult>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.exchange(request)
    }
}

/// A transport to a router in this process.
pub fn in_process(router: Router, body_limit: usize) -> HttpTransport {
    HttpTransport::from_fn(move |request| {
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
