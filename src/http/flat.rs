//! `view=flat`: a response of one level without arrays, for clients that cannot read nested JSON.
//!
//! A data action has a fixed contract: every member is always present, and results that a flow branches on
//! have status 200 and the flag `ok`. Client errors and 500 keep their status; a flow cannot correct them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::response::Parts;
use axum::http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::negotiate::JSON;
use super::params::{KeyParams, ViewParam};
use super::paths;
use super::problem::{self, Problem};
use super::query::StrictQuery;
use super::responses::{WriteResponse, damage};
use crate::app;
use crate::domain::{
    AttributeMap, ClientRights, Conversation, ConversationId, KeyOutcome, ParticipantId,
    ParticipantSelector, SelectorIntent, WriteReport,
};
use crate::error::{Effect, Error, ErrorCode};

const RESOURCES: &[&str] = &[paths::ATTRIBUTES, paths::ATTRIBUTE, paths::CONVERSATION];
const OK: &str = "ok";

#[derive(Debug, Default)]
pub(super) struct FlatRequest {
    /// Keys to return as members of their own.
    keys: Vec<String>,
    /// Whether the request reads a single key, whose value is then returned in `value`.
    has_value: bool,
}

/// A response of one level. Each key named by `keys` or `key` is returned as an additional string
/// member, `""` if absent. A key with the name of a member of this schema is returned only in
/// `attributesJson`.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlatResponse {
    /// `true` if a read shows that everything is as requested.
    ok: bool,
    /// `ok` for a read, the worst outcome of a key for a write, or the code of the problem.
    code: &'static str,
    /// The result as a sentence.
    message: String,
    /// Whether Genesys Cloud accepted the write. With `ok: false`, the write was sent, but no read has
    /// shown it yet or another writer has replaced it.
    accepted: bool,
    /// Seconds to wait before a retry; 0 if there is no such time.
    retry_after_seconds: u64,
    /// Id of the conversation.
    conversation_id: String,
    /// Id of the participant; `""` if none was found.
    participant_id: String,
    /// The attributes as a JSON object in a string; `"{}"` if there are none.
    attributes_json: String,
    /// The value of the attribute; present only when a single attribute is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    value: Option<String>,
    #[serde(flatten)]
    members: BTreeMap<String, String>,
}

/// Names of the fixed members; a key with such a name gets no member of its own.
pub(super) const MEMBERS: [&str; 8] = [
    "ok",
    "code",
    "message",
    "accepted",
    "retryAfterSeconds",
    "conversationId",
    "participantId",
    ATTRIBUTES_JSON,
];

/// The member with all attributes.
pub(super) const ATTRIBUTES_JSON: &str = "attributesJson";

impl FlatRequest {
    /// Parses the query of a request that asks for the flat form on a route that supports it.
    /// Mistakes in the query are ignored here; the extractor of the handler reports them.
    pub(super) fn from_request(
        route: Option<&str>,
        query: Option<&str>,
        is_safe: bool,
    ) -> Option<Arc<Self>> {
        let (route, raw) = (route?, query?);
        if !RESOURCES.contains(&route) || !(raw.contains("flat") || raw.contains('%')) {
            return None;
        }
        let (view, keys): (ViewParam, KeyParams) = StrictQuery::valid_part(raw);
        if !view.is_flat() {
            return None;
        }
        // Where the path names the key, the query has no `keys`; the extractor refuses it.
        let names_key = route == paths::ATTRIBUTE;
        let keys = keys.named().filter(|_| !names_key);
        let has_value = names_key && is_safe;
        Some(Arc::new(Self { keys: keys.unwrap_or_default(), has_value }))
    }

    pub(super) fn read(
        &self,
        conversation: ConversationId,
        participant: Option<ParticipantId>,
        map: &AttributeMap,
    ) -> FlatResponse {
        FlatResponse {
            ok: true,
            code: OK,
            message: damage(map).map_or("read".to_owned(), |damage| format!("read; {damage}")),
            conversation_id: conversation.to_string(),
            participant_id: participant.map(|id| id.to_string()).unwrap_or_default(),
            ..self.showing(map)
        }
    }

