//! The `Prefer` header (RFC 7240): `wait=N`, `return=minimal` and `respond-async`.
//!
//! An unknown or invalid preference is ignored. The first of repeated preferences applies.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Maximum wait in seconds; a longer one counts as this.
const MAX_WAIT: u64 = 60;

/// The same for a write that is accepted now and carried out later.
const MAX_LONG_WAIT: u64 = 900;
const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PreferHeader {
    /// Maximum duration of the request in seconds, up to [`MAX_LONG_WAIT`].
    wait: Option<u64>,
    /// Whether a write may be answered before it is carried out.
    pub respond_async: bool,
    /// Whether a successful write needs no body.
    pub minimal: bool,
}

impl PreferHeader {
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut wait = None;
        let mut minimal = None;
        let mut respond_async = false;
        for header in headers.get_all(PREFER) {
            let Ok(text) = header.to_str() else { continue };
            for (name, value) in split_outside_quotes(text, ',').map(preference) {
                if name.eq_ignore_ascii_case("wait") {
                    wait.get_or_insert_with(|| seconds(value));
                } else if name.eq_ignore_ascii_case("respond-async") {
                    respond_async = true;
                } else if name.eq_ignore_ascii_case("return") {
                    minimal.get_or_insert_with(|| value.eq_ignore_ascii_case("minimal"));
                }
            }
        }
        Self { wait: wait.flatten(), respond_async, minimal: minimal.unwrap_or(false) }
    }

    pub(super) fn wait(self) -> Option<Duration> {
        self.wait.map(|wait| Duration::from_secs(wait.min(MAX_WAIT)))
    }

    pub(super) fn long_wait(self) -> Option<Duration> {
        self.wait.map(Duration::from_secs)
    }

    /// The value of `Preference-Applied`; `minimal` says whether the response has no body.
    pub(super) fn applied(self, minimal: bool) -> Option<HeaderValue> {
        let wait = self.wait.map(|wait| wait.min(MAX_WAIT));
        let text = match (wait, minimal) {
            (None, false) => return None,
            (None, true) => return Some(HeaderValue::from_static("return=minimal")),
            (Some(wait), false) => format!("wait={wait}"),
            (Some(wait), true) => format!("wait={wait}, return=minimal"),
        };
        HeaderValue::try_from(text).ok()
    }
}

/// Name and value of one preference. Parameters after `;` are ignored.
fn preference(text: &str) -> (&str, &str) {
    let own = split_outside_quotes(text, ';').next().unwrap_or_default();
    let (name, value) = own.split_once('=').unwrap_or((own, ""));
    (name.trim(), unquoted(value.trim()))
}

fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

fn seconds(value: &str) -> Option<u64> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A number with too many digits still exceeds the maximum.
    let wait = value.parse().unwrap_or(u64::MAX);
    (wait > 0).then_some(wait.min(MAX_LONG_WAIT))
}

/// The parts of a header value between separators outside quoted strings.
pub(super) fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |character| {
        let was_escaped = std::mem::replace(&mut escaped, false);
        match character {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        character == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefer(values: &[&str]) -> PreferHeader {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().expect("header value"));
        }
        PreferHeader::from_headers(&headers)
    }

    #[test]
    fn a_wait_is_whole_seconds_up_to_a_minute() {
        for (text, wait) in [
            ("wait=2", Some(2)),
            ("wait=\"2\"", Some(2)),
            ("WAIT = 007", Some(7)),
            ("wait=60", Some(60)),
            ("wait=61", Some(60)),
            ("wait=99999999999999999999999999999", Some(60)),
            ("wait=0", None),
            ("wait=-1", None),
            ("wait=+1", None),
            ("wait=1.5", None),
            ("wait=1e9", None),
            ("wait=soon", None),
            ("wait=", None),
            ("wait", None),
            ("", None),
            ("waiting=5", None),
            ("handling=\"a, wait=5\"", None),
            ("handling=strict;wait=5", None),
            ("respond-async, wait=5; x=\"1,2\" , return=minimal", Some(5)),
        ] {
            let found = prefer(&[text]).wait();
            assert_eq!(found, wait.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_accepted_write_can_wait_a_quarter_of_an_hour() {
        let found = prefer(&["respond-async, wait=901"]);
        assert!(found.respond_async && !prefer(&["handling=respond-async"]).respond_async);
        assert_eq!(found.long_wait(), Some(Duration::from_mins(15)));
    }

    #[test]
    fn the_first_of_several_applies() {
        assert_eq!(prefer(&["wait=3, wait=4", "wait=5"]).wait, Some(3));
        assert_eq!(prefer(&["wait=never", "wait=5"]).wait, None);
        let both = prefer(&["foo", "return=minimal", "Wait=5", "return=representation"]);
        assert_eq!((both.wait, both.minimal), (Some(5), true));
        assert!(!prefer(&["return=representation, return=minimal"]).minimal);
    }

    #[test]
    fn only_applied_preferences_are_listed() {
        let applied = |text: &str, minimal| prefer(&[text]).applied(minimal);
        assert_eq!(applied("wait=90", false).expect("applied"), "wait=60");
        assert_eq!(applied("wait=x", false), None);
        assert_eq!(
            applied("return=minimal,wait=2", true).expect("applied"),
            "wait=2, return=minimal"
        );
    }

    proptest! {
        #[test]
        fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                PreferHeader::from_headers(&HeaderMap::from_iter([(PREFER, value)]));
            }
        }
    }
}
