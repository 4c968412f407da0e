//! Conditions on a write: `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
//!
//! Parsed here, judged by the use case inside the participant's turn, where nobody else's change
//! of ours can come in between.

use std::sync::Arc;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::etag::{Cover, EtagKey};
use super::problem::Problem;
use super::state::HttpSettings;
use crate::app::Precondition;
use crate::domain::{AttributeMap, ParticipantId, Patch, Violation};
use crate::error::Code;

/// What a header with entity tags says.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// Tags as they were given, weak ones with their `W/`.
    These(Vec<String>),
}

/// What must be true for a write to be made.
#[derive(Debug)]
pub(super) struct Condition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    /// What the tags were taken of.
    cover: Cover,
    etag: EtagKey,
}

impl Precondition for Condition {
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool {
        let tag = self.current(participant, map);
        let matches = match &self.if_match {
            None => true,
            Some(Tags::Any) => match &self.cover {
                // A participant that was found has attributes, if only none.
                Cover::Whole | Cover::Narrowed(_) => true,
                Cover::Key(key) => map.get(key).is_some(),
            },
            Some(Tags::These(tags)) => tags.contains(&tag),
        };
        let differs = match &self.if_none_match {
            None => true,
            Some(Tags::Any) => patch.keys().all(|key| map.get(key.as_str()).is_none()),
            Some(Tags::These(tags)) => {
                !tags.iter().any(|known| known.strip_prefix("W/").unwrap_or(known) == tag)
            }
        };
        matches && differs
    }

    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String {
        self.etag.tag(participant, map, &self.cover)
    }
}

/// The condition of a write, if it has one.
///
/// # Errors
/// All mistakes in the two headers; or that this service takes no write without a condition.
pub(super) fn of(
    headers: &HeaderMap,
    cover: &Cover,
    dry_run: bool,
    settings: &HttpSettings,
) -> Result<Option<Arc<dyn Precondition>>, Problem> {
    let mut mistakes = Vec::new();
    let if_match = tags(headers, &IF_MATCH, "If-Match", &mut mistakes);
    let if_none_match = tags(headers, &IF_NONE_MATCH, "If-None-Match", &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Problem::listing(Code::InvalidHeader, mistakes));
    }
    if if_match.is_none() && if_none_match.is_none() {
        return if settings.require_if_match && !dry_run {
            Err(Problem::new(
                Code::PreconditionRequired,
                "this gateway takes no write without If-Match",
            ))
        } else {
            Ok(None)
        };
    }
    let (cover, etag) = (cover.clone(), settings.etag.clone());
    Ok(Some(Arc::new(Condition { if_match, if_none_match, cover, etag })))
}

fn tags(
    headers: &HeaderMap,
    name: &HeaderName,
    spelled: &str,
    mistakes: &mut Vec<Violation>,
) -> Option<Tags> {
    if !headers.contains_key(name) {
        return None;
    }
    let all: Option<Vec<&str>> =
        headers.get_all(name).iter().map(|value: &HeaderValue| value.to_str().ok()).collect();
    let parsed = all.and_then(|lines| parse(&lines.join(",")));
    if parsed.is_none() {
        let detail =
            "is neither `*` nor a list of entity tags in quotes, as the ETag header has them";
        mistakes.push(Violation::at(spelled, detail));
    }
    parsed
}

fn parse(list: &str) -> Option<Tags> {
    if list.trim() == "*" {
        return Some(Tags::Any);
    }
    let tags = between_commas(list).map(str::trim).filter(|tag| !tag.is_empty());
    let tags: Option<Vec<String>> = tags.map(|tag| is_tag(tag).then(|| tag.to_owned())).collect();
    tags.filter(|tags| !tags.is_empty()).map(Tags::These)
}

/// The parts between commas that stand in no tag. A tag knows no escape: `"\"` is one (RFC 9110).
fn between_commas(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    list.split(move |character| {
        quoted ^= character == '"';
        character == ',' && !quoted
    })
}

