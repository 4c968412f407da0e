//! The layers of the upstream stack, one a file. Their order is in `stack.rs`.
//!
//! Layers are thin: each takes a [`CallMetadata`] out of the request, asks a policy, and passes on. All
//! of them are always ready; what a layer has to wait for, it waits for inside its future, under
//! the deadline of the call.

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
    CallPermit, PlatformOperation, PriorityClass, RequestContext, TraceContext, TraceSpan,
    UpstreamAttempt,
};

/// What the layers need to know of a call; travels in the extensions of its request.
#[derive(Clone, Debug)]
pub struct CallMetadata {
    /// Which operation it is.
    pub operation: PlatformOperation,
    /// The conversation that it is about, if it is about one.
    pub conversation: Option<ConversationId>,
    /// The request on whose behalf it is made: deadline and spending.
    pub context: RequestContext,
    /// Whether the retry layer may repeat it. Read-backs are repeated by their own schedule, and
    /// the token's fetch by its own loop: never on two levels.
    pub retries: bool,
    /// Whether it repeats an earlier call, and is to be paid from the retry budget.
    pub again: bool,
    /// How important further attempts are, and the first if it comes without a permit.
    pub class: PriorityClass,
    /// The right to make the first attempt. Goes back with the call if that is never made.
    pub permit: PermitSlot,
    /// The attempt that is under way, where attempts are noted.
    pub attempt: Option<Arc<UpstreamAttempt>>,
}

impl CallMetadata {
    /// What upstream is told of the trace: the attempt's place in it, or the request's.
    pub fn trace(&self) -> Option<TraceContext> {
        let attempt = self.attempt.as_ref().and_then(|attempt| attempt.span());
        attempt.or(self.context.span()).map(TraceSpan::context)
    }
}

/// Marks an answer of the token endpoint that has a good status and holds no usable token.
#[derive(Clone, Copy, Debug)]
pub struct UnusableToken;

/// A permit that an attempt takes out; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct PermitSlot(Arc<Mutex<Option<CallPermit>>>);

impl PermitSlot {
    /// Holds a permit, if there is one.
    pub fn new(permit: Option<CallPermit>) -> Self {
        Self(Arc::new(Mutex::new(permit)))
    }

    /// Takes the permit out.
    pub fn take(&self) -> Option<CallPermit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What it takes to make a request once more. It shares what is in it; a clone of the request would
/// copy its extensions, which is dear and nearly always for nothing.
pub struct RequestTemplate {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    call: CallMetadata,
}

impl RequestTemplate {
    /// What makes this request again.
    pub fn from_request(request: &Request<Bytes>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body: request.body().clone(),
            call: call(request).clone(),
        }
    }

    /// The request, once more.
    pub fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(self.call.clone());
        request
    }
}

/// The call that a request belongs to.
///
/// # Panics
/// If the client forgot it, which every test of the stack would show.
pub fn call(request: &Request<Bytes>) -> &CallMetadata {
    request.extensions().get().expect("the client puts a Call into every request")
}
