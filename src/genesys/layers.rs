//! The layers of the upstream stack, one per file. Their order is in `stack.rs`.
//!
//! Each layer reads the [`CallMetadata`] of the request, asks a policy, and calls the next layer. All
//! layers are always ready: they wait inside their future, where the deadline of the call applies.

pub mod auth;
pub mod base_uri;
pub mod deadline;
pub mod observe;
pub mod rate_limit;
pub mod retry;
pub mod throttle;
pub mod timeout;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};

use crate::domain::ConversationId;
use crate::ports::{
    CallPermit, PlatformOperation, PriorityClass, RequestContext, TraceContext, UpstreamAttempt,
};

/// What the layers need to know about a call. The extensions of the request carry it.
#[derive(Clone, Debug)]
pub struct CallMetadata {
    /// The operation of the call.
    pub operation: PlatformOperation,
    /// The conversation that the call reads or writes; `None` for lists and tokens.
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
    /// The trace context that is sent upstream: that of the attempt, or that of the request.
    pub fn trace(&self) -> Option<TraceContext> {
        let attempt = self.attempt.as_ref().and_then(|attempt| attempt.span.as_ref());
        attempt.or(self.context.span()).map(|span| span.context)
    }
}

/// Marks a successful answer of the token endpoint that holds no usable token.
#[derive(Clone, Copy, Debug)]
pub struct UnusableToken;

/// Holds a permit until an attempt takes it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct PermitSlot(Arc<Mutex<Option<CallPermit>>>);

impl PermitSlot {
    /// A slot with this permit, or an empty one.
    pub fn new(permit: Option<CallPermit>) -> Self {
        Self(Arc::new(Mutex::new(permit)))
    }

    /// Takes the permit out.
    pub fn take(&self) -> Option<CallPermit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The parts of a request that are needed to repeat it. They are cheap to clone. A clone of the
/// request would copy its extensions, which costs more and is rarely needed.
pub struct RequestTemplate {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    call: CallMetadata,
}

impl RequestTemplate {
    /// A template of this request.
    pub fn from_request(request: &Request<Bytes>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body: request.body().clone(),
            call: call(request).clone(),
        }
    }

    /// Builds the request.
    pub fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(self.call.clone());
        request
    }
}

/// The call of a request.
///
/// # Panics
/// If the request has no [`CallMetadata`]. [`super::client`] adds it to every request.
pub fn call(request: &Request<Bytes>) -> &CallMetadata {
    request.extensions().get().expect("every request has call metadata")
}
