//! Upstream's JSON as upstream spells it, and its way into the domain.
//!
//! Only the fields that are needed are declared; others are skipped unread. No field is relied on
//! that the vendor's SDK models leave optional, which is nearly all of them.

mod attributes;
mod details;
mod parts;
mod redact;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use self::attributes::WireAttributes;
pub use self::details::{details, details_query};
use self::parts::{LastLeg, PresenceFlag, WireText, WireTime};
pub use self::redact::{repeats_a_value, without_secrets, without_values};
use crate::domain::{
    AttributeKey, AttributeMap, AttributeValue, Conversation, ConversationId, MarkedJson,
    Participant, PersonName, TimeRange,
};

/// Room for the participants of most calls: a customer, a flow, a queue, an agent, and one more.
const TYPICAL_PARTICIPANTS: usize = 5;

/// Body of both GETs of a conversation. Source: models `Conversation` and `CallConversation` of
/// the Python SDK 269.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConversation {
    id: Option<PresenceFlag>,
    start_time: Option<WireTime>,
    end_time: Option<WireTime>,
    participants: Option<WireParticipants>,
}

/// A participant in either shape: `CallMediaParticipant` has a `state` of its own, `Participant`
/// has one per communication.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireParticipant<'a> {
    #[serde(borrow)]
    id: Option<WireText<'a>>,
    #[serde(borrow)]
    purpose: Option<WireText<'a>>,
    #[serde(borrow)]
    state: Option<WireText<'a>>,
    #[serde(borrow)]
    name: Option<WireText<'a>>,
    start_time: Option<WireTime>,
    end_time: Option<WireTime>,
    attributes: Option<WireAttributes>,
    #[serde(borrow)]
    calls: Option<LastLeg<'a>>,
    #[serde(borrow)]
    callbacks: Option<LastLeg<'a>>,
    #[serde(borrow)]
    chats: Option<LastLeg<'a>>,
    #[serde(borrow)]
    emails: Option<LastLeg<'a>>,
    #[serde(borrow)]
    messages: Option<LastLeg<'a>>,
    #[serde(borrow)]
    videos: Option<LastLeg<'a>>,
}

impl WireParticipant<'_> {
    /// `None` without an id by which it could be addressed.
    fn into_domain(self) -> Option<Participant> {
        let gone = self.state.as_ref().is_some_and(|WireText(state)| {
            // Enums are compared without case, as the vendor's SDKs do.
            state.eq_ignore_ascii_case("disconnected") || state.eq_ignore_ascii_case("terminated")
        });
        let legs =
            [self.calls, self.callbacks, self.chats, self.emails, self.messages, self.videos];
        let last_leg = legs.into_iter().flatten().find_map(LastLeg::into_state);
        Some(Participant {
            id: self.id?.0.parse().ok()?,
            purpose: self.purpose.map(WireText::into_owned).unwrap_or_default(),
            live: self.end_time.is_none() && !gone,
            name: self.name.map(|WireText(name)| PersonName::new(&name)),
            span: span(self.start_time, self.end_time),
            state: self.state.or(last_leg).map(WireText::into_owned),
            attributes: self.attributes.map(WireAttributes::into_map).unwrap_or_default(),
        })
    }
}

/// Participants, each brought into the domain before the next is read: the wire's form of one is large.
#[derive(Debug, Default)]
struct WireParticipants(Vec<Participant>);

impl<'de> Deserialize<'de> for WireParticipants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seats;
        impl<'de> Visitor<'de> for Seats {
            type Value = WireParticipants;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of participants")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seats: A) -> Result<Self::Value, A::Error> {
                let mut participants = Vec::with_capacity(TYPICAL_PARTICIPANTS);
                while let Some(participant) = seats.next_element::<WireParticipant>()? {
                    participants.extend(participant.into_domain());
                }
                Ok(WireParticipants(participants))
            }
        }
        deserializer.deserialize_seq(Seats)
    }
}

fn span(start: Option<WireTime>, end: Option<WireTime>) -> TimeRange {
    let told = |time: Option<WireTime>| time.and_then(|WireTime(time)| time);
    TimeRange { start: told(start), end: told(end) }
}

/// Reads the body of a GET of a conversation.
///
/// # Errors
/// A sentence, without any of the body, if it is no conversation.
pub fn conversation(id: ConversationId, body: &[u8]) -> Result<Conversation, &'static str> {
    readable(body, "it is not the JSON of a conversation", |text| whole(id, text))
}

fn whole(id: ConversationId, text: &str) -> Result<Conversation, &'static str> {
    let wire: WireConversation =
        serde_json::from_str(text).map_err(|_| "it is not the JSON of a conversation")?;
    if wire.id.is_none() && wire.participants.is_none() {
        return Err("it is JSON, but not of a conversation");
    }
    let participants = wire.participants.unwrap_or_default().0;
    // Only the generic shape has times of the conversation, and its `endTime` decides; its `state`
    // never has a value when read. The voice shape is live as long as anybody is.
    let live = if wire.start_time.is_some() || wire.end_time.is_some() {
        Some(wire.end_time.is_none())
    } else if participants.is_empty() {
        None
    } else {
        Some(participants.iter().any(|participant| participant.live))
    };
    let span = span(wire.start_time, wire.end_time);
    Ok(Conversation { id, live, span, participants })
}

/// Reads the body of a GET of a single participant, as a `custom` route serves it. Such a route
/// says nothing about whether the conversation is live.
///
/// # Errors
/// A sentence, without any of the body, if it is no participant.
pub fn lone_participant(id: ConversationId, body: &[u8]) -> Result<Conversation, &'static str> {
    readable(body, "it is not the JSON of a participant", |text| lone(id, text))
}

