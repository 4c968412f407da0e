//! Conditions on a write: `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
//!
//! This module parses them. The write queue of the participant evaluates them, so that no other write of
//! this gateway can come between the check and the PATCH.

use std::sync::Arc;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use utoipa::IntoParams;

use super::etag::{EtagKey, EtagScope};
use super::problem::Problem;
use super::violations::ViolationList;
use crate::app::WritePrecondition;
use crate::domain::{AttributeMap, Client, ParticipantId, Patch, Violation};
use crate::error::ErrorCode;

/// Preconditions of a write.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct ConditionHeaders {
    /// `ETag`s of earlier reads of the same resource, or `*`. The gateway writes only if one of them
    /// still matches (`*`: if an attribute exists), and returns 412 otherwise. A tag that a proxy
    /// weakened (`W/"…"`) counts as the original tag
    #[param(rename = "If-Match", required = false, value_type = String, pattern = r#"^(\*|(W/)?"[!#-~\u0080-\u00ff]*"(, *(W/)?"[!#-~\u0080-\u00ff]*")*)$"#)]
    if_match: Option<EntityTags>,
    /// `*`: write only if none of the keys exists yet. `ETag`s: write only if none of them matches
    #[param(rename = "If-None-Match", required = false, value_type = String, pattern = r#"^(\*|(W/)?"[!#-~\u0080-\u00ff]*"(, *(W/)?"[!#-~\u0080-\u00ff]*")*)$"#)]
    if_none_match: Option<EntityTags>,
}

#[derive(Debug)]
struct MatchCondition {
    headers: ConditionHeaders,
    /// The part of the map that the tags cover.
    scope: EtagScope,
    etag: EtagKey,
    /// The client; its rights decide which keys the tags cover.
    client: Arc<Client>,
}

impl WritePrecondition for MatchCondition {
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool {
        let map = &*self.client.rights.seen(map);
        let tag = self.etag.tag(participant, map, &self.scope);
        let matches = match &self.headers.if_match {
            None => true,
            Some(EntityTags::Any) => match &self.scope {
                // A participant that exists always has a map, even an empty one.
                EtagScope::Whole | EtagScope::Narrowed(_) => true,
                EtagScope::Key(key) => map.get(key).is_some(),
            },
            Some(tags @ EntityTags::These(_)) => tags.name(&tag),
        };
        let differs = match &self.headers.if_none_match {
            None => true,
            Some(EntityTags::Any) => patch.keys().all(|key| map.get(key.as_str()).is_none()),
            Some(tags @ EntityTags::These(_)) => !tags.name(&tag),
        };
        matches && differs
    }

    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String {
        self.etag.tag(participant, &self.client.rights.seen(map), &self.scope)
    }
}

impl ConditionHeaders {
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut mistakes = ViolationList::default();
        let if_match = tags(headers, &IF_MATCH, "If-Match", &mut mistakes);
        let if_none_match = tags(headers, &IF_NONE_MATCH, "If-None-Match", &mut mistakes);
        if mistakes.is_empty() {
            return Ok(Self { if_match, if_none_match });
        }
        Err(Problem::listing(ErrorCode::InvalidHeader, mistakes))
    }

    pub(super) fn check_required(&self, is_required: bool) -> Result<(), Problem> {
        // `If-None-Match` with tags does not protect another client's change.
        let guards = self.if_match.is_some() || self.if_none_match == Some(EntityTags::Any);
        if guards || !is_required {
            return Ok(());
        }
        let detail = "this gateway requires If-Match, or If-None-Match: *, for every write";
        Err(Problem::new(ErrorCode::PreconditionRequired, detail))
    }

    /// The condition of a write to this part of the map; `None` if it has none.
    pub(super) fn condition(
        self,
        scope: &EtagScope,
        client: &Arc<Client>,
        etag: &EtagKey,
    ) -> Option<Arc<dyn WritePrecondition>> {
        if self.if_match.is_none() && self.if_none_match.is_none() {
            return None;
        }
        let (scope, etag, client) = (scope.clone(), etag.clone(), Arc::clone(client));
        Some(Arc::new(MatchCondition { headers: self, scope, etag, client }))
    }
}

