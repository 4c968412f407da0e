//! Turns a panic in a handler into a problem.

use std::any::Any;

use axum::response::{IntoResponse as _, Response};

use crate::http::problem::Problem;

/// The response to a request whose handler panicked. The panic hook has logged the location.
pub(super) fn respond(_payload: Box<dyn Any + Send>) -> Response {
    Problem::panicked().into_response()
}
