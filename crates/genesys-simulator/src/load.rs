//! Takes in a captured conversation: the JSON of either GET, recognised by its shape, checked for
//! the few things that serving it needs. Fields it does not know are kept as they are.

use serde_json::Value;

use super::{
    AttributeMap,
    shapes::{self, DocumentShape},
};

/// Why a document cannot be served as a conversation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The document is no JSON object.
    #[error("a conversation must be a JSON object")]
    NotAnObject,
    /// There is no `id`, or it is no text.
    #[error("the conversation has no `id`")]
    NoId,
    /// There is no `participants` array.
    #[error("the conversation has no `participants`")]
    NoParticipants,
    /// A participant has no `id`.
    #[error("participant {0} has no `id`")]
    NoParticipantId(usize),
    /// A participant's `attributes` is not a map of texts.
    #[error("the attributes of participant `{0}` are not a map of texts")]
    Attributes(String),
    /// The document has the shape of neither GET.
    #[error("neither the shape of conversations/{{id}} nor that of conversations/calls/{{id}}")]
    UnknownShape,
    /// A conversation with this id is loaded already.
    #[error("conversation `{0}` exists already")]
    Duplicate(String),
}

/// A conversation ready to be served: both views of it, and the attributes taken out of them.
pub(super) struct LoadedConversation {
    pub(super) id: String,
    pub(super) generic: Value,
    pub(super) calls: Value,
    pub(super) ended: bool,
    /// Id and attributes of each participant, in the order of the document.
    pub(super) participants: Vec<(String, AttributeMap)>,
}

/// Reads a document of either shape.
pub(super) fn load(document: &Value) -> Result<LoadedConversation, LoadError> {
    if !document.is_object() {
        return Err(LoadError::NotAnObject);
    }
    let id = document["id"].as_str().ok_or(LoadError::NoId)?.to_owned();
    let people = document["participants"].as_array().ok_or(LoadError::NoParticipants)?;
    let participants =
        people.iter().enumerate().map(participant).collect::<Result<Vec<_>, LoadError>>()?;
    let shape = shapes::detect(document).ok_or(LoadError::UnknownShape)?;
    let (generic, calls) = match shape {
        DocumentShape::Generic => (document.clone(), shapes::calls_from_generic(document)),
        DocumentShape::Calls => (shapes::generic_from_calls(document), document.clone()),
    };
    let ended = shapes::has_ended(document, shape);
    // They are kept apart from here on, so each read need not copy them with the rest first.
    let (generic, calls) = (without_attributes(generic), without_attributes(calls));
    Ok(LoadedConversation { id, generic, calls, ended, participants })
}

fn without_attributes(mut document: Value) -> Value {
    for person in document["participants"].as_array_mut().into_iter().flatten() {
        person["attributes"] = Value::Null;
    }
    document
}

fn participant((index, value): (usize, &Value)) -> Result<(String, AttributeMap), LoadError> {
    let id = value["id"].as_str().ok_or(LoadError::NoParticipantId(index))?.to_owned();
    let attributes = match &value["attributes"] {
        Value::Null => AttributeMap::new(),
        map => {
            serde_json::from_value(map.clone()).map_err(|_| LoadError::Attributes(id.clone()))?
        }
    };
    Ok((id, attributes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture(text: &str) -> LoadedConversation {
        let document: Value = serde_json::from_str(text).expect("the fixture is JSON");
        load(&document).expect("the fixture is a conversation")
    }

    #[test]
    fn captured_files_of_both_gets_are_told_apart_and_read() {
        let live = fixture(include_str!("../fixtures/calls-live.json"));
        assert!(!live.ended);
        assert_eq!(live.participants.len(), 4);
        assert_eq!(live.generic["participants"][0]["calls"][0]["state"], "connected");
        let ended = fixture(include_str!("../fixtures/calls-ended.json"));
        assert!(ended.ended);
        assert_eq!(ended.generic["endTime"], "2026-02-03T14:22:41.900Z");
        let callback = fixture(include_str!("../fixtures/callback-live.json"));
        assert!(!callback.ended);
        assert_eq!(callback.participants[0].1["preferred_language"], "nl");
        assert_eq!(callback.calls["participants"][0]["state"], "connected");
        assert_eq!(callback.calls.get("startTime"), None);
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_its_reason() {
        let refused = |document: Value| load(&document).err();
        assert_eq!(refused(json!([])), Some(LoadError::NotAnObject));
        assert_eq!(refused(json!({"participants": []})), Some(LoadError::NoId));
        assert_eq!(refused(json!({"id": "c"})), Some(LoadError::NoParticipants));
        let unnamed = json!({"id": "c", "participants": [{"state": "connected"}]});
        assert_eq!(refused(unnamed), Some(LoadError::NoParticipantId(0)));
        let numbers = json!({"id": "c", "participants": [{"id": "p", "attributes": {"a": 1}}]});
        assert_eq!(refused(numbers), Some(LoadError::Attributes("p".to_owned())));
        let bare = json!({"id": "c", "participants": []});
        assert_eq!(refused(bare), Some(LoadError::UnknownShape));
    }
}
