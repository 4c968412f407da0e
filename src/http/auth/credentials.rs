//! API keys in the headers of a request. The gateway keeps only their digests.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::app::key_digest;
use crate::domain::KeyDigest;

pub(in crate::http) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MalformedCredentials {
    #[error("the scheme of the Authorization header is neither Bearer nor Basic")]
    Scheme,
    #[error("the key is empty")]
    Empty,
    #[error("the text after Basic is not the base64 encoding of `name:key`")]
    Basic,
}

/// The digest of a key, and the name that came with it.
pub(super) type HeaderKey = (KeyDigest, Option<String>);

/// Returns every key in the headers.
///
/// # Errors
/// A header that should contain a key contains none. Another header may have a valid key, but it is
/// unclear which one the client meant.
pub(super) fn from_headers(headers: &HeaderMap) -> Result<Vec<HeaderKey>, MalformedCredentials> {
    let authorized = headers.get_all(AUTHORIZATION).iter().map(|value| scheme(value.as_bytes()));
    let plain = headers.get_all(X_API_KEY).iter().map(|value| key(value.as_bytes()));
    authorized.chain(plain).collect()
}

/// `Bearer KEY` or `Basic base64(name:KEY)`; the scheme is compared without case (RFC 9110,
/// section 11.1).
fn scheme(value: &[u8]) -> Result<HeaderKey, MalformedCredentials> {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if scheme.eq_ignore_ascii_case(b"bearer") {
        key(rest)
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        basic(rest.trim_ascii())
    } else {
        Err(MalformedCredentials::Scheme)
    }
}

fn key(text: &[u8]) -> Result<HeaderKey, MalformedCredentials> {
    match text.trim_ascii() {
        [] => Err(MalformedCredentials::Empty),
        key => Ok((key_digest(key), None)),
    }
}

fn basic(encoded: &[u8]) -> Result<HeaderKey, MalformedCredentials> {
    let pair = STANDARD.decode(encoded).map_err(|_| MalformedCredentials::Basic)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(MalformedCredentials::Basic)?;
    let (name, key) = (&pair[..colon], &pair[colon + 1..]);
    if key.is_empty() {
        return Err(MalformedCredentials::Empty);
    }
    // A name that is not UTF-8 matches no client, like any other wrong name.
    Ok((key_digest(key), Some(String::from_utf8_lossy(name).into_owned())))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value.parse().expect("a value"));
        }
        headers
    }

    fn names(
        lines: &[(HeaderName, &str)],
        key: &str,
    ) -> Result<Vec<Option<String>>, MalformedCredentials> {
        let given = from_headers(&headers(lines))?;
        assert!(given.iter().all(|(digest, _)| digest.is(&key_digest(key.as_bytes()))));
        Ok(given.into_iter().map(|(_, name)| name).collect())
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn a_key_is_found_in_three_places_and_schemes_ignore_case() {
        let (crm, colon) = (basic("crm:k"), basic("crm:k:1"));
        assert_eq!(names(&[], "k"), Ok(vec![]));
        assert_eq!(names(&[(AUTHORIZATION, "Bearer k")], "k"), Ok(vec![None]));
        assert_eq!(names(&[(AUTHORIZATION, "bEARER   k ")], "k"), Ok(vec![None]));
        assert_eq!(names(&[(X_API_KEY, "k")], "k"), Ok(vec![None]));
        assert_eq!(names(&[(AUTHORIZATION, &crm)], "k"), Ok(vec![Some("crm".into())]));
        assert_eq!(names(&[(AUTHORIZATION, &colon)], "k:1"), Ok(vec![Some("crm".into())]));
        let both = [(AUTHORIZATION, crm.as_str()), (X_API_KEY, "k")];
        assert_eq!(names(&both, "k"), Ok(vec![Some("crm".into()), None]));
        let twice = [(X_API_KEY, "k"), (X_API_KEY, "k")];
        assert_eq!(names(&twice, "k"), Ok(vec![None, None]));
    }

    #[test]
    fn a_header_without_a_key_is_not_ignored() {
        let bad = |name: HeaderName, value: &str| names(&[(X_API_KEY, "k"), (name, value)], "k");
        for value in ["Digest k", "k", "", "Bearerk"] {
            assert_eq!(bad(AUTHORIZATION, value), Err(MalformedCredentials::Scheme), "{value}");
        }
        for value in ["Bearer", "Bearer  ", &basic("crm:")] {
            assert_eq!(bad(AUTHORIZATION, value), Err(MalformedCredentials::Empty), "{value}");
        }
        for value in ["Basic", "Basic !", "Basic Y3Jt"] {
            assert_eq!(bad(AUTHORIZATION, value), Err(MalformedCredentials::Basic), "{value}");
        }
        assert_eq!(bad(X_API_KEY, " "), Err(MalformedCredentials::Empty));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_and_a_key_is_found_again(
            value in proptest::collection::vec(any::<u8>(), 0..60),
            prefix in "(?i)(bearer|basic|)[ :]{0,2}",
            name in "[a-z]{0,4}", key in "[!-~]{1,20}",
        ) {
            let bytes = [prefix.as_bytes(), &value].concat();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for header in [AUTHORIZATION, X_API_KEY] {
                    let _ = from_headers(&HeaderMap::from_iter([(header, value.clone())]));
                }
            }
            let given = names(&[(AUTHORIZATION, &basic(&format!("{name}:{key}")))], &key);
            prop_assert_eq!(given, Ok(vec![Some(name)]));
        }
    }
}
