//! Content negotiation, and the declared type of a body, checked before the body is read.

use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::prefer::split_outside_quotes;
use super::problem::Problem;
use super::text_table::ToText;
use crate::error::ErrorCode;

pub(super) const JSON: &str = "application/json";
/// Media type of merge patches (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
/// Media types of a PATCH, for `Accept-Patch` (RFC 5789).
pub(super) const PATCHES: &str = "application/json, application/merge-patch+json";
pub(super) const PLAIN_TEXT: &str = "text/plain; charset=utf-8";
pub(super) const TEXT: &str = "text/plain";
pub(super) const HTML: &str = "text/html";

/// Refuses a request that does not accept JSON.
pub(super) fn accepts_json(headers: &HeaderMap) -> Result<(), Problem> {
    if quality(headers, JSON) > 0.0 {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::NotAcceptable, "the Accept header excludes application/json"))
}

/// The quality that `Accept` gives this media type, from 0 (excluded) to 1.
pub(super) fn quality(headers: &HeaderMap, wanted: &str) -> f32 {
    let lines = headers.get_all(ACCEPT).iter();
    let ranges =
        lines.flat_map(|line| split_outside_quotes(line.to_str().unwrap_or_default(), ','));
    // The most specific range that matches decides, and of equal ones the first.
    let best = ranges
        .filter_map(|range| quality_in(range, wanted))
        .reduce(|best, other| if other.0 > best.0 { other } else { best });
    match best {
        Some((_, quality)) => quality,
        None if headers.get_all(ACCEPT).iter().all(HeaderValue::is_empty) => 1.0,
        None => 0.0,
    }
}

/// How specifically a range of an `Accept` header matches this media type, and its quality.
fn quality_in(range: &str, wanted: &str) -> Option<(u8, f32)> {
    let mut parts = split_outside_quotes(range, ';').map(str::trim);
    let named = parts.next()?.to_ascii_lowercase();
    let precision = match named.strip_suffix("/*") {
        Some("*") => 0,
        Some(family) if wanted.split('/').next() == Some(family) => 1,
        None if named == wanted => 2,
        _ => return None,
    };
    let quality = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value)
    });
    // An invalid quality is ignored rather than refused.
    let quality = quality.and_then(|q| q.trim().parse().ok()).filter(|q: &f32| q.is_finite());
    Some((precision, quality.unwrap_or(1.0)))
}

pub(super) fn wants_no_cache(headers: &HeaderMap) -> bool {
    let directives = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        split_outside_quotes(text, ',')
            .any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
    };
    headers.get_all(CACHE_CONTROL).iter().any(directives)
}

/// The declared media type of the body, one of `types` in UTF-8; 415 for any other.
pub(super) fn declared(
    headers: &HeaderMap,
    types: &'static [&'static str],
) -> Result<&'static str, Problem> {
    let refused = |detail: String| Problem::new(ErrorCode::UnsupportedMediaType, detail);
    let encodings = headers.get_all(CONTENT_ENCODING);
    if encodings.iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let detail = "the body has a Content-Encoding; only `identity` is supported";
        return Err(refused(detail.to_owned()).with_hint(UNCOMPRESSED));
    }
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        return Err(refused(format!("the request needs one Content-Type, {}", types.join(" or "))));
    };
    let mut parts = split_outside_quotes(given.to_str().unwrap_or_default(), ';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let known = types.iter().find(|known| essence.eq_ignore_ascii_case(known));
    let known =
        known.ok_or_else(|| refused(format!("the Content-Type is not {}", types.join(" or "))))?;
    if let Some(charset) = parts.find_map(other_charset) {
        let charset: String =
            charset.chars().take(MAX_CHARSET_CHARS).flat_map(char::escape_debug).collect();
        let detail = format!("the charset of the body is `{charset}`; send it as UTF-8");
        return Err(refused(detail).with_hint(IN_UTF8));
    }
    Ok(known)
}

const UNCOMPRESSED: &str = "Send the body uncompressed, without a Content-Encoding.";

const IN_UTF8: &str =
    "Send the body in UTF-8, and leave out the charset or name utf-8 in the Content-Type.";

/// Characters of an unknown charset that the error repeats.
const MAX_CHARSET_CHARS: usize = 40;

/// Names of UTF-8 and of its subset ASCII, without hyphens and underscores.
const UTF8_NAMES: [&str; 8] =
    ["utf8", "usascii", "ascii", "ansix3.41968", "iso646us", "csutf8", "csascii", "utf8bom"];

/// The charset that a parameter of a media type names, if it is not UTF-8.
fn other_charset(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let plain = value.to_ascii_lowercase().replace(['-', '_'], "");
    let is_other =
        name.trim().eq_ignore_ascii_case("charset") && !UTF8_NAMES.contains(&plain.as_str());
    is_other.then_some(value)
}

pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

const TYPICAL_BODY_BYTES: usize = 1000;

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResponseFormat {
    Text,
    Json,
}

impl ResponseFormat {
    /// The format that the client asks for, or else the one with the higher quality in `Accept`; JSON if
    /// both are equal.
    pub(super) fn negotiate(asked: Option<Self>, headers: &HeaderMap) -> Result<Self, Problem> {
        let (json, text) = (quality(headers, JSON), quality(headers, TEXT));
        match asked {
            Some(asked) => Ok(asked),
            None if text > json => Ok(Self::Text),
            None if json > 0.0 => Ok(Self::Json),
            None => {
                let detail = "the Accept header excludes application/json and text/plain";
                Err(Problem::new(ErrorCode::NotAcceptable, detail))
            }
        }
    }

