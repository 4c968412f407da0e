//! The platform's two views of one conversation. `GET /conversations/{id}` has legs in arrays,
//! references as plain ids, and `endTime`. `GET /conversations/calls/{id}` is a flat view of the media
//! with references as objects and without times. This module converts either into the other and keeps
//! unknown fields. JSON in, JSON out.

use serde_json::{Map, Value, json};

/// Which of the two views a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentShape {
    /// `GET /api/v2/conversations/{id}`.
    Generic,
    /// `GET /api/v2/conversations/calls/{id}`.
    Calls,
}

/// Arrays of legs on a generic participant, with their media types in analytics.
pub(super) const LEGS: [(&str, &str); 10] = [
    ("calls", "voice"),
    ("callbacks", "callback"),
    ("chats", "chat"),
    ("cobrowsesessions", "cobrowse"),
    ("emails", "email"),
    ("messages", "message"),
    ("screenshares", "screenshare"),
    ("socialExpressions", "unknown"),
    ("videos", "video"),
    ("internalMessages", "internalmessage"),
];

/// Fields that a flat participant has directly and a generic participant has on its leg.
const LEG_FIELDS: [(&str, &str); 22] = [
    ("state", "state"),
    ("initialState", "initialState"),
    ("direction", "direction"),
    ("disconnectType", "disconnectType"),
    ("held", "held"),
    ("muted", "muted"),
    ("confined", "confined"),
    ("recording", "recording"),
    ("recordingState", "recordingState"),
    ("recordersState", "recordersState"),
    ("securePause", "securePause"),
    ("provider", "provider"),
    ("peer", "peerId"),
    ("uuiData", "uuiData"),
    ("errorInfo", "errorInfo"),
    ("documentId", "documentId"),
    ("startAlertingTime", "startAlertingTime"),
    ("startHoldTime", "startHoldTime"),
    ("transferSource", "transferSource"),
    ("clientIpAddress", "clientIpAddress"),
    ("faxStatus", "faxStatus"),
    ("disposition", "disposition"),
];

/// Name of the object in the flat view, name of the id in the generic view, path of `selfUri`.
const REFERENCES: [(&str, &str, &str); 6] = [
    ("user", "userId", "/api/v2/users/"),
    ("queue", "queueId", "/api/v2/routing/queues/"),
    ("team", "teamId", "/api/v2/teams/"),
    ("group", "groupId", "/api/v2/groups/"),
    ("externalContact", "externalContactId", "/api/v2/externalcontacts/contacts/"),
    ("externalOrganization", "externalOrganizationId", "/api/v2/externalcontacts/organizations/"),
];

/// Recognises the view by fields that only one of them has.
pub(super) fn detect(document: &Value) -> Option<DocumentShape> {
    let participants = || document["participants"].as_array().into_iter().flatten();
    let has_legs = |p: &Value| LEGS.iter().any(|(name, _)| p[name].is_array());
    if document["startTime"].is_string() || participants().any(has_legs) {
        return Some(DocumentShape::Generic);
    }
    let flat = participants().any(|p| p["state"].is_string() || p["direction"].is_string());
    (flat || document["otherMediaUris"].is_array()).then_some(DocumentShape::Calls)
}

/// Whether the conversation has ended, by the rule of its view.
pub(super) fn has_ended(document: &Value, shape: DocumentShape) -> bool {
    match shape {
        DocumentShape::Generic => document["endTime"].is_string(),
        DocumentShape::Calls => participants(document).iter().all(|p| p["endTime"].is_string()),
    }
}

/// Ends the conversation, its participants and legs at `when`, unless they have ended before.
pub(super) fn end(document: &mut Value, shape: DocumentShape, when: &str) {
    if shape == DocumentShape::Generic {
        fill(document, "endTime", when);
    }
    let people = document["participants"].as_array_mut().into_iter().flatten();
    for person in people.filter(|p| !p["endTime"].is_string()) {
        fill(person, "endTime", when);
        if shape == DocumentShape::Calls {
            person["state"] = json!("terminated");
            fill(person, "disconnectType", "peer");
            continue;
        }
        for (legs, _) in LEGS {
            for leg in person.get_mut(legs).and_then(Value::as_array_mut).into_iter().flatten() {
                leg["state"] = json!("terminated");
                fill(leg, "disconnectType", "peer");
                fill(leg, "disconnectedTime", when);
            }
        }
    }
}