fn lone(id: ConversationId, text: &str) -> Result<Conversation, &'static str> {
    let wire: WireParticipant =
        serde_json::from_str(text).map_err(|_| "it is not the JSON of a participant")?;
    let participant = wire.into_domain().ok_or("it is JSON, but not of a participant")?;
    let span = TimeRange::default();
    Ok(Conversation { id, live: None, span, participants: vec![participant] })
}

/// Reads a body that may hold half surrogates, which parsers refuse: one writer's cut emoji must not make
/// the whole conversation unreadable. They are shown as U+FFFD, and the values marked as damaged.
fn readable(
    body: &[u8],
    unreadable: &'static str,
    read: impl Fn(&str) -> Result<Conversation, &'static str>,
) -> Result<Conversation, &'static str> {
    // Checked as text once: string by string it takes several times as long.
    let text = std::str::from_utf8(body).map_or_else(|_| repaired(body).into(), Cow::Borrowed);
    read(&text).or_else(|error| {
        if error != unreadable {
            return Err(error);
        }
        let marked = MarkedJson::new(&text).ok_or(error)?;
        let mut conversation = read(marked.text())?;
        conversation.participants.iter_mut().for_each(|one| show_damage(one, &marked));
        Ok(conversation)
    })
}

/// The text of a body, with half of a surrogate pair for what is no UTF-8.
fn repaired(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push_str("\\udfff");
        }
    }
    text
}

fn show_damage(participant: &mut Participant, marked: &MarkedJson) {
    participant.purpose = marked.shown(&participant.purpose).into();
    participant.state = participant.state.as_ref().map(|state| marked.shown(state).into());
    let name = participant.name.as_ref();
    participant.name = name.map(|name| PersonName::new(&marked.shown(name.expose())));
    let entry = |(key, value): (&AttributeKey, &AttributeValue)| {
        let (name, text) = (key.as_str(), value.expose());
        let key = AttributeKey::existing(&marked.shown(name));
        if !marked.marks(name) && !marked.marks(text) {
            return (key, value.clone());
        }
        (key, AttributeValue::damaged(&marked.shown(text), &marked.literal(text)))
    };
    participant.attributes = participant.attributes.iter_held().map(entry).collect();
}

/// What stands for an empty value in a PATCH. The platform documents no deletion, and its model no
/// `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearMode {
    /// `""`.
    Empty,
    /// `null`.
    Null,
}

/// Body of a PATCH: `ParticipantAttributes`, and nothing but it.
///
/// # Panics
/// Never: strings always serialise.
pub fn patch_body(attributes: &AttributeMap, clearing: ClearMode) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        attributes: Held<'a>,
    }
    struct Held<'a>(&'a AttributeMap, ClearMode);
    impl serde::Serialize for Held<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(map, clearing) = *self;
            let entries = map.iter_held();
            serializer
                .collect_map(entries.map(|(key, value)| (key.as_str(), Sent(value, clearing))))
        }
    }
    struct Sent<'a>(&'a AttributeValue, ClearMode);
    impl serde::Serialize for Sent<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(value, clearing) = *self;
            // A whole map repeats what it does not change: a damaged value as it is, not as it is shown.
            if let Some(json) = value.damaged_json() {
                let raw: &RawValue =
                    serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                return raw.serialize(serializer);
            }
            // Empty values are what clears a key: they are sent, although clients never see them.
            if value.expose().is_empty() && clearing == ClearMode::Null {
                return serializer.serialize_none();
            }
            serializer.serialize_str(value.expose())
        }
    }
    serde_json::to_vec(&Body { attributes: Held(attributes, clearing) })
        .expect("a map of strings always serialises")
}

/// `ErrorBody` of the platform API. It may be absent, or the HTML of a proxy.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// Genesys' code, such as `bad.request`.
    #[serde(default, deserialize_with = "redact::code")]
    pub code: Option<String>,
    /// A sentence; it may repeat what was sent.
    pub message: Option<String>,
    /// The correlation id.
    pub context_id: Option<String>,
}

impl ErrorBody {
    /// What can be understood of a body.
    pub fn parse(body: &[u8]) -> Self {
        if let Ok(found) = serde_json::from_slice(body) {
            return found;
        }
        let marked = MarkedJson::new(&repaired(body));
        let Some(marked) = marked else { return Self::default() };
        let found: Self = serde_json::from_str(marked.text()).unwrap_or_default();
        let shown = |text: Option<String>| text.map(|text| marked.shown(&text));
        Self {
            code: shown(found.code),
            message: shown(found.message),
            context_id: shown(found.context_id),
        }
    }
}

/// Body of a good answer of the token endpoint. Source: `AuthResponse` of the SDK templates.
#[derive(Deserialize)]
pub struct TokenBody {
    /// The token: never logged, never part of an error.
    #[serde(default)]
    pub access_token: Value,
    /// Seconds until it dies: 300 to 172,800, by the settings of the OAuth client. Some hosts write
    /// them as a text, as a fraction, or not at all.
    #[serde(default)]
    pub expires_in: Value,
}

/// Body of a refusal of the token endpoint: the OAuth form, with a second spelling of the text.
#[derive(Default, Deserialize)]
pub struct TokenErrorBody {
    /// OAuth's error code.
    #[serde(default, deserialize_with = "redact::code")]
    pub error: Option<String>,
    /// OAuth's text.
    pub error_description: Option<String>,
    /// Genesys' other spelling of it.
    pub description: Option<String>,
}

#[cfg(test)]
mod tests;
