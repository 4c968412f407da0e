//! The layers of the upstream stack, one per file. Their order is in `stack.rs`.
//!
//! A layer is an asynchronous function of its state, the request and the next service. All layers are
//! always ready: they wait inside their future, where the deadline of the call applies.

pub mod attempt;
pub mod auth;
pub mod rate_limit;
pub mod retry;
pub mod send;
pub mod throttle;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method};
use parking_lot::Mutex;
use tower::Layer;
use tower::layer::layer_fn;

use super::transport::{ExchangeResult, SharedService};
use crate::domain::ConversationId;
use crate::ports::{
    CallPermit, PlatformOperation, PriorityClass, RequestContext, TraceContext, UpstreamAttempt,
};

/// The stack, or the part of it below a layer.
pub type ApiService = SharedService<ApiRequest>;

/// A request on its way through the stack. Cheap to clone, because layers keep a clone to repeat it.
#[derive(Clone)]
pub struct ApiRequest {
    pub method: Method,
    pub path: Arc<str>,
    pub content_type: HeaderValue,
    pub authorization: Option<HeaderValue>,
    pub body: Bytes,
    pub call: CallMetadata,
}

/// What the layers need to know about a call.
#[derive(Clone)]
pub struct CallMetadata {
    pub operation: PlatformOperation,
    pub conversation: Option<ConversationId>,
    /// The request that needs the call: its deadline, and where its time is spent.
    pub context: RequestContext,
    /// Whether the retry layer may repeat the call. Read-backs and token fetches have their own
    /// schedules, and must not be repeated on two levels.
    pub retries: bool,
    /// Whether the call repeats an earlier one, and so uses the retry budget.
    pub again: bool,
    /// The priority of attempts that come without a permit.
    pub class: PriorityClass,
    /// The permit for the first attempt. If the call is never made, dropping it returns the permit.
    pub permit: PermitSlot,
    /// The current attempt, if attempts are logged.
    pub attempt: Option<Arc<UpstreamAttempt>>,
}

impl CallMetadata {
    /// A call that may be repeated and has no permit.
    pub fn new(operation: PlatformOperation, context: RequestContext) -> Self {
        Self {
            operation,
            conversation: None,
            context,
            retries: true,
            again: false,
            class: PriorityClass::Read,
            permit: PermitSlot::default(),
            attempt: None,
        }
    }

    /// The trace context that is sent upstream: that of the attempt, or that of the request.
    pub fn trace(&self) -> Option<TraceContext> {
        let attempt = self.attempt.as_ref().and_then(|attempt| attempt.span.as_ref());
        attempt.or(self.context.span()).map(|span| span.context)
    }
}

/// Holds a permit until an attempt takes it. Clones share it.
#[derive(Clone, Default)]
pub struct PermitSlot(Arc<Mutex<Option<CallPermit>>>);

impl PermitSlot {
    pub fn new(permit: Option<CallPermit>) -> Self {
        Self(Arc::new(Mutex::new(permit)))
    }

    pub fn take(&self) -> Option<CallPermit> {
        self.0.lock().take()
    }
}

/// A layer that runs this function, as `axum::middleware::from_fn_with_state` does.
pub fn from_fn<S, F>(
    state: S,
    run: fn(S, ApiRequest, ApiService) -> F,
) -> impl Layer<ApiService, Service = ApiService>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ExchangeResult> + Send + 'static,
{
    layer_fn(move |next: ApiService| {
        let state = state.clone();
        ApiService::from_fn(move |request| run(state.clone(), request, next.clone()))
    })
}
