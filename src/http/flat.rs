//! `view=flat`: answers of one level without arrays, for clients that cannot read more.
//!
//! An Architect data action sees an answer through a contract that was fixed when it was published:
//! so every member is always there, whatever happened, and what a flow has to branch on is told
//! with status 200 and a flag. Mistakes of the request keep their status: a flow cannot mend them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::response::Parts;
use axum::http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::negotiate::JSON;
use super::problem::{self, Problem};
use super::query::QueryString;
use super::responses::{WriteResponse, damage};
use super::{extract, paths};
use crate::app;
use crate::domain::{
    AttributeMap, ClientRights, Conversation, ConversationId, KeyOutcome, ParticipantId,
    ParticipantSelector, SelectorIntent, WriteReport,
};
use crate::error::{Effect, Error, ErrorCode, RequestFailure};

/// Resources that have a flat form.
const RESOURCES: &[&str] = &[paths::ATTRIBUTES, paths::ATTRIBUTE, paths::CONVERSATION];

/// The code of a read that went well.
const OK: &str = "ok";

/// What a client who wants the flat form has asked for.
#[derive(Debug, Default)]
pub(super) struct FlatRequest {
    /// Keys that are to stand as members of their own.
    keys: Vec<String>,
    /// Whether it reads one key, and so finds its value in `value`.
    has_value: bool,
}

/// An answer of one level. The keys that `keys` and `key` name stand beside these members, each
/// as a string, `""` if absent; one that is called like a member above stands in `attributesJson`
/// alone.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlatResponse {
    /// Whether all is as it was asked for, seen in a read.
    ok: bool,
    /// `ok` for a read, the worst outcome for a write, else the code of the problem.
    code: &'static str,
    /// The same as a sentence.
    message: String,
    /// Whether Genesys Cloud took the write; with `ok` false: sent, and not seen yet, or replaced.
    accepted: bool,
    /// When to come back, in seconds; 0 where there is no such time.
    retry_after_seconds: u64,
    /// The conversation.
    conversation_id: String,
    /// The participant; `""` if none was found.
    participant_id: String,
    /// The attributes as a JSON object in a string; `"{}"` if there are none to tell.
    attributes_json: String,
    /// The value of the key; of a read of one key alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = String)]
    value: Option<String>,
    #[serde(flatten)]
    members: BTreeMap<String, String>,
}

/// Names that no key can take.
const MEMBERS: [&str; 8] = [
    "ok",
    "code",
    "message",
    "accepted",
    "retryAfterSeconds",
    "conversationId",
    "participantId",
    "attributesJson",
];

impl FlatRequest {
    /// What the query of a request asks for, if it wants the flat form and its resource has one.
    /// Mistakes in the query are told by whoever takes the request.
    pub(super) fn from_request(
        route: Option<&str>,
        query: Option<&str>,
        is_safe: bool,
    ) -> Option<Arc<Self>> {
        let (route, raw) = (route?, query?);
        if !RESOURCES.contains(&route) || !(raw.contains("flat") || raw.contains('%')) {
            return None;
        }
        let mut query = QueryString::read(Some(raw), &["view", "keys"], &["key"]);
        if query.take("view").pop().as_deref() != Some("flat") {
            return None;
        }
        // Where the path names the key, there is no such parameter, whoever refuses it.
        let names_key = route == paths::ATTRIBUTE;
        let keys = if names_key { None } else { extract::keys(&mut query) };
        let has_value = names_key && is_safe;
        Some(Arc::new(Self { keys: keys.unwrap_or_default(), has_value }))
    }

    /// As if this key were named, for examples.
    pub(super) fn naming(key: &str) -> Self {
        Self { keys: vec![key.to_owned()], has_value: false }
    }

    /// As if one key were read, for examples.
    pub(super) fn of_value() -> Self {
        Self { keys: Vec::new(), has_value: true }
    }

    /// The answer to a read.
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

    /// The answer to a look at a conversation: whom a read of it would show, if there is somebody.
    ///
    /// # Errors
    /// Why there is nobody, or nobody whom the client may name, where keys are named: `""` would say
    /// that they are absent.
    pub(super) fn seen(
        &self,
        conversation: &Conversation,
        (whom, rights): (&ParticipantSelector, &ClientRights),
    ) -> Result<FlatResponse, Problem> {
        let nothing = AttributeMap::default();
        // A look shows a conversation as a whole, or is refused.
        let chosen = app::choose(whom, conversation, SelectorIntent::Read).and_then(|chosen| {
            let participant = chosen.participant;
            let reached = rights.reaches(participant, conversation, true);
            let asked = || Error::ParticipantNotAllowed { asked: whom.to_string() };
            reached.then_some(participant).ok_or_else(asked)
        });
        match chosen {
            Ok(participant) => {
                Ok(self.read(conversation.id, Some(participant.id), &participant.attributes))
            }
            Err(_) if self.keys.is_empty() => Ok(self.read(conversation.id, None, &nothing)),
            Err(error) => Err(RequestFailure::harmless(error).into()),
        }
    }

    /// The answer to a write that is no problem.
    pub(super) fn written(&self, report: &WriteReport, ok: bool, effect: Effect) -> FlatResponse {
        let sentences = [describe(report.worst())].into_iter().map(str::to_owned);
        let warnings = report.warnings.iter().cloned().chain(damage(&report.attributes));
        let sentences: Vec<_> = sentences.chain(warnings).collect();
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

    /// Writes a problem as an answer with status 200; `None` if it keeps its status and form.
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
        // Strings, numbers and flags: nothing in it can fail to serialise.
        Some(serde_json::to_vec(&answer).unwrap_or_default().into())
    }

    /// An answer that shows these attributes, and says nothing else yet.
    fn showing(&self, map: &AttributeMap) -> FlatResponse {
        let value = |key: &str| map.get(key).map(|value| value.expose().to_owned());
        let own = self.keys.iter().filter(|key| !MEMBERS.contains(&key.as_str()));
        let members = own.map(|key| (key.clone(), value(key).unwrap_or_default())).collect();
        let first = map.iter().next().map(|(_, value)| value.expose().to_owned());
        FlatResponse {
            ok: false,
            code: OK,
            message: String::new(),
            accepted: false,
            retry_after_seconds: 0,
            conversation_id: String::new(),
            participant_id: String::new(),
            attributes_json: serde_json::to_string(map).unwrap_or_default(),
            // A read of one key shows no other.
            value: self.has_value.then(|| first.unwrap_or_default()),
            members,
        }
    }
}

/// What a flow can do nothing about, and who built it should see: mistakes in the request, refused
/// clients, our own defects. A 404 is one of these only where the path leads nowhere.
fn keeps_status(code: ErrorCode) -> bool {
    match problem::status(code).as_u16() {
        404 => code == ErrorCode::NotFound,
        status => [400, 401, 403, 405, 406, 408, 413, 415, 422, 428, 500].contains(&status),
    }
}

/// An outcome as a sentence.
const fn describe(worst: KeyOutcome) -> &'static str {
    match worst {
        KeyOutcome::Unchanged => "every key held its value already",
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
    fn only_resources_that_have_the_flat_form_are_asked_for_it() {
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
    fn keys_are_found_also_where_the_query_has_mistakes() {
        let ask = FlatRequest::from_request(
            Some(paths::ATTRIBUTES),
            Some("view=flat&x=%zz&keys=a,b,a&key=c,d&key=b"),
            true,
        );
        assert_eq!(ask.expect("flat").keys, ["c,d", "b", "a"], "each once");
    }
}
