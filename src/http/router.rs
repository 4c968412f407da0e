//! Every route, and the edge around them.

use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::edge::edge;
use super::state::AppState;
use super::{attributes, ops};

/// The whole HTTP service.
pub fn router(state: AppState) -> Router {
    let (router, _) = documented().split_for_parts();
    router
        .fallback(ops::not_found)
        .method_not_allowed_fallback(ops::method_not_allowed)
        .layer(from_fn_with_state(state.clone(), edge))
        .with_state(state)
}

/// The routes with their documentation.
pub(super) fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(attributes::get_attributes, attributes::put_attributes))
        .routes(routes!(ops::livez))
        .routes(routes!(ops::readyz))
        .routes(routes!(ops::metrics))
        .routes(routes!(ops::openapi_yaml))
        .routes(routes!(ops::openapi_json))
        .routes(routes!(ops::problem_page))
}
