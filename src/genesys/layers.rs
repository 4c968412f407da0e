//! The layers of the upstream stack, one a file. Their order is in `stack.rs`.
//!
//! Layers are thin: each takes a [`Call`] out of the request, asks a policy, and passes on. All
//! of them are always ready; what a layer has to wait for, it waits for inside its future, under
//! the deadline of the call.

pub mod auth;
pub mod base_uri;
pub mod breaker;
pub mod deadline;
pub mod observe;
pub mod retry;
pub mod timeout;

use bytes::Bytes;
use http::Request;

use crate::ports::{Cycle, Operation};

/// What the layers need to know of a call; travels in the extensions of its request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which operation it is.
    pub operation: Operation,
    /// The request on whose behalf it is made: deadline and spending.
    pub cycle: Cycle,
    /// Whether the retry layer may repeat it. Read-backs are repeated by their own schedule, and
    /// the token's fetch by its own loop: never on two levels.
    pub retries: bool,
    /// Whether it repeats an earlier call, and is to be paid from the retry budget.
    pub again: bool,
}

/// The call that a request belongs to.
///
/// # Panics
/// If the client forgot it, which every test of the stack would show.
pub fn call(request: &Request<Bytes>) -> &Call {
    request.extensions().get().expect("the client puts a Call into every request")
}
