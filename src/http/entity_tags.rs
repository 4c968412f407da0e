//! Parses the entity tags in `If-Match` and `If-None-Match` (RFC 9110, section 8.8.3), for reads and
//! writes.
//!
//! Not by the `headers` crate: its `IfMatch` refuses weak tags and shows none, and it knows no suffix of
//! a compressing proxy. The parser works on bytes: a tag has no escapes and can contain other than ASCII.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntityTags {
    Any,
    /// At least one tag, without `W/` and quotes.
    These(Vec<Vec<u8>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidEntityTags;

impl EntityTags {
    /// Parses the header; `None` if it is absent. Several header lines form one list.
    pub(super) fn from_headers(
        headers: &HeaderMap,
        name: &HeaderName,
    ) -> Result<Option<Self>, InvalidEntityTags> {
        if !headers.contains_key(name) {
            return Ok(None);
        }
        let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        parse(&lines.join(&b',')).map(Some).ok_or(InvalidEntityTags)
    }

    /// Whether the current tag, with its quotes, is in the list, weak or strong.
    ///
    /// RFC 9110 requires a strong comparison for `If-Match`. But compressing proxies change tags: nginx
    /// weakens them, Apache and Jetty append the coding. The gateway's tags identify the map and not the
    /// bytes, so a changed tag still identifies the same map.
    pub(super) fn name(&self, current: &str) -> bool {
        let Self::These(tags) = self else { return true };
        let current = current.trim_matches('"').as_bytes();
        tags.iter().any(|tag| tag.strip_prefix(current).is_some_and(|rest| CODINGS.contains(&rest)))
    }
}

/// Suffixes that proxies append to the tag of a response when they compress it, or do not.
const CODINGS: [&[u8]; 7] = [b"", b"-gzip", b"-br", b"-deflate", b"-zstd", b"--gzip", b";gzip"];

fn parse(list: &[u8]) -> Option<EntityTags> {
    let (mut tags, mut rest) = (Vec::new(), list.trim_ascii());
    if rest == b"*" {
        return Some(EntityTags::Any);
    }
    while !rest.is_empty() {
        // Empty list elements are ignored (RFC 9110, section 5.6.1).
        if rest[0] != b',' {
            let quoted = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"")?;
            let end = quoted.iter().position(|byte| !is_tag_byte(*byte))?;
            tags.push(quoted[..end].to_owned());
            rest = quoted[end..].strip_prefix(b"\"")?.trim_ascii_start();
        }
        match rest {
            [] => break,
            [b',', after @ ..] => rest = after.trim_ascii_start(),
            _ => return None,
        }
    }
    (!tags.is_empty()).then_some(EntityTags::These(tags))
}

fn is_tag_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_MATCH;
    use proptest::prelude::*;

    use super::*;

    fn written(weak: bool, tag: &[u8]) -> Vec<u8> {
        [if weak { b"W/".as_slice() } else { b"" }, b"\"", tag, b"\""].concat()
    }

    #[test]
    fn an_invalid_list_of_tags_is_refused() {
        for bad in [
            "tag",
            "\"a",
            "a\"",
            "\"a\" \"b\"",
            "\"a\"b",
            "*, \"a\"",
            "\"a\", *",
            "",
            ",",
            "w/\"a\"",
            "W/ \"a\"",
            "W/",
            "\"a b\"",
            "\"a\tb\"",
            "\"x, \"tag\"",
            "**",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn repeated_headers_are_one_list_and_an_absent_one_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(EntityTags::from_headers(&headers, &IF_MATCH), Ok(None));
        headers.append(IF_MATCH, HeaderValue::from_static("\"a\","));
        headers.append(IF_MATCH, HeaderValue::from_static("W/\"b\""));
        let tags = EntityTags::from_headers(&headers, &IF_MATCH).expect("sound").expect("there");
        assert!(tags.name("\"a\"") && tags.name("\"b\"") && !tags.name("\"c\""));
        headers.append(IF_MATCH, HeaderValue::from_static("*"));
        assert_eq!(EntityTags::from_headers(&headers, &IF_MATCH), Err(InvalidEntityTags));
    }

    #[test]
    fn a_tag_with_the_coding_of_a_proxy_is_the_tag() {
        for same in [
            "\"tag\"",
            "W/\"tag\"",
            "\"tag-gzip\"",
            "W/\"tag-br\"",
            "\"tag--gzip\"",
            "\"tag;gzip\"",
        ] {
            assert!(parse(same.as_bytes()).expect("a tag").name("\"tag\""), "{same}");
        }
        for other in ["\"tag-\"", "\"ta-gzip\"", "\"tag-x\"", "\"tag-gzip-gzip\"", "\"\""] {
            assert!(!parse(other.as_bytes()).expect("a tag").name("\"tag\""), "{other}");
        }
    }

    #[test]
    fn a_backslash_escapes_nothing() {
        let tags = parse(b"\"\\\", \"a\"").expect("two tags");
        assert!(tags.name("\"a\"") && tags.name("\"\\\""));
    }

    proptest! {
        #[test]
        fn every_written_list_of_tags_is_parsed(
            tags in proptest::collection::vec(
                (any::<bool>(), "[!#-~\u{80}-\u{ff}]{0,8}", "[ \t]{0,2}(,[ \t]{0,2}){1,3}"), 1..6
            ),
        ) {
            let mut list = Vec::new();
            let mut expected = Vec::new();
            for (weak, inner, between) in tags {
                list.extend_from_slice(&written(weak, inner.as_bytes()));
                list.extend_from_slice(between.as_bytes());
                expected.push(inner.into_bytes());
            }
            prop_assert_eq!(parse(&list), Some(EntityTags::These(expected.clone())));
            for tag in expected {
                let current = format!("\"{}\"", String::from_utf8(tag.clone()).expect("a text"));
                prop_assert!(EntityTags::These(vec![tag]).name(&current));
            }
        }

        #[test]
        fn no_bytes_panic_and_parsed_tags_round_trip(
            list in proptest::collection::vec(prop_oneof![
                3 => proptest::sample::select(b"\"\"W/,* \\a".to_vec()), 1 => any::<u8>(),
            ], 0..24),
        ) {
            if let Some(EntityTags::These(tags)) = parse(&list) {
                let again = tags.iter().map(|tag| written(true, tag)).collect::<Vec<_>>().join(&b',');
                prop_assert_eq!(parse(&again), Some(EntityTags::These(tags)));
            }
        }
    }
}
