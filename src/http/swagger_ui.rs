//! `/docs`: interactive API documentation.
//!
//! The page is Swagger UI over `/openapi.json`. It is compiled in, so it works without internet
//! access. Its content security policy forbids inline scripts and requests to other origins.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{Html, IntoResponse, Response};
use utoipa_swagger_ui::Config;

use super::paths;
use super::problem::Problem;
use crate::error::ErrorCode;

const PAGE: &str = include_str!("swagger_ui/page.html");
const STYLE: &str = include_str!("pages/style.css");
const START: &str = include_str!("swagger_ui/start.js");
const LIVE: &str = include_str!("live/page.js");
const OWN_FILES: [(&str, &str, &str); 3] = [
    ("start.js", "text/javascript", START),
    ("live.js", "text/javascript", LIVE),
    ("style.css", "text/css", STYLE),
];

/// The files of Swagger UI that the page needs. Others are not served.
const FILES: [&str; 4] =
    ["swagger-ui.css", "index.css", "swagger-ui-bundle.js", "favicon-32x32.png"];

/// Only this origin. The style sheet contains icons as `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Files change only with the version. A browser uses an old file for at most one day.
const MAX_AGE_ONE_DAY: &str = "max-age=86400";

/// Show the API documentation
///
/// An interactive page (Swagger UI) that shows this document and sends requests to the gateway.
#[utoipa::path(get, path = paths::DOCS, operation_id = "getDocs", tag = "documentation",
    responses((status = 200, body = String, content_type = "text/html", description = "The page",
        headers(("Content-Security-Policy" = String, description = "Restricts the page to this origin")))))]
pub(super) async fn page() -> Response {
    (response_headers("no-cache"), Html(PAGE)).into_response()
}

/// Get a file of the documentation page
///
/// Large files are always compressed with gzip, regardless of `Accept-Encoding`.
#[utoipa::path(get, path = paths::DOCS_FILE, operation_id = "getDocsFile", tag = "documentation",
    params(("file" = String, Path, description = "Name of a script, style sheet or image", example = "start.js")),
    responses((status = 200, description = "The file",
        content((String = "text/javascript"), (String = "text/css"), (String = "image/png")),
        headers(("Content-Encoding" = String, description = "`gzip`, unless the file is small")))))]
pub(super) async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let found = name.ok().and_then(|Path(name)| asset(&name));
    found.ok_or_else(|| Problem::new(ErrorCode::NotFound, "the documentation has no such file"))
}

fn asset(name: &str) -> Option<Response> {
    let mut headers = response_headers(MAX_AGE_ONE_DAY);
    if let Some((_, media_type, text)) = OWN_FILES.iter().find(|(own, ..)| *own == name) {
        return Some((headers, [(CONTENT_TYPE, *media_type)], *text).into_response());
    }
    let name = FILES.iter().find(|known| **known == name)?;
    let config = Arc::new(Config::from(paths::OPENAPI_JSON));
    let file = utoipa_swagger_ui::serve(name, config).ok()??;
    headers.insert(CONTENT_TYPE, HeaderValue::try_from(file.content_type).ok()?);
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some((headers, file.bytes.into_owned()).into_response())
}

/// The headers of a page or of its file, with this `Cache-Control`.
pub(super) fn response_headers(cache: &'static str) -> HeaderMap {
    let headers: [(HeaderName, &'static str); 4] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, cache),
    ];
    headers.map(|(name, value)| (name, HeaderValue::from_static(value))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_the_page_names_is_there() {
        let named_files = PAGE.split("\"docs/").skip(1).filter_map(|rest| rest.split('"').next());
        let mut found = 0;
        for name in named_files {
            assert!(asset(name).is_some(), "{name}");
            found += 1;
        }
        assert_eq!(found, FILES.len() + 2);
        assert!(asset("swagger-initializer.js").is_none(), "only what is needed is served");
    }

    #[test]
    fn the_page_holds_no_script_or_style_that_its_policy_forbids() {
        assert!(!PAGE.contains("style=") && !PAGE.contains("<style") && !PAGE.contains(" on"));
        assert_eq!(PAGE.matches("<script src=").count(), PAGE.matches("<script").count());
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"));
    }
}
