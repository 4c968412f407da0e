//! The `OpenAPI` document as it is served, in YAML and JSON, and the page that shows it.
//!
//! Each form is rendered on first request. Later requests get the same bytes.

use std::fmt;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use utoipa_swagger_ui::Config;

use super::if_match::EntityTags;
use super::negotiate::JSON;
use super::paths;
use super::problem::Problem;
use crate::error::ErrorCode;

const YAML: &str = "application/yaml";

/// A cache must ask before each use: a new version of the gateway can change the document any time.
const REVALIDATE: &str = "no-cache";

/// Bytes of the hash that become the `ETag`.
const TAG_BYTES: usize = 16;

type LazyFile = LazyLock<OpenApiFile, Box<dyn FnOnce() -> OpenApiFile + Send>>;

/// The document in YAML and in JSON.
pub struct OpenApiFiles {
    public_url: String,
    yaml: LazyFile,
    json: LazyFile,
}

pub(super) struct OpenApiFile {
    media: &'static str,
    bytes: Bytes,
    tag: String,
}

impl OpenApiFiles {
    /// The document of a service that clients reach at `public_url`, which may be empty. Both
    /// functions render it, and run at most once.
    pub fn new(
        public_url: &str,
        yaml: impl FnOnce() -> String + Send + 'static,
        json: impl FnOnce() -> String + Send + 'static,
    ) -> Self {
        Self {
            public_url: public_url.to_owned(),
            yaml: LazyLock::new(Box::new(|| OpenApiFile::new(YAML, yaml()))),
            json: LazyLock::new(Box::new(|| OpenApiFile::new(JSON, json()))),
        }
    }

    /// The prefix of the links in responses; empty for links relative to this service.
    pub(super) fn public_url(&self) -> &str {
        &self.public_url
    }

    pub(super) fn yaml(&self) -> &OpenApiFile {
        &self.yaml
    }

    pub(super) fn json(&self) -> &OpenApiFile {
        &self.json
    }
}

/// Empty files, for a router without documentation.
impl Default for OpenApiFiles {
    fn default() -> Self {
        Self::new("", String::new, String::new)
    }
}

impl fmt::Debug for OpenApiFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenApiFiles").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

impl OpenApiFile {
    fn new(media: &'static str, text: String) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..TAG_BYTES]));
        Self { media, bytes: text.into(), tag }
    }

    /// The response to a request with these headers.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        // Weak, since the router compresses the document for some clients.
        let about = [(ETAG, format!("W/{}", self.tag)), (CACHE_CONTROL, REVALIDATE.to_owned())];
        let known = EntityTags::from_headers(headers, &IF_NONE_MATCH).unwrap_or_default();
        if known.is_some_and(|tags| tags.name(&self.tag)) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        (about, [(CONTENT_TYPE, self.media)], self.bytes.clone()).into_response()
    }
}

/// `/docs` is Swagger UI over `/openapi.json`. It is compiled in, so it works without internet access. Its
/// content security policy forbids inline scripts and requests to other origins.
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
    fn a_document_is_rendered_once() {
        let files = OpenApiFiles::new("", || "openapi: 3.1.0".to_owned(), || "{}".to_owned());
        let [first, second] = [(); 2].map(|()| files.yaml().bytes.as_ptr());
        assert_eq!(first, second);
        assert_ne!(files.yaml().tag, files.json().tag);
    }

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
