//! Conditions on a write: `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
//!
//! This module parses them. The write queue of the participant evaluates them, so that no other write of
//! this gateway can come between the check and the PATCH.

use std::sync::Arc;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};

use super::entity_tags::{EntityTags, InvalidEntityTags};
use super::etag::{EtagKey, EtagScope};
use super::problem::Problem;
use super::state::HttpSettings;
use super::violations::ViolationList;
use crate::app::WritePrecondition;
use crate::domain::{AttributeMap, Client, ParticipantId, Patch, Violation};
use crate::error::ErrorCode;

/// The condition of a write.
#[derive(Debug)]
pub(super) struct MatchCondition {
    if_match: Option<EntityTags>,
    if_none_match: Option<EntityTags>,
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
        let matches = match &self.if_match {
            None => true,
            Some(EntityTags::Any) => match &self.scope {
                // A participant that exists always has a map, even an empty one.
                EtagScope::Whole | EtagScope::Narrowed(_) => true,
                EtagScope::Key(key) => map.get(key).is_some(),
            },
            Some(tags @ EntityTags::These(_)) => tags.name(&tag),
        };
        let differs = match &self.if_none_match {
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

/// Parses the condition of a write; `None` if the write has none.
///
/// # Errors
/// A header is invalid (all mistakes are listed), or `writes.require_if_match` requires a condition and the
/// write has none.
pub(super) fn from_headers(
    headers: &HeaderMap,
    (scope, client): (&EtagScope, &Arc<Client>),
    dry_run: bool,
    settings: &HttpSettings,
) -> Result<Option<Arc<dyn WritePrecondition>>, Problem> {
    let mut mistakes = ViolationList::default();
    let if_match = tags(headers, &IF_MATCH, "If-Match", &mut mistakes);
    let if_none_match = tags(headers, &IF_NONE_MATCH, "If-None-Match", &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Problem::listing(ErrorCode::InvalidHeader, mistakes));
    }
    // `If-None-Match` with tags does not protect another client's change.
    let guards = if_match.is_some() || if_none_match == Some(EntityTags::Any);
    if settings.require_if_match && !guards && !dry_run {
        let detail = "this gateway requires If-Match, or If-None-Match: *, for every write";
        return Err(Problem::new(ErrorCode::PreconditionRequired, detail));
    }
    if if_match.is_none() && if_none_match.is_none() {
        return Ok(None);
    }
    let (scope, etag) = (scope.clone(), settings.etag.clone());
    let client = Arc::clone(client);
    Ok(Some(Arc::new(MatchCondition { if_match, if_none_match, scope, etag, client })))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AttributeKey, AttributeValue, KeyChange};

    const ONE: &str = "8e0f1a2b-0000-4000-8000-000000000001";

    fn map(entries: &[(&str, &str)]) -> AttributeMap {
        let entry =
            |(key, value): &(&str, &str)| (AttributeKey::existing(key), AttributeValue::new(value));
        entries.iter().map(entry).collect()
    }

    fn holds(header: HeaderName, value: &str, now: &[(&str, &str)]) -> bool {
        holds_of(EtagScope::Whole, header, value, now)
    }

    fn holds_of(scope: EtagScope, header: HeaderName, value: &str, now: &[(&str, &str)]) -> bool {
        let etag = EtagKey::derive("secret");
        let one = ONE.parse().expect("id");
        let value = value.replace("TAG", &etag.tag(one, &map(&[("a", "1")]), &scope));
        let headers = HeaderMap::from_iter([(header, value.parse().expect("value"))]);
        let mut mistakes = ViolationList::default();
        let condition = MatchCondition {
            if_match: tags(&headers, &IF_MATCH, "", &mut mistakes),
            if_none_match: tags(&headers, &IF_NONE_MATCH, "", &mut mistakes),
            scope,
            etag,
            client: Client::anonymous(),
        };
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
            holds_of(EtagScope::Key("a".to_owned()), header, value, now)
        };
        assert!(holds(IF_MATCH, "TAG", &[("a", "1"), ("b", "2")]));
        assert!(!holds(IF_MATCH, "TAG", &[("a", "2")]));
        assert!(holds(IF_MATCH, "*", &[("a", "2")]));
        assert!(!holds(IF_MATCH, "*", &[("a", ""), ("b", "2")]), "there is nothing to match");
        assert!(!holds(IF_NONE_MATCH, "TAG", &[("a", "1"), ("b", "2")]));
        assert!(holds(IF_NONE_MATCH, "TAG", &[("a", "2")]));
    }
}
