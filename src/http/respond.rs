//! From results of the use cases to answers, in the form that the caller wants.

use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::entity_tags::Tags;
use super::etag::Cover;
use super::flat::Ask;
use super::middleware::LoggedResult;
use super::negotiate::PLAIN_TEXT;
use super::problem::Problem;
use super::query::shortened;
use super::response_format::Form;
use super::response_format::json;
use super::responses::{KeyAnswer, ParticipantView, ReadAllAnswer, ReadAnswer, WriteAnswer};
use super::state::HttpSettings;
use crate::app::Reading;
use crate::domain::{
    AttributeKey, AttributeMap, ChosenBy, ConversationId, Outcome, Participant, WriteReport,
    closest_word,
};
use crate::error::{Code, Effect, Error, Failure};

/// How a caller wants to see what was read.
#[derive(Debug)]
pub(super) struct ReadView {
    pub conversation: ConversationId,
    /// What of the map is shown.
    pub cover: Cover,
    /// JSON or text.
    pub form: Form,
    /// What is asked for in the flat form.
    pub flat: Option<Arc<Ask>>,
    /// The tags that the caller knows.
    pub known: Option<Tags>,
}

/// How a caller wants to see what was written.
#[derive(Debug)]
pub(super) struct WriteView {
    /// What its `ETag` is taken of.
    pub cover: Cover,
    /// The caller needs no body where all is well.
    pub minimal: bool,
    /// What is asked for in the flat form.
    pub flat: Option<Arc<Ask>>,
}

impl ReadView {
    /// The answer that shows this.
    pub(super) fn of(
        &self,
        reading: Reading,
        settings: &HttpSettings,
    ) -> Result<Response, Problem> {
        match reading {
            Reading::One { participant, chosen_by, fresh } => {
                // A map out of a memory has no tag: nobody may base a write on it.
                let tag = fresh.then(|| {
                    settings.etag.tag(participant.id, &participant.attributes, &self.cover)
                });
                self.one(participant, chosen_by, tag.as_deref(), settings)
            }
            Reading::All(participants) => {
                let shown = |mut participant: Participant| {
                    let attributes = std::mem::take(&mut participant.attributes);
                    ParticipantView::new(participant, self.cover.narrowed(attributes))
                };
                let participants = participants.into_iter().map(shown).collect();
                Ok(self.form.respond(&ReadAllAnswer::new(self.conversation, participants)))
            }
        }
    }

    fn one(
        &self,
        mut found: Participant,
        chosen_by: ChosenBy,
        tag: Option<&str>,
        settings: &HttpSettings,
    ) -> Result<Response, Problem> {
        let bytes = found.attributes.json_bytes();
        let near = self.cover.only_key().and_then(|key| near_key(key, &found.attributes));
        let map = self.cover.narrowed(std::mem::take(&mut found.attributes));
        if let Cover::Key(key) = &self.cover
            && map.is_empty()
        {
            return Err(no_attribute(key, near.as_ref()));
        }
        let response = if let Some(ask) = &self.flat {
            // A body is what the flat form is about: it knows no 304.
            json(&ask.read(self.conversation, Some(found.id), &map))
        } else if tag.is_some_and(|tag| self.known.as_ref().is_some_and(|tags| tags.name(tag))) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            match &self.cover {
                Cover::Key(_) => self.entry((found, chosen_by), &map),
                Cover::Whole | Cover::Narrowed(_) => {
                    let (chosen, size) = ((found, chosen_by), (bytes, settings.total_bytes));
                    self.form.respond(&ReadAnswer::new(self.conversation, chosen, map, size))
                }
            }
        };
        Ok(tagged(response, tag))
    }

    /// The one entry of a map.
    fn entry(&self, chosen: (Participant, ChosenBy), map: &AttributeMap) -> Response {
        let entry = map.iter().next().map(|(key, value)| (key.clone(), value.clone()));
        match (entry, self.form) {
            (Some((_, value)), Form::Text) => {
                ([(CONTENT_TYPE, PLAIN_TEXT)], value.expose().to_owned()).into_response()
            }
            (Some(entry), Form::Json) => json(&KeyAnswer::new(self.conversation, chosen, entry)),
            (None, _) => Problem::internal("an entry of an empty map").into_response(),
        }
    }
}

impl WriteView {
    /// The answer to a write.
    pub(super) fn of(
        &self,
        report: WriteReport,
        upstream_calls: u32,
        settings: &HttpSettings,
    ) -> Result<Response, Problem> {
        let status = match report.worst() {
            Outcome::Unchanged | Outcome::WouldSend | Outcome::Verified | Outcome::Cleared => {
                StatusCode::OK
            }
            Outcome::Unverified => StatusCode::ACCEPTED,
            Outcome::Superseded => {
                return Err(Problem::from(Failure {
                    error: Error::Superseded(Box::new(report)),
                    effect: Effect::Applied,
                }));
            }
        };
        let tag = (status == StatusCode::OK && report.fresh)
            .then(|| settings.etag.tag(report.participant.id, &report.attributes, &self.cover));
        let effect = effect(&report);
        let all_is_well = status == StatusCode::OK && report.warnings.is_empty() && !report.dry_run;
        let mut response = if let Some(ask) = &self.flat {
            let answer = ask.written(&report, status == StatusCode::OK, effect);
            json(&answer)
        } else if self.minimal && all_is_well {
            StatusCode::NO_CONTENT.into_response()
        } else {
            let answer = WriteAnswer::from(report).completed(settings.total_bytes, upstream_calls);
            let mut response = json(&answer);
            *response.status_mut() = status;
            response
        };
        response.extensions_mut().insert(LoggedResult { status, effect, code: None });
        Ok(tagged(response, tag.as_deref()))
    }
}

/// The key of the map that was likely meant. The map holds what the client may see, and nothing else.
fn near_key(key: &str, map: &AttributeMap) -> Option<AttributeKey> {
    if map.get(key).is_some() {
        return None;
    }
    closest_word(key, map.iter().map(|(known, _)| known.as_str())).map(AttributeKey::existing)
}

fn no_attribute(key: &str, near: Option<&AttributeKey>) -> Problem {
    let mut detail = format!("the attribute `{}` is absent or empty", shortened(key));
    let Some(near) = near else { return Problem::new(Code::AttributeNotFound, detail) };
    detail.extend(["; did you mean `", &shortened(near.as_str()), "`?"]);
    Problem::new(Code::AttributeNotFound, detail)
        .with_hint("Keys are compared exactly: case, spaces and punctuation count. Use the key as `detail` has it.")
}

/// Whether a write that succeeded changed anything.
fn effect(report: &WriteReport) -> Effect {
    let untouched = |outcome: &Outcome| matches!(outcome, Outcome::Unchanged | Outcome::WouldSend);
    if report.outcomes.values().all(untouched) { Effect::NotApplied } else { Effect::Applied }
}

fn tagged(mut response: Response, tag: Option<&str>) -> Response {
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests;