fn fill(value: &mut Value, field: &str, text: &str) {
    if !value[field].is_string() {
        value[field] = json!(text);
    }
}

fn participants(document: &Value) -> &[Value] {
    document["participants"].as_array().map_or(&[], Vec::as_slice)
}

/// Converts the calls view into the generic view.
pub(super) fn generic_from_calls(calls: &Value) -> Value {
    let mut document = calls.clone();
    let Some(fields) = document.as_object_mut() else {
        return document;
    };
    fields.remove("otherMediaUris");
    let times =
        |name: &'static str| participants(calls).iter().filter_map(move |p| p[name].as_str());
    fields.insert("startTime".to_owned(), json!(times("startTime").min()));
    if has_ended(calls, DocumentShape::Calls) {
        fields.insert("endTime".to_owned(), json!(times("endTime").max()));
    }
    fields.insert("recordingState".to_owned(), upper(calls["recordingState"].as_str()));
    fields.insert("selfUri".to_owned(), self_uri("/api/v2/conversations/", calls));
    fields.entry("divisions").or_insert_with(|| json!([]));
    let people: Vec<Value> = participants(calls).iter().map(generic_participant).collect();
    fields.insert("participants".to_owned(), Value::from(people));
    document
}

/// Converts the generic view into the calls view.
pub(super) fn calls_from_generic(generic: &Value) -> Value {
    let mut document = generic.clone();
    let Some(fields) = document.as_object_mut() else {
        return document;
    };
    for name in ["startTime", "endTime", "address", "externalTag", "conversationIds", "state"] {
        fields.remove(name);
    }
    let recording = generic["recordingState"].as_str().unwrap_or("none").to_lowercase();
    fields.insert("recordingState".to_owned(), json!(recording));
    fields.insert("otherMediaUris".to_owned(), json!([]));
    fields.insert("selfUri".to_owned(), self_uri("/api/v2/conversations/calls/", generic));
    let people: Vec<Value> = participants(generic).iter().map(flat_participant).collect();
    fields.insert("participants".to_owned(), Value::from(people));
    document
}

fn upper(state: Option<&str>) -> Value {
    json!(state.unwrap_or("none").to_uppercase())
}

fn self_uri(path: &str, document: &Value) -> Value {
    json!(format!("{path}{}", document["id"].as_str().unwrap_or_default()))
}

fn generic_participant(flat: &Value) -> Value {
    let mut person = flat.as_object().cloned().unwrap_or_default();
    let leg = take_leg(&mut person, flat);
    for (object, id, path) in REFERENCES {
        let Some(reference) = person.remove(object) else {
            continue;
        };
        if object == "user" {
            let uri = format!("{path}{}", reference["id"].as_str().unwrap_or_default());
            person.insert("userUri".to_owned(), json!(uri));
        }
        if object == "queue" && reference["name"].is_string() {
            person.insert("queueName".to_owned(), reference["name"].clone());
        }
        person.insert(id.to_owned(), reference["id"].clone());
    }
    for (legs, _) in LEGS {
        person.insert(legs.to_owned(), json!([]));
    }
    person.insert("calls".to_owned(), json!([leg]));
    Value::Object(person)
}

/// Moves the fields of the leg out of a participant into a new leg.
fn take_leg(person: &mut Map<String, Value>, flat: &Value) -> Value {
    let id = leg_id(flat["id"].as_str().unwrap_or_default());
    let mut leg = json!({"id": id});
    for (on_flat, on_leg) in LEG_FIELDS {
        if let Some(value) = person.remove(on_flat) {
            leg[on_leg] = value;
        }
    }
    if let Some(script) = person.remove("script") {
        leg["scriptId"] = script["id"].clone();
    }
    if let Some(time) = flat.get("connectedTime") {
        leg["connectedTime"] = time.clone();
    }
    let mut segment = json!({"type": "interact", "startTime": flat["startTime"]});
    if flat["endTime"].is_string() {
        leg["disconnectedTime"] = flat["endTime"].clone();
        segment["endTime"] = flat["endTime"].clone();
    }
    leg["segments"] = json!([segment]);
    leg
}