fn is_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AttributeKey, AttributeValue, Change};

    const ONE: &str = "8e0f1a2b-0000-4000-8000-000000000001";

    fn map(entries: &[(&str, &str)]) -> AttributeMap {
        let entry =
            |(key, value): &(&str, &str)| (AttributeKey::existing(key), AttributeValue::new(value));
        entries.iter().map(entry).collect()
    }

    fn holds(header: HeaderName, value: &str, now: &[(&str, &str)]) -> bool {
        holds_of(Cover::Whole, header, value, now)
    }

    fn holds_of(cover: Cover, header: HeaderName, value: &str, now: &[(&str, &str)]) -> bool {
        let etag = EtagKey::derive("secret");
        let one = ONE.parse().expect("id");
        let value = value.replace("TAG", &etag.tag(one, &map(&[("a", "1")]), &cover));
        let headers = HeaderMap::from_iter([(header, value.parse().expect("value"))]);
        let mut mistakes = Vec::new();
        let condition = Condition {
            if_match: tags(&headers, &IF_MATCH, "", &mut mistakes),
            if_none_match: tags(&headers, &IF_NONE_MATCH, "", &mut mistakes),
            cover,
            etag,
        };
        let patch = [(AttributeKey::existing("k"), Change::to(AttributeValue::new("new")))];
        condition.holds(one, &map(now), &patch.into_iter().collect())
    }

    #[test]
    fn if_match_wants_one_of_its_tags_strongly() {
        for list in ["TAG", "\"other\", TAG", "*"] {
            assert!(holds(IF_MATCH, list, &[("a", "1")]), "{list}");
        }
        assert!(!holds(IF_MATCH, "TAG", &[("a", "2")]));
        assert!(!holds(IF_MATCH, "W/TAG", &[("a", "1")]), "a weak tag does not match strongly");
    }

    #[test]
    fn if_none_match_wants_none_of_its_tags_or_none_of_the_keys() {
        assert!(!holds(IF_NONE_MATCH, "W/TAG", &[("a", "1")]));
        assert!(holds(IF_NONE_MATCH, "TAG", &[("a", "2")]));
        assert!(holds(IF_NONE_MATCH, "*", &[("a", "1")]));
        assert!(holds(IF_NONE_MATCH, "*", &[("k", "")]), "empty is absent");
        assert!(!holds(IF_NONE_MATCH, "*", &[("k", "old")]));
    }

    #[test]
    fn of_one_key_the_condition_looks_at_that_key_alone() {
        let holds = |header, value, now: &[(&str, &str)]| {
            holds_of(Cover::Key("a".to_owned()), header, value, now)
        };
        assert!(holds(IF_MATCH, "TAG", &[("a", "1"), ("b", "2")]));
        assert!(!holds(IF_MATCH, "TAG", &[("a", "2")]));
        assert!(holds(IF_MATCH, "*", &[("a", "2")]));
        assert!(!holds(IF_MATCH, "*", &[("a", ""), ("b", "2")]), "there is nothing to match");
        assert!(!holds(IF_NONE_MATCH, "TAG", &[("a", "1"), ("b", "2")]));
        assert!(holds(IF_NONE_MATCH, "TAG", &[("a", "2")]));
    }

    #[test]
    fn what_is_no_list_of_tags_is_a_mistake() {
        for bad in ["tag", "\"a", "\"a\" \"b\"", "*, \"a\"", "", ",", "w/\"a\""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let backslash = Tags::These(vec!["\"\\\"".into(), "\"a\"".into()]);
        assert_eq!(parse("\"\\\", \"a\""), Some(backslash));
        let two = Tags::These(vec!["\"a,b\"".into(), "W/\"c\"".into()]);
        assert_eq!(parse(" \"a,b\" ,, W/\"c\""), Some(two));
    }
}
