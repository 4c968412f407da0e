//! Layers whose clones share what is inside them.
//!
//! Middleware of axum clones its inner service for every request. In a stack of layers, the innermost ones
//! would be cloned once for each layer around them, a tenth of the cost of a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::layer::util::Stack;
use tower::{Layer, Service};

/// A layer around a service that is shared.
pub fn shared<L>(layer: L) -> Stack<SharedLayer, L> {
    Stack::new(SharedLayer, layer)
}

/// Makes a service cheap to clone.
#[derive(Clone, Copy)]
pub struct SharedLayer;

impl<S> Layer<S> for SharedLayer {
    type Service = SharedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SharedService(Arc::new(inner))
    }
}

/// A service behind a pointer. It needs an inner service that is always ready, as those of axum are.
pub struct SharedService<S>(Arc<S>);

impl<S> Clone for SharedService<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R, S: Service<R, Error = Infallible> + Clone> Service<R> for SharedService<S> {
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        S::clone(&self.0).call(request)
    }
}
