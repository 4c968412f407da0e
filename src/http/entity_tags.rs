//! Parses the entity tags in `If-Match` and `If-None-Match` (RFC 9110, section 8.8.3), for reads and
//! writes.
//!
//! The parser works on bytes: a tag has no escapes and may contain bytes that are not ASCII.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The content of a header with entity tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntityTags {
    /// `*`
    Any,
    /// At least one tag.
    These(Vec<EntityTag>),
}

/// One entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntityTag {
    weak: bool,
    /// The tag including its quotes.
    opaque: Vec<u8>,
}

/// The header is present, but its content is neither `*` nor a list of tags.
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

    /// Whether the current tag is in the list, weak or strong.
    ///
    /// RFC 9110 requires a strong comparison for `If-Match`. But compressing proxies change tags: nginx
    /// weakens them, Apache and Jetty append the coding. The gateway's tags identify the map and not the
    /// bytes, so a changed tag still identifies the same map.
    pub(super) fn name(&self, current: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| is_same(&tag.opaque, current.as_bytes())),
        }
    }
}

/// Suffixes that proxies append to the tag of a response when they compress it.
const CODINGS: [&[u8]; 6] = [b"-gzip", b"-br", b"-deflate", b"-zstd", b"--gzip", b";gzip"];

fn is_same(given: &[u8], current: &[u8]) -> bool {
    let bare = |tag: &[u8]| tag.strip_suffix(b"\"").map(<[u8]>::to_vec);
    let with_coding = || {
        let (given, current) = (bare(given)?, bare(current)?);
        let rest = given.strip_prefix(&current[..])?;
        Some(CODINGS.contains(&rest))
    };
    given == current || with_coding() == Some(true)
}

fn parse(list: &[u8]) -> Option<EntityTags> {
    if list.trim_ascii() == b"*" {
        return Some(EntityTags::Any);
    }
    let (mut tags, mut rest) = (Vec::new(), list.trim_ascii());
    while !rest.is_empty() {
        // Empty list elements are ignored (RFC 9110, section 5.6.1).
        if rest[0] != b',' {
            let (tag, after) = tag(rest)?;
            tags.push(tag);
            rest = after.trim_ascii_start();
        }
        rest = match rest {
            [] => rest,
            [b',', after @ ..] => after.trim_ascii_start(),
            _ => return None,
        };
    }
    (!tags.is_empty()).then_some(EntityTags::These(tags))
}

/// Parses the first tag and returns it with the remaining text.
fn tag(text: &[u8]) -> Option<(EntityTag, &[u8])> {
    let (weak, text) = text.strip_prefix(b"W/").map_or((false, text), |text| (true, text));
    let inner = text.strip_prefix(b"\"")?;
    let end = inner.iter().position(|byte| !is_tag_byte(*byte))?;
    if inner[end] != b'"' {
        return None;
    }
    let (opaque, after) = text.split_at(end + 2);
    Some((EntityTag { weak, opaque: opaque.to_owned() }, after))
}

fn is_tag_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7e | 0x80..)
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_MATCH;
    use proptest::prelude::*;

    use super::*;

    fn written(tag: &EntityTag) -> Vec<u8> {
        [if tag.weak { b"W/".as_slice() } else { b"" }, &tag.opaque].concat()
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
                let tag = EntityTag { weak, opaque: format!("\"{inner}\"").into_bytes() };
                list.extend_from_slice(&written(&tag));
                list.extend_from_slice(between.as_bytes());
                expected.push(tag);
            }
            prop_assert_eq!(parse(&list), Some(EntityTags::These(expected.clone())));
            for tag in expected {
                let current = String::from_utf8(tag.opaque.clone()).expect("a text");
                let alone = EntityTags::These(vec![tag.clone()]);
                prop_assert!(alone.name(&current));
            }
        }

        #[test]
        fn no_bytes_panic_and_parsed_tags_round_trip(
            list in proptest::collection::vec(prop_oneof![
                3 => proptest::sample::select(b"\"\"W/,* \\a".to_vec()), 1 => any::<u8>(),
            ], 0..24),
        ) {
            if let Some(EntityTags::These(tags)) = parse(&list) {
                let again = tags.iter().map(written).collect::<Vec<_>>().join(&b',');
                prop_assert_eq!(parse(&again), Some(EntityTags::These(tags)));
            }
        }
    }
}
