//! Whether a response is JSON or text, from the `Accept` header or the `format` parameter.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::negotiate::{JSON, PLAIN_TEXT, TEXT, accepts_json, quality};
use super::problem::Problem;
use super::text_table::ToText;
use crate::error::ErrorCode;

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
    use axum::http::HeaderValue;
    use axum::http::header::ACCEPT;

    use super::*;

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
