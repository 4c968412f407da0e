//! The authentication schemes, and the operations that require them.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, RefOr};

use crate::http::auth;

/// A client needs one of them.
const SCHEMES: [&str; 4] = ["bearer", "apiKey", "basic", "clientCertificate"];

pub(super) fn describe(components: &mut Components) {
    let http = |scheme, description: &str| {
        let scheme = HttpBuilder::new().scheme(scheme).description(Some(description)).build();
        SecurityScheme::Http(scheme)
    };
    let key = ApiKeyValue::with_description("X-API-Key", "The same key in its own header");
    let schemes = [
        http(HttpAuthScheme::Bearer, "A key that `attribute-gateway new-key` generated"),
        SecurityScheme::ApiKey(ApiKey::Header(key)),
        http(HttpAuthScheme::Basic, "The client's name as user name, its key as password"),
        SecurityScheme::MutualTls {
            description: Some("A client certificate with a configured subject".to_owned()),
            extensions: None,
            deprecated: None,
        },
    ];
    let named = SCHEMES.into_iter().zip(schemes);
    let named = named.map(|(name, scheme)| (name.to_owned(), RefOr::from(scheme)));
    components.security_schemes.extend(named);
}

/// The requirement of an operation that states none itself.
pub(super) fn required() -> Vec<SecurityRequirement> {
    SCHEMES.iter().map(|name| SecurityRequirement::new(*name, [""; 0])).collect()
}

/// Marks an operation that needs no credential, or needs one only for details.
pub(super) fn mark(operation: &mut Operation, path: &str) {
    if !auth::is_open_path(path) {
        return;
    }
    operation.security = Some(if auth::is_half_open(path) {
        let nothing = SecurityRequirement::default();
        std::iter::once(nothing).chain(required()).collect()
    } else {
        Vec::new()
    });
}
