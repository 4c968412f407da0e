//! Turns results of the use cases into responses, in the form that the client asked for.

use std::sync::Arc;

use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::etag::EtagScope;
use super::flat::FlatRequest;
use super::negotiate::{PLAIN_TEXT, ResponseFormat, json};
use super::params::IfNoneMatchHeader;
use super::problem::{LoggedResult, Problem};
use super::responses::{
    AllAttributesResponse, AttributeResponse, AttributesResponse, ParticipantAttributesDto,
    WriteResponse,
};
use super::state::HttpSettings;
use super::violations::shortened;
use crate::app::ReadOutcome;
use crate::domain::{
    AttributeKey, AttributeMap, ConversationId, KeyOutcome, Participant, SelectionRule,
    WriteReport, closest_word,
};
use crate::error::{Effect, Error, ErrorCode, RequestFailure};

#[derive(Debug)]
pub(super) struct ReadResponder {
    pub conversation: ConversationId,
    /// The part of the attributes to show.
    pub scope: EtagScope,
    pub form: ResponseFormat,
    pub flat: Option<Arc<FlatRequest>>,
    pub known: IfNoneMatchHeader,
}

#[derive(Debug)]
pub(super) struct WriteResponder {
    /// The part of the attributes that the `ETag` covers.
    pub scope: EtagScope,
    pub minimal: bool,
    pub flat: Option<Arc<FlatRequest>>,
}

impl ReadResponder {
    pub(super) fn respond(
        &self,
        reading: ReadOutcome,
        settings: &HttpSettings,
    ) -> Result<Response, Problem> {
        match reading {
            ReadOutcome::One { participant, chosen_by, fresh } => {
                // A cached map gets no tag: no conditional write may rely on it.
                let tag = fresh.then(|| {
                    settings.etag.tag(participant.id, &participant.attributes, &self.scope)
                });
                self.one(participant, chosen_by, tag.as_deref(), settings)
            }
            ReadOutcome::All(participants) => {
                let shown = |participant: Participant| ParticipantAttributesDto {
                    participant: participant.candidate(),
                    attributes: self.scope.narrowed(participant.attributes),
                };
                let participants = participants.into_iter().map(shown).collect();
                Ok(self.form.respond(&AllAttributesResponse::new(self.conversation, participants)))
            }
        }
    }

    fn one(
        &self,
        mut found: Participant,
        chosen_by: SelectionRule,
        tag: Option<&str>,
        settings: &HttpSettings,
    ) -> Result<Response, Problem> {
        let bytes = found.attributes.json_bytes();
        let near = self.scope.only_key().and_then(|key| near_key(key, &found.attributes));
        let map = self.scope.narrowed(std::mem::take(&mut found.attributes));
        let only = self.scope.only_key().and_then(|_| map.iter().next());
        let entry = only.map(|(key, value)| (key.clone(), value.clone()));
        let response = match (&self.scope, entry, &self.flat) {
            (EtagScope::Key(key), None, _) => return Err(no_attribute(key, near.as_ref())),
            // A data action needs a body, so the flat form has no 304.
            (_, _, Some(ask)) => json(&ask.read(self.conversation, Some(found.id), &map)),
            _ if tag.is_some_and(|tag| self.known.matches(tag)) => {
                StatusCode::NOT_MODIFIED.into_response()
            }
            (EtagScope::Key(_), Some((_, value)), _) if self.form == ResponseFormat::Text => {
                ([(CONTENT_TYPE, PLAIN_TEXT)], value.expose().to_owned()).into_response()
            }
            (EtagScope::Key(_), Some(entry), _) => json(&AttributeResponse::new(
                self.conversation,
                (found.candidate(), chosen_by),
                entry,
            )),
            _ => {
                let (chosen, size) =
                    ((found.candidate(), chosen_by), (bytes, settings.total_bytes));
                self.form.respond(&AttributesResponse::new(self.conversation, chosen, map, size))
            }
        };
        Ok(tagged(response, tag))
    }
}

impl WriteResponder {
    pub(super) fn respond(
        &self,
        report: WriteReport,
        upstream_calls: u32,
        settings: &HttpSettings,
    ) -> Result<Response, Problem> {
        let status = match report.worst() {
            KeyOutcome::Unchanged
            | KeyOutcome::WouldSend
            | KeyOutcome::Verified
            | KeyOutcome::Cleared => StatusCode::OK,
            KeyOutcome::Unverified => StatusCode::ACCEPTED,
            KeyOutcome::Superseded => {
                return Err(Problem::from(RequestFailure {
                    error: Error::Superseded(Box::new(report)),
                    effect: Effect::Applied,
                }));
            }
        };
        let tag = (status == StatusCode::OK && report.fresh)
            .then(|| settings.etag.tag(report.participant.id, &report.attributes, &self.scope));
        let effect = effect(&report);
        let all_is_well = status == StatusCode::OK && report.warnings.is_empty() && !report.dry_run;
        let mut response = if let Some(ask) = &self.flat {
            let answer = ask.written(&report, status == StatusCode::OK, effect);
            json(&answer)
        } else if self.minimal && all_is_well {
            StatusCode::NO_CONTENT.into_response()
        } else {
            let answer =
                WriteResponse::from(report).completed(settings.total_bytes, upstream_calls);
            let mut response = json(&answer);
            *response.status_mut() = status;
            response
        };
        response.extensions_mut().insert(LoggedResult { status, effect, code: None });
        Ok(tagged(response, tag.as_deref()))
    }
}

/// The key that the client likely meant. The map contains only keys that the client may see.
fn near_key(key: &str, map: &AttributeMap) -> Option<AttributeKey> {
    if map.get(key).is_some() {
        return None;
    }
    closest_word(key, map.iter().map(|(known, _)| known.as_str())).map(AttributeKey::existing)
}

fn no_attribute(key: &str, near: Option<&AttributeKey>) -> Problem {
    let mut detail = format!("the attribute `{}` is absent or empty", shortened(key));
    let Some(near) = near else { return Problem::new(ErrorCode::AttributeNotFound, detail) };
    detail.extend(["; did you mean `", &shortened(near.as_str()), "`?"]);
    Problem::new(ErrorCode::AttributeNotFound, detail)
        .with_hint("Keys are compared exactly: case, spaces and punctuation count. Use the key that `detail` suggests.")
}

/// Whether a successful write changed attributes.
fn effect(report: &WriteReport) -> Effect {
    let untouched =
        |outcome: &KeyOutcome| matches!(outcome, KeyOutcome::Unchanged | KeyOutcome::WouldSend);
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
