//! Conditions on a write: `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
//!
//! This module parses them. The write queue of the participant evaluates them, so that no other write of
//! this gateway can come between the check and the PATCH.

use std::sync::Arc;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};
use utoipa::IntoParams;

use super::entity_tags::{EntityTags, InvalidEntityTags};
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
}
