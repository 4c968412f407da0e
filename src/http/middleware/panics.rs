//! A panic in a handler becomes a problem like any other.

use std::any::Any;

use axum::response::{IntoResponse as _, Response};

use crate::http::problem::Problem;

/// The answer to a request whose handler panicked. The panic hook has logged the place.
pub(super) fn respond(_payload: Box<dyn Any + Send>) -> Response {
    Problem::panicked().into_response()
}
