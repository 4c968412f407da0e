//! Conditions on a write: `If-Match` and `If-None-Match` (RFC 9110, section 13.1).
//!
//! Parsed here, judged by the use case inside the participant's turn, where nobody else's change
//! of ours can come in between.

use std::sync::Arc;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};

use super::entity_tags::{NoTags, Tags};
use super::etag::{Cover, EtagKey};
use super::problem::Problem;
use super::state::HttpSettings;
use super::violations::Mistakes;
use crate::app::Precondition;
use crate::domain::{AttributeMap, Client, ParticipantId, Patch, Violation};
use crate::error::Code;

/// What must be true for a write to be made.
#[derive(Debug)]
pub(super) struct Condition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
    /// What the tags were taken of.
    cover: Cover,
    etag: EtagKey,
    /// Who has seen what they were taken of.
    client: Arc<Client>,
}

impl Precondition for Condition {
    fn holds(&self, participant: ParticipantId, map: &AttributeMap, patch: &Patch) -> bool {
        let map = &*self.client.rights.seen(map);
        let tag = self.etag.tag(participant, map, &self.cover);
        let matches = match &self.if_match {
            None => true,
            Some(Tags::Any) => match &self.cover {
                // A participant that was found has attributes, if only none.
                Cover::Whole | Cover::Narrowed(_) => true,
                Cover::Key(key) => map.get(key).is_some(),
            },
            Some(tags @ Tags::These(_)) => tags.name(&tag),
        };
        let differs = match &self.if_none_match {
            None => true,
            Some(Tags::Any) => patch.keys().all(|key| map.get(key.as_str()).is_none()),
            Some(tags @ Tags::These(_)) => !tags.name(&tag),
        };
        matches && differs
    }

    fn current(&self, participant: ParticipantId, map: &AttributeMap) -> String {
        self.etag.tag(participant, &self.client.rights.seen(map), &self.cover)
    }
}

/// The condition of a write, if it has one.
///
/// # Errors
/// All mistakes in the two headers; or that this service takes no write without a condition.
pub(super) fn of(
    headers: &HeaderMap,
    (cover, client): (&Cover, &Arc<Client>),
    dry_run: bool,
    settings: &HttpSettings,
) -> Result<Option<Arc<dyn Precondition>>, Problem> {
    let mut mistakes = Mistakes::default();
    let if_match = tags(headers, &IF_MATCH, "If-Match", &mut mistakes);
    let if_none_match = tags(headers, &IF_NONE_MATCH, "If-None-Match", &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Problem::listing(Code::InvalidHeader, mistakes));
    }
    // That it is not as some old tag says guards against nothing.
    let guards = if_match.is_some() || if_none_match == Some(Tags::Any);
    if settings.require_if_match && !guards && !dry_run {
        let detail = "this gateway takes no write without If-Match, or If-None-Match: *";
        return Err(Problem::new(Code::PreconditionRequired, detail));
    }
    if if_match.is_none() && if_none_match.is_none() {
        return Ok(None);
    }
    let (cover, etag) = (cover.clone(), settings.etag.clone());
    let client = Arc::clone(client);
    Ok(Some(Arc::new(Condition { if_match, if_none_match, cover, etag, client })))
}

fn tags(
    headers: &HeaderMap,
    name: &HeaderName,
    spelled: &str,
    mistakes: &mut Mistakes,
) -> Option<Tags> {
    Tags::of(headers, name).unwrap_or_else(|NoTags| {
        let detail =
            "is neither `*` nor a list of entity tags in quotes, as the ETag header has them";
        mistakes.note(Violation::at(spelled, detail));
        None
    })
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
        let mut mistakes = Mistakes::default();
        let condition = Condition {
            if_match: tags(&headers, &IF_MATCH, "", &mut mistakes),
            if_none_match: tags(&headers, &IF_NONE_MATCH, "", &mut mistakes),
            cover,
            etag,
            client: Client::anonymous(),
        };
        let patch = [(AttributeKey::existing("k"), Change::to(AttributeValue::new("new")))];
        condition.holds(one, &map(now), &patch.into_iter().collect())
    }

    #[test]
    fn if_match_wants_one_of_its_tags_weakened_or_not() {
        for list in ["TAG", "\"other\", TAG", "*", "W/TAG", "W/\"other\", W/TAG"] {
            assert!(holds(IF_MATCH, list, &[("a", "1")]), "{list}");
        }
        assert!(!holds(IF_MATCH, "TAG", &[("a", "2")]));
        assert!(!holds(IF_MATCH, "W/TAG", &[("a", "2")]));
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
}