/// The id of a leg, which must be the same in every read: the id of the participant, with one bit of
/// each half changed.
pub(super) fn leg_id(participant: &str) -> String {
    match uuid::Uuid::parse_str(participant) {
        Ok(id) => uuid::Uuid::from_u128(id.as_u128() ^ ((1 << 100) | 1)).to_string(),
        Err(_) => format!("{participant}-leg"),
    }
}

fn flat_participant(generic: &Value) -> Value {
    let mut person = generic.as_object().cloned().unwrap_or_default();
    // The last leg is the current one. A call comes before other media.
    let leg = LEGS.iter().find_map(|(name, _)| generic[name].as_array()?.last());
    for (legs, _) in LEGS {
        person.remove(legs);
    }
    for (on_flat, on_leg) in LEG_FIELDS {
        if let Some(value) = leg.and_then(|leg| leg.get(on_leg)) {
            person.insert(on_flat.to_owned(), value.clone());
        }
    }
    if let Some(script) = leg.and_then(|leg| leg["scriptId"].as_str()) {
        let uri = format!("/api/v2/scripts/{script}");
        person.insert("script".to_owned(), json!({"id": script, "selfUri": uri}));
    }
    person.remove("userUri");
    let queue_name = person.remove("queueName");
    for (object, id, path) in REFERENCES {
        let Some(value) = person.remove(id) else {
            continue;
        };
        let uri = format!("{path}{}", value.as_str().unwrap_or_default());
        let mut reference = json!({"id": value, "selfUri": uri});
        if let (true, Some(name)) = (object == "queue", &queue_name) {
            reference["name"] = name.clone();
        }
        person.insert(object.to_owned(), reference);
    }
    Value::Object(person)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat() -> Value {
        json!({
            "id": "c", "otherMediaUris": [], "recordingState": "none", "novelty": 7,
            "participants": [{
                "id": "p", "purpose": "agent", "state": "connected", "direction": "inbound",
                "startTime": "2026-01-07T10:00:00.000Z", "peer": "x", "oddity": [1],
                "queue": {"id": "q", "name": "Sales", "selfUri": "/api/v2/routing/queues/q"},
                "user": {"id": "u", "selfUri": "/api/v2/users/u"},
            }],
        })
    }

    #[test]
    fn a_calls_view_becomes_a_generic_one() {
        let generic = generic_from_calls(&flat());
        assert_eq!(generic["startTime"], "2026-01-07T10:00:00.000Z");
        assert_eq!(generic.get("endTime"), None);
        assert_eq!(generic.get("otherMediaUris"), None);
        assert_eq!(generic["recordingState"], "NONE");
        assert_eq!(generic["selfUri"], "/api/v2/conversations/c");
        assert_eq!(generic["novelty"], 7);
        let person = &generic["participants"][0];
        assert_eq!(person.get("state"), None);
        assert_eq!(person["calls"][0]["state"], "connected");
        assert_eq!(person["calls"][0]["peerId"], "x");
        assert_eq!((&person["userId"], &person["queueId"]), (&json!("u"), &json!("q")));
        assert_eq!(person["oddity"], json!([1]));
    }

    #[test]
    fn there_and_back_loses_nothing() {
        let back = calls_from_generic(&generic_from_calls(&flat()));
        let mut expected = flat();
        expected["selfUri"] = json!("/api/v2/conversations/calls/c");
        expected["divisions"] = json!([]);
        assert_eq!(back, expected);
    }

    #[test]
    fn each_view_is_recognised_and_ends_in_its_own_way() {
        let mut calls = flat();
        let mut generic = generic_from_calls(&calls);
        assert_eq!(detect(&calls), Some(DocumentShape::Calls));
        assert_eq!(detect(&generic), Some(DocumentShape::Generic));
        assert_eq!(detect(&json!({"id": "c", "participants": []})), None);
        assert!(
            !has_ended(&calls, DocumentShape::Calls)
                && !has_ended(&generic, DocumentShape::Generic)
        );
        end(&mut calls, DocumentShape::Calls, "2026-01-07T10:09:00.000Z");
        end(&mut generic, DocumentShape::Generic, "2026-01-07T10:09:00.000Z");
        assert!(
            has_ended(&calls, DocumentShape::Calls) && has_ended(&generic, DocumentShape::Generic)
        );
        assert_eq!(calls.get("endTime"), None);
        assert_eq!(calls["participants"][0]["state"], "terminated");
        assert_eq!(generic["participants"][0]["calls"][0]["state"], "terminated");
    }
}