fn tags(
    headers: &HeaderMap,
    name: &HeaderName,
    spelled: &str,
    mistakes: &mut ViolationList,
) -> Option<EntityTags> {
    EntityTags::from_headers(headers, name).unwrap_or_else(|InvalidEntityTags| {
        let detail =
            "is neither `*` nor a list of entity tags in quotes, as the ETag header has them";
        mistakes.note(Violation::new(spelled, detail));
        None
    })
}

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
    use crate::domain::{AttributeKey, AttributeValue, KeyChange};
    use axum::http::header::IF_MATCH;
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "8e0f1a2b-0000-4000-8000-000000000001";

    fn map(entries: &[(&str, &str)]) -> AttributeMap {
        let entry =
            |(key, value): &(&str, &str)| (AttributeKey::existing(key), AttributeValue::new(value));
        entries.iter().map(entry).collect()
    }

    fn holds(header: HeaderName, value: &str, now: &[(&str, &str)]) -> bool {
        holds_of(&EtagScope::Whole, header, value, now)
    }

    fn holds_of(scope: &EtagScope, header: HeaderName, value: &str, now: &[(&str, &str)]) -> bool {
        let etag = EtagKey::derive("secret");
        let one = ONE.parse().expect("id");
        let value = value.replace("TAG", &etag.tag(one, &map(&[("a", "1")]), scope));
        let headers = HeaderMap::from_iter([(header, value.parse().expect("value"))]);
        let headers = ConditionHeaders::from_headers(&headers).expect("valid headers");
        let condition = headers.condition(scope, &Client::anonymous(), &etag).expect("one");
        let patch = [(AttributeKey::existing("k"), KeyChange::to(AttributeValue::new("new")))];
        condition.holds(one, &map(now), &patch.into_iter().collect())
    }

    #[test]
    fn if_match_needs_one_of_its_tags_weak_or_strong() {
        for list in ["TAG", "\"other\", TAG", "*", "W/TAG", "W/\"other\", W/TAG"] {
            assert!(holds(IF_MATCH, list, &[("a", "1")]), "{list}");
        }
        assert!(!holds(IF_MATCH, "TAG", &[("a", "2")]));
        assert!(!holds(IF_MATCH, "W/TAG", &[("a", "2")]));
    }

    #[test]
    fn if_none_match_needs_no_matching_tag_or_no_existing_key() {
        assert!(!holds(IF_NONE_MATCH, "W/TAG", &[("a", "1")]));
        assert!(holds(IF_NONE_MATCH, "TAG", &[("a", "2")]));
        assert!(holds(IF_NONE_MATCH, "*", &[("a", "1")]));
        assert!(holds(IF_NONE_MATCH, "*", &[("k", "")]), "empty is absent");
        assert!(!holds(IF_NONE_MATCH, "*", &[("k", "old")]));
    }

    #[test]
    fn the_condition_of_one_key_covers_only_that_key() {
        let holds = |header, value, now: &[(&str, &str)]| {
            holds_of(&EtagScope::Key("a".to_owned()), header, value, now)
        };
        assert!(holds(IF_MATCH, "TAG", &[("a", "1"), ("b", "2")]));
        assert!(!holds(IF_MATCH, "TAG", &[("a", "2")]));
        assert!(holds(IF_MATCH, "*", &[("a", "2")]));
        assert!(!holds(IF_MATCH, "*", &[("a", ""), ("b", "2")]), "there is nothing to match");
        assert!(!holds(IF_NONE_MATCH, "TAG", &[("a", "1"), ("b", "2")]));
        assert!(holds(IF_NONE_MATCH, "TAG", &[("a", "2")]));
    }

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
