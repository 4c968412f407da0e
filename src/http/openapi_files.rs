//! The `OpenAPI` document as it is served, in YAML and JSON.
//!
//! Each form is rendered on first request. Later requests get the same bytes.

use std::fmt;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::if_match::EntityTags;
use super::negotiate::JSON;

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
}