    /// Builds the response to a view of a conversation: the participant that a read with this selector
    /// would choose. Without one, named keys are an error: `""` would wrongly say that they are absent.
    pub(super) fn conversation(
        &self,
        conversation: &Conversation,
        (selector, rights): (&ParticipantSelector, &ClientRights),
    ) -> Result<FlatResponse, Problem> {
        let nothing = AttributeMap::default();
        // A view always reads the whole conversation.
        let chosen = match app::choose(selector, conversation, SelectorIntent::Read) {
            Ok(chosen) if rights.reaches(chosen.participant, conversation, true) => {
                Ok(chosen.participant)
            }
            Ok(_) => Err(Error::ParticipantNotAllowed { asked: selector.to_string() }),
            Err(error) => Err(error),
        };
        match chosen {
            Ok(one) => Ok(self.read(conversation.id, Some(one.id), &one.attributes)),
            Err(_) if self.keys.is_empty() => Ok(self.read(conversation.id, None, &nothing)),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn written(&self, report: &WriteReport, ok: bool, effect: Effect) -> FlatResponse {
        let mut sentences = vec![describe(report.worst()).to_owned()];
        sentences.extend(report.warnings.iter().cloned().chain(damage(&report.attributes)));
        FlatResponse {
            ok,
            code: report.worst().as_str(),
            message: sentences.join("; "),
            accepted: effect == Effect::Applied,
            conversation_id: report.conversation.to_string(),
            participant_id: report.participant.id.to_string(),
            ..self.showing(&report.attributes)
        }
    }

    /// Turns a problem into a flat response with status 200. Returns `None` if it keeps its status and
    /// format.
    pub(super) fn problem(
        &self,
        problem: &Problem,
        conversation: Option<ConversationId>,
        parts: &mut Parts,
    ) -> Option<Body> {
        if keeps_status(problem.code()) {
            return None;
        }
        let nothing = AttributeMap::default();
        let report = problem.report();
        let answer = FlatResponse {
            ok: false,
            code: report.map_or(problem.code().as_str(), |_| KeyOutcome::Superseded.as_str()),
            message: problem.detail().to_owned(),
            accepted: problem.effect() == Effect::Applied,
            retry_after_seconds: problem.retry_after_seconds().unwrap_or_default(),
            conversation_id: conversation.map(|id| id.to_string()).unwrap_or_default(),
            participant_id: report
                .map(WriteResponse::participant_id)
                .or_else(|| problem.participant_id())
                .map(|id| id.to_string())
                .unwrap_or_default(),
            ..self.showing(report.map_or(&nothing, |report| report.attributes()))
        };
        parts.status = StatusCode::OK;
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        problem.add_headers(&mut parts.headers);
        // Strings, numbers and flags always serialise.
        Some(serde_json::to_vec(&answer).unwrap_or_default().into())
    }

    /// A response with these attributes and otherwise empty members.
    fn showing(&self, map: &AttributeMap) -> FlatResponse {
        let value = |key: &str| map.get(key).map(|value| value.expose().to_owned());
        let own = self.keys.iter().filter(|key| !MEMBERS.contains(&key.as_str()));
        let members = own.map(|key| (key.clone(), value(key).unwrap_or_default())).collect();
        let first = map.iter().next().map(|(_, value)| value.expose().to_owned());
        FlatResponse {
            attributes_json: serde_json::to_string(map).unwrap_or_default(),
            // The map of a single-key read contains no other key.
            value: self.has_value.then(|| first.unwrap_or_default()),
            members,
            ..FlatResponse::default()
        }
    }
}

/// Whether a problem keeps its status. These are errors that the author of a flow has to correct:
/// mistakes in the request, refused clients, internal errors, and a 404 for an unknown path.
fn keeps_status(code: ErrorCode) -> bool {
    match problem::status(code).as_u16() {
        404 => code == ErrorCode::NotFound,
        status => [400, 401, 403, 405, 406, 408, 413, 415, 422, 428, 500].contains(&status),
    }
}

const fn describe(worst: KeyOutcome) -> &'static str {
    match worst {
        KeyOutcome::Unchanged => "every key already had its value",
        KeyOutcome::WouldSend => "a dry run: nothing was sent",
        KeyOutcome::Verified | KeyOutcome::Cleared => "written and read back",
        KeyOutcome::Unverified => "Genesys Cloud accepted the write; no read has shown it yet",
        KeyOutcome::Superseded => "another writer replaced the value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_client_errors_and_defects_keep_their_status() {
        for code in [
            ErrorCode::InvalidJson,
            ErrorCode::NotFound,
            ErrorCode::MethodNotAllowed,
            ErrorCode::RequestTimeout,
            ErrorCode::AttributesTooLarge,
            ErrorCode::PreconditionRequired,
            ErrorCode::Internal,
        ] {
            assert!(keeps_status(code), "{}", code.as_str());
        }
        for code in [
            ErrorCode::ConversationNotFound,
            ErrorCode::AttributeNotFound,
            ErrorCode::WriteSuperseded,
            ErrorCode::PreconditionFailed,
            ErrorCode::UpstreamForbidden,
            ErrorCode::Overloaded,
            ErrorCode::DeadlineExceeded,
        ] {
            assert!(!keeps_status(code), "{}", code.as_str());
        }
    }

    #[test]
    fn only_routes_with_a_flat_form_parse_it() {
        let asks = |route: &str, query: &str| {
            FlatRequest::from_request(Some(route), Some(query), true).is_some()
        };
        for query in ["view=flat", "keys=a&view=flat", "%76iew=fl%61t&x=y"] {
            assert!(asks(paths::ATTRIBUTES, query), "{query}");
            assert!(!asks(paths::READYZ, query), "{query}");
        }
        for query in ["", "view", "view=", "view=FLAT", "view=flat%20", "key=view=flat", "flat"] {
            assert!(!asks(paths::ATTRIBUTE, query), "{query}");
        }
        assert!(FlatRequest::from_request(Some(paths::ATTRIBUTES), None, true).is_none());
        assert!(FlatRequest::from_request(None, Some("view=flat"), true).is_none());
    }

    #[test]
    fn keys_are_found_even_if_the_query_has_mistakes() {
        let ask = FlatRequest::from_request(
            Some(paths::ATTRIBUTES),
            Some("view=flat&x=%zz&keys=a,b,a&key=c,d&key=b"),
            true,
        );
        assert_eq!(ask.expect("flat").keys, ["c,d", "b", "a"], "each once");
    }
}
