//! The description of the API as it is served: made when it is first asked for, and the same bytes from
//! then on.

use std::sync::OnceLock;

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};

use super::entity_tags::EntityTags;
use super::negotiate::JSON;
use super::openapi;

/// Media type of YAML (RFC 9512).
const YAML: &str = "application/yaml";

/// It changes with the version alone, and nobody can tell when that will be: whoever keeps it asks.
const KEPT_AND_ASKED_FOR: &str = "no-cache";

/// Bytes of the hash that the tag shows.
const TAG_BYTES: usize = 16;

/// Both spellings of the description.
#[derive(Debug, Default)]
pub struct OpenApiFiles {
    /// Where clients reach the service; empty if that is where it is asked.
    public_url: String,
    /// Whether the aids for debugging are switched on.
    debug: bool,
    yaml: OnceLock<OpenApiFile>,
    json: OnceLock<OpenApiFile>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct OpenApiFile {
    media: &'static str,
    bytes: Bytes,
    tag: String,
}

impl OpenApiFiles {
    /// The description of a service that clients reach there, with or without the aids for debugging.
    pub fn new(public_url: &str, debug: bool) -> Self {
        Self { public_url: public_url.to_owned(), debug, ..Self::default() }
    }

    /// What stands before the paths of links.
    pub(super) fn public_url(&self) -> &str {
        &self.public_url
    }

    pub(super) fn yaml(&self) -> &OpenApiFile {
        self.yaml
            .get_or_init(|| OpenApiFile::new(YAML, openapi::yaml(&self.public_url, self.debug)))
    }

    pub(super) fn json(&self) -> &OpenApiFile {
        self.json
            .get_or_init(|| OpenApiFile::new(JSON, openapi::json(&self.public_url, self.debug)))
    }
}

impl OpenApiFile {
    fn new(media: &'static str, text: String) -> Self {
        let hash = digest(&SHA256, text.as_bytes());
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..TAG_BYTES]));
        Self { media, bytes: text.into(), tag }
    }

    /// The answer to a request with these headers.
    pub(super) fn answer(&self, headers: &HeaderMap) -> Response {
        let about = [(ETAG, self.tag.as_str()), (CACHE_CONTROL, KEPT_AND_ASKED_FOR)];
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
    fn a_document_is_made_once() {
        let documents = OpenApiFiles::default();
        let [first, second] = [(); 2].map(|()| documents.yaml().bytes.as_ptr());
        assert_eq!(first, second);
        assert_ne!(documents.yaml().tag, documents.json().tag);
    }
}