    /// The same for a resource with a flat form, which is always JSON.
    pub(super) fn unless_flat(
        is_flat: bool,
        asked: Option<Self>,
        headers: &HeaderMap,
    ) -> Result<Self, Problem> {
        if is_flat {
            accepts_json(headers).map(|()| Self::Json)
        } else {
            Self::negotiate(asked, headers)
        }
    }

    pub(super) fn respond(self, answer: &impl ToText) -> Response {
        match self {
            Self::Json => json(answer),
            Self::Text => ([(CONTENT_TYPE, PLAIN_TEXT)], answer.text()).into_response(),
        }
    }
}

/// A JSON response. The initial capacity fits most bodies; `axum::Json` would reallocate four times.
pub(super) fn json(answer: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(TYPICAL_BODY_BYTES);
    match serde_json::to_writer(&mut text, answer) {
        Ok(()) => ([(CONTENT_TYPE, HeaderValue::from_static(JSON))], text).into_response(),
        Err(_) => Problem::internal("a response that cannot be serialised").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;
    use axum::http::HeaderValue;
    use axum::http::header::ACCEPT;
    use proptest::prelude::*;

    use super::*;

    fn one(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("header value"))])
    }

    #[test]
    fn accept_decides_by_its_most_precise_range() {
        for (value, accepted) in [
            ("application/json", true),
            ("Application/JSON; q=0.1", true),
            ("text/html, */*;q=0.1", true),
            ("application/*", true),
            ("", true),
            ("text/html", false),
            ("application/json;q=0, */*", false),
            ("*/*;q=0, application/json", true),
            ("*/*;q=0.000", false),
            ("application/problem+json", false),
        ] {
            assert_eq!(accepts_json(&one(ACCEPT, value)).is_ok(), accepted, "{value}");
        }
        assert!(accepts_json(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn the_declared_type_of_several_is_returned() {
        let types = &[JSON, TEXT];
        for (value, found) in [
            ("application/json", Some(JSON)),
            ("Text/Plain", Some(TEXT)),
            ("text/plain; charset=UTF-8", Some(TEXT)),
            ("text/plain; charset=latin1", None),
            (MERGE_PATCH, None),
        ] {
            assert_eq!(declared(&one(CONTENT_TYPE, value), types).ok(), found, "{value}");
        }
    }

    fn declares_json(headers: &HeaderMap) -> Result<(), Problem> {
        declared(headers, &[JSON]).map(drop)
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        for (value, read) in [
            ("application/json", true),
            ("Application/Json;charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; version=1", true),
            ("application/json; charset=latin1", false),
            ("text/json", false),
            ("application/jsonx", false),
            ("", false),
        ] {
            assert_eq!(declares_json(&one(CONTENT_TYPE, value)).is_ok(), read, "{value}");
        }
        assert!(declares_json(&HeaderMap::new()).is_err());
        let mut headers = one(CONTENT_TYPE, "application/json");
        headers.append(CONTENT_TYPE, "application/json".parse().expect("value"));
        assert!(declares_json(&headers).is_err());
    }

    #[test]
    fn compressed_bodies_are_refused() {
        for (encoding, read) in [("identity", true), ("gzip", false), ("gzip, identity", false)] {
            let mut headers = one(CONTENT_TYPE, "application/json");
            headers.insert(CONTENT_ENCODING, encoding.parse().expect("value"));
            assert_eq!(declares_json(&headers).is_ok(), read, "{encoding}");
        }
    }

    #[test]
    fn no_cache_is_found_among_other_directives() {
        for (value, wanted) in
            [("no-cache", true), ("max-age=0, No-Cache", true), ("no-store", false)]
        {
            assert_eq!(wants_no_cache(&one(CACHE_CONTROL, value)), wanted, "{value}");
        }
        assert!(!wants_no_cache(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in [ACCEPT, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, CACHE_CONTROL] {
                    let headers = HeaderMap::from_iter([(name, value.clone())]);
                    let _ = accepts_json(&headers);
                    let _ = quality(&headers, TEXT);
                    let _ = declares_json(&headers);
                    let _ = wants_no_cache(&headers);
                    let _ = declared_length(&headers);
                }
            }
        }
    }

    fn form(accept: &str) -> Option<ResponseFormat> {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a value"))]);
        ResponseFormat::negotiate(None, &headers).ok()
    }

    #[test]
    fn text_needs_a_higher_quality_than_json() {
        for (accept, expected) in [
            ("", Some(ResponseFormat::Json)),
            ("*/*", Some(ResponseFormat::Json)),
            ("application/json, text/plain, */*", Some(ResponseFormat::Json)),
            ("text/plain", Some(ResponseFormat::Text)),
            ("Text/Plain; charset=utf-8", Some(ResponseFormat::Text)),
            ("text/*", Some(ResponseFormat::Text)),
            ("text/plain, */*", Some(ResponseFormat::Json)),
            ("text/plain;q=0.5, application/json", Some(ResponseFormat::Json)),
            ("text/plain;q=0.5, application/json;q=0.4", Some(ResponseFormat::Text)),
            ("application/json;q=0, */*", Some(ResponseFormat::Text)),
            ("text/plain;q=0, */*;q=0.1", Some(ResponseFormat::Json)),
            ("text/html, application/xhtml+xml, */*;q=0.8", Some(ResponseFormat::Json)),
            ("text/html", None),
            ("text/plain;q=0", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(form(accept), expected, "{accept}");
        }
        assert_eq!(
            ResponseFormat::negotiate(None, &HeaderMap::new()).ok(),
            Some(ResponseFormat::Json)
        );
    }

    #[test]
    fn the_format_parameter_overrides_accept() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        assert_eq!(
            ResponseFormat::negotiate(Some(ResponseFormat::Text), &headers).ok(),
            Some(ResponseFormat::Text)
        );
    }
}
