//! How a client says who it is, and which operations ask.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, RefOr};

use crate::http::auth;

const BEARER: &str = "bearer";
const API_KEY: &str = "apiKey";
const BASIC: &str = "basic";
const CERTIFICATE: &str = "clientCertificate";

/// Any one of them is enough.
const SCHEMES: [&str; 4] = [BEARER, API_KEY, BASIC, CERTIFICATE];

/// Describes the ways.
pub(super) fn describe(components: &mut Components) {
    let http = |scheme, description: &str| {
        let scheme = HttpBuilder::new().scheme(scheme).description(Some(description)).build();
        SecurityScheme::Http(scheme)
    };
    let schemes = [
        (BEARER, http(HttpAuthScheme::Bearer, "A key that `attribute-gateway new-key` has made")),
        (
            API_KEY,
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                "X-API-Key",
                "The same key in a header of its own",
            ))),
        ),
        (
            BASIC,
            http(
                HttpAuthScheme::Basic,
                "The name of the caller as the user, the key as the password",
            ),
        ),
        (
            CERTIFICATE,
            SecurityScheme::MutualTls {
                description: Some("A client certificate with a configured subject".to_owned()),
                extensions: None,
                deprecated: None,
            },
        ),
    ];
    let schemes = schemes.map(|(name, scheme)| (name.to_owned(), RefOr::from(scheme)));
    components.security_schemes.extend(schemes);
}

/// What the document asks for where an operation says nothing else.
pub(super) fn required() -> Vec<SecurityRequirement> {
    SCHEMES.iter().map(|name| SecurityRequirement::new(*name, [""; 0])).collect()
}

/// Marks an operation that needs no credential, or only for a part of what it tells.
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
