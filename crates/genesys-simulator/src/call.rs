//! Describes a conversation in a line or two and makes its document, in the generic shape. For
//! tests and demo calls; it does not know the running simulator.

use std::{fmt::Display, time::Duration};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{AttributeMap, shapes::leg_id, wall_text};

/// For participants that start without attributes.
pub const NO_ATTRIBUTES: [(&str, &str); 0] = [];

/// Every built call came to this queue, unless it never left the IVR.
const QUEUE: &str = "9e000000-0000-4000-8000-000000000001";
const CALLER: &str = "tel:+15550100111";
const DIALLED: &str = "tel:+15550100199";

/// A voice conversation to be served.
#[derive(Clone, Debug)]
pub struct SimulatedCall {
    pub(super) id: String,
    pub(super) description: String,
    participants: Vec<CallParty>,
    started_ago: Duration,
    ended: bool,
}

#[derive(Clone, Debug)]
struct CallParty {
    purpose: String,
    id: String,
    state: String,
    name: Option<String>,
    attributes: AttributeMap,
}

impl SimulatedCall {
    /// A live call without participants that began five minutes ago.
    pub fn new(id: impl Display) -> Self {
        Self {
            id: id.to_string(),
            description: String::new(),
            participants: Vec::new(),
            started_ago: Duration::from_mins(5),
            ended: false,
        }
    }

    /// A live call as large as the platform's real ones get: 200 participants, the first of them the
    /// customer `customer`, and about 300 KB of JSON.
    pub fn crowded(id: impl Display, customer: impl Display) -> Self {
        let mut call = Self::new(id).customer(customer, [("segment", "gold")]);
        // About 0.7 KB of fields and 0.8 KB of attributes each.
        let filler = "x".repeat(200);
        for n in 1_u128..200 {
            let purpose = ["ivr", "acd", "agent"][usize::try_from(n % 3).unwrap_or_default()];
            let id = uuid::Uuid::from_u128(0xc40d_0000_0000_4000_8000_0000_0000_0000 + n);
            let keys = (0..4).map(|key| (format!("step_{n}_{key}"), filler.clone()));
            call = call.participant(purpose, id, "terminated", keys);
        }
        call
    }

    /// What lists show for it.
    #[must_use]
    pub fn described(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// When it began, counted back from when it is added.
    #[must_use]
    pub fn started_ago(mut self, age: Duration) -> Self {
        self.started_ago = age;
        self
    }

    /// Adds the caller, connected.
    #[must_use]
    pub fn customer<K, V>(
        self,
        id: impl Display,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.participant("customer", id, "connected", attributes)
    }

    /// Adds the caller as the platform has it before the first queue, connected.
    #[must_use]
    pub fn external<K, V>(
        self,
        id: impl Display,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.participant("external", id, "connected", attributes)
    }

    /// Adds an agent, connected.
    #[must_use]
    pub fn agent<K, V>(self, id: impl Display, attributes: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.participant("agent", id, "connected", attributes)
    }

    /// Adds a finished IVR leg; for one still running use [`Self::participant`].
    #[must_use]
    pub fn ivr<K, V>(self, id: impl Display, attributes: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.participant("ivr", id, "terminated", attributes)
    }

    /// Adds any participant; `disconnected` and `terminated` ones have left.
    #[must_use]
    pub fn participant<K, V>(
        mut self,
        purpose: &str,
        id: impl Display,
        state: &str,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.participants.push(CallParty {
            purpose: purpose.to_owned(),
            id: id.to_string(),
            state: state.to_owned(),
            name: None,
            attributes: attributes.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        });
        self
    }

    /// Names who was added last.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        if let Some(party) = self.participants.last_mut() {
            party.name = Some(name.into());
        }
        self
    }

    /// The call is over.
    #[must_use]
    pub fn ended(mut self) -> Self {
        self.ended = true;
        self
    }

    /// Id and purpose of each participant.
    pub(super) fn cast(&self) -> impl Iterator<Item = (&str, &str)> {
        self.participants.iter().map(|party| (party.id.as_str(), party.purpose.as_str()))
    }

    /// The document of `GET /api/v2/conversations/{id}`, as of `now`.
    pub(super) fn document(&self, now: OffsetDateTime) -> Value {
        let start = now - self.started_ago;
        let (start, now) = (wall_text(start), wall_text(now));
        let people: Vec<Value> =
            self.participants.iter().map(|party| self.person(party, &start, &now)).collect();
        let mut document = json!({
            "id": self.id,
            "startTime": start,
            "participants": people,
            "conversationIds": [],
            "recordingState": "NONE",
            "divisions": [],
            "selfUri": format!("/api/v2/conversations/{}", self.id),
        });
        if self.ended {
            document["endTime"] = json!(now);
        }
        document
    }

    fn person(&self, party: &CallParty, start: &str, now: &str) -> Value {
        let left = self.ended || matches!(party.state.as_str(), "disconnected" | "terminated");
        let mut person = json!({
            "id": party.id,
            "purpose": party.purpose,
            "startTime": start,
            "connectedTime": start,
            "ani": CALLER,
            "dnis": DIALLED,
            "wrapupRequired": party.purpose == "agent",
            "attributes": party.attributes,
        });
        match party.purpose.as_str() {
            "agent" => {
                person["userId"] = json!(party.id);
                person["userUri"] = json!(format!("/api/v2/users/{}", party.id));
                person["queueId"] = json!(QUEUE);
            }
            "customer" | "acd" => person["queueId"] = json!(QUEUE),
            _ => {}
        }
        if let Some(name) = &party.name {
            person["name"] = json!(name);
        }
        if left {
            person["endTime"] = json!(now);
        }
        let state = if self.ended { "terminated" } else { &party.state };
        person["calls"] = json!([leg(&party.id, state, start, left.then_some(now))]);
        for other in ["callbacks", "chats", "cobrowsesessions", "emails", "messages"] {
            person[other] = json!([]);
        }
        person
    }
}

fn leg(participant: &str, state: &str, start: &str, end: Option<&str>) -> Value {
    let mut leg = json!({
        "id": leg_id(participant),
        "state": state,
        "direction": "inbound",
        "held": false,
        "muted": false,
        "confined": false,
        "recording": false,
        "recordingState": "none",
        "connectedTime": start,
        "provider": "Edge",
        "segments": [{"type": "interact", "startTime": start}],
    });
    if let Some(end) = end {
        leg["disconnectedTime"] = json!(end);
        leg["disconnectType"] = json!("peer");
        leg["segments"][0]["endTime"] = json!(end);
    }
    leg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_call_has_the_generic_shape() {
        let call = SimulatedCall::new("c").customer("p", [("a", "1")]).ivr("i", NO_ATTRIBUTES);
        let document = call.document(OffsetDateTime::UNIX_EPOCH + Duration::from_mins(5));
        assert_eq!(document["startTime"], "1970-01-01T00:00:00.000Z");
        assert_eq!(document.get("endTime"), None);
        let people = &document["participants"];
        assert_eq!(
            (&people[0]["attributes"], people[0].get("endTime")),
            (&json!({"a": "1"}), None)
        );
        assert_eq!(people[1]["endTime"], "1970-01-01T00:05:00.000Z");
        let over = call.ended().document(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(over["endTime"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_crowded_call_has_200_participants_and_300_kilobytes() {
        let document = SimulatedCall::crowded("c", "p").document(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(document["participants"].as_array().map(Vec::len), Some(200));
        let size = document.to_string().len();
        assert!((290_000..340_000).contains(&size), "{size}");
    }
}
