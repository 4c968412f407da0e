//! Whether an answer is JSON or text: what the client accepts, or asks for by `format`.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::negotiate::{JSON, PLAIN_TEXT, TEXT, accepts_json, quality};
use super::problem::Problem;
use super::query::QueryString;
use crate::error::ErrorCode;

/// The parameter that asks for a form, whatever is accepted.
pub(super) const FORMAT: &str = "format";

/// Bytes of a usual answer, headers left out.
const TYPICAL_BODY_BYTES: usize = 1000;

/// A form in which something can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    Json,
    Text,
}

/// An answer that has both forms.
pub(super) trait ToText: Serialize {
    /// The answer as a person reads it.
    fn text(&self) -> String;
}

impl ResponseFormat {
    /// The form that `format` asks for, if it does. An answer in the flat form is no text.
    pub(super) fn asked(query: &mut QueryString, is_flat: bool) -> Option<Self> {
        let word = query.word(FORMAT, &["text", "json"])?;
        if word == "json" {
            return Some(Self::Json);
        }
        if is_flat {
            query.mistake(FORMAT, "`text` contradicts view=flat, which is JSON");
        }
        Some(Self::Text)
    }

    /// The form that was `asked` for, else the one that the client likes best; JSON if it likes both
    /// the same.
    ///
    /// # Errors
    /// 406 if it accepts neither.
    pub(super) fn negotiate(asked: Option<Self>, headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(asked) = asked {
            return Ok(asked);
        }
        let (json, text) = (quality(headers, JSON), quality(headers, TEXT));
        if json <= 0.0 && text <= 0.0 {
            let detail = "the Accept header excludes application/json and text/plain";
            return Err(Problem::new(ErrorCode::NotAcceptable, detail));
        }
        Ok(if text > json { Self::Text } else { Self::Json })
    }

    /// The same of a resource that has a flat form too, which is JSON.
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

    /// The answer in this form.
    pub(super) fn respond(self, answer: &impl ToText) -> Response {
        match self {
            Self::Json => json(answer),
            Self::Text => ([(CONTENT_TYPE, PLAIN_TEXT)], answer.text()).into_response(),
        }
    }
}

/// An answer in JSON. Most fit into its first room, which `axum::Json` would grow into by four steps.
pub(super) fn json(answer: &impl Serialize) -> Response {
    let mut text = Vec::with_capacity(TYPICAL_BODY_BYTES);
    match serde_json::to_writer(&mut text, answer) {
        Ok(()) => ([(CONTENT_TYPE, HeaderValue::from_static(JSON))], text).into_response(),
        Err(_) => Problem::internal("an answer that is no JSON").into_response(),
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
    fn text_is_for_those_who_like_it_better() {
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
    fn what_is_asked_for_wins_over_what_is_accepted() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        assert_eq!(
            ResponseFormat::negotiate(Some(ResponseFormat::Text), &headers).ok(),
            Some(ResponseFormat::Text)
        );
    }
}
