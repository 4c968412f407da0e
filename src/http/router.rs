//! The routes, with the middleware around them.

use axum::Router;
use tower_http::compression::CompressionLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::middleware::with_middleware;
use super::state::AppState;
use super::{
    attributes, conversations, echo, health, live, openapi_files, operations, pages, trace,
};

/// The router of the HTTP service.
pub fn router(state: AppState) -> Router {
    let (router, _) = documented(state.ops.recent.keeps_all()).split_for_parts();
    let router =
        router.fallback(health::not_found).method_not_allowed_fallback(health::method_not_allowed);
    with_middleware(router, &state).with_state(state)
}

/// The routes with their documentation. `debug` adds the debugging route.
pub(super) fn documented(debug: bool) -> OpenApiRouter<AppState> {
    let standard = standard();
    if !debug {
        return standard;
    }
    standard.routes(routes!(echo::echo))
}

/// The routes that do not depend on settings.
fn standard() -> OpenApiRouter<AppState> {
    // The large responses. Attributes are small, and a write needs no more latency.
    let compressed = OpenApiRouter::new()
        .routes(routes!(conversations::list_conversations))
        .routes(routes!(conversations::search_conversations))
        .routes(routes!(health::openapi_yaml))
        .routes(routes!(health::openapi_json))
        .layer(CompressionLayer::new());
    compressed
        .routes(routes!(conversations::get_conversation))
        .routes(routes!(
            attributes::get_attributes,
            attributes::put_attributes,
            attributes::patch_attributes
        ))
        .routes(routes!(
            attributes::get_attribute,
            attributes::put_attribute,
            attributes::delete_attribute
        ))
        .routes(routes!(trace::get_trace, trace::start_trace))
        .routes(routes!(live::page))
        .routes(routes!(live::events))
        .routes(routes!(operations::get_operation, operations::cancel_operation))
        .routes(routes!(pages::root))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi_files::page))
        .routes(routes!(openapi_files::file))
        .routes(routes!(pages::problem_page))
        .routes(routes!(pages::runbook))
}
