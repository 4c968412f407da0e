//! Reads and writes the JSON of upstream, and converts it to and from the domain.
//!
//! The types declare only the fields that the gateway needs. Nearly all fields are optional, as in
//! the models of the vendor's SDKs.

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

/// Capacity for the participants of most calls: a customer, a flow, a queue, an agent, and one more.
const TYPICAL_PARTICIPANTS: usize = 5;

/// The body of both GETs of a conversation. Source: models `Conversation` and `CallConversation` of
/// the Python SDK 269.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConversation {
    id: Option<PresenceFlag>,
    start_time: Option<WireTime>,
    end_time: Option<WireTime>,
    participants: Option<WireParticipants>,
}

/// A participant in either shape: `CallMediaParticipant` has its own `state`, and `Participant` has
/// one per communication.
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
    /// `None` without a usable id: clients could not address this participant.
    fn into_domain(self) -> Option<Participant> {
        let gone = self.state.as_ref().is_some_and(|WireText(state)| {
            // Enums are case-insensitive, as in the vendor's SDKs.
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

/// Participants. Each is converted to the domain before the next is read, because its JSON form is
/// large.
#[derive(Debug, Default)]
struct WireParticipants(Vec<Participant>);

impl<'de> Deserialize<'de> for WireParticipants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ParticipantList;
        impl<'de> Visitor<'de> for ParticipantList {
            type Value = WireParticipants;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of participants")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut participants = Vec::with_capacity(TYPICAL_PARTICIPANTS);
                while let Some(participant) = items.next_element::<WireParticipant>()? {
                    participants.extend(participant.into_domain());
                }
                Ok(WireParticipants(participants))
            }
        }
        deserializer.deserialize_seq(ParticipantList)
    }
}

fn span(start: Option<WireTime>, end: Option<WireTime>) -> TimeRange {
    let parsed = |time: Option<WireTime>| time.and_then(|WireTime(time)| time);
    TimeRange { start: parsed(start), end: parsed(end) }
}

/// Reads the body of a GET of a conversation.
///
/// # Errors
/// If the body is not a conversation: a sentence that repeats nothing of the body.
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
    // Only the generic shape has times of the conversation. Its `endTime` decides, because its
    // `state` is always empty. The voice shape is live while one of its participants is.
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

/// Reads the body of a GET of a single participant from a `custom` route. It does not say whether the
/// conversation is live.
///
/// # Errors
/// If the body is not a participant: a sentence that repeats nothing of the body.
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

/// Reads a body that may hold unpaired surrogates, which parsers refuse. One truncated emoji must not
/// make the whole conversation unreadable: it is shown as U+FFFD, and its value is marked as damaged.
fn readable(
    body: &[u8],
    unreadable: &'static str,
    read: impl Fn(&str) -> Result<Conversation, &'static str>,
) -> Result<Conversation, &'static str> {
    // Checking the whole body as UTF-8 is several times faster than checking string by string.
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

/// The text of a body, with an unpaired surrogate in place of invalid UTF-8.
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

/// How a PATCH clears an attribute. The platform documents no deletion, and its model allows no
/// `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearMode {
    /// `""`.
    Empty,
    /// `null`.
    Null,
}

/// The body of a PATCH: `ParticipantAttributes`.
///
/// # Panics
/// Never: strings always serialise.
pub fn patch_body(attributes: &AttributeMap, clearing: ClearMode) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        attributes: SentMap<'a>,
    }
    struct SentMap<'a>(&'a AttributeMap, ClearMode);
    impl serde::Serialize for SentMap<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(map, clearing) = *self;
            let entries = map.iter_held();
            serializer
                .collect_map(entries.map(|(key, value)| (key.as_str(), SentValue(value, clearing))))
        }
    }
    struct SentValue<'a>(&'a AttributeValue, ClearMode);
    impl serde::Serialize for SentValue<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self(value, clearing) = *self;
            // A whole map repeats unchanged values. A damaged one must be sent as upstream holds it.
            if let Some(json) = value.damaged_json() {
                let raw: &RawValue =
                    serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                return raw.serialize(serializer);
            }
            // An empty value clears the key, so it must be sent.
            if value.expose().is_empty() && clearing == ClearMode::Null {
                return serializer.serialize_none();
            }
            serializer.serialize_str(value.expose())
        }
    }
    serde_json::to_vec(&Body { attributes: SentMap(attributes, clearing) })
        .expect("a map of strings always serialises")
}

/// `ErrorBody` of the platform API. The body may be missing, or be the HTML of a proxy.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// Genesys' code, such as `bad.request`.
    #[serde(default, deserialize_with = "redact::code")]
    pub code: Option<String>,
    /// A sentence, which may repeat values that we sent.
    pub message: Option<String>,
    /// The correlation id.
    pub context_id: Option<String>,
}

impl ErrorBody {
    /// Reads as much as possible of a body.
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

/// The body of a successful answer of the token endpoint. Source: `AuthResponse` of the SDK
/// templates.
#[derive(Deserialize)]
pub struct TokenBody {
    /// The token. It must never appear in a log or an error.
    #[serde(default)]
    pub access_token: Value,
    /// Lifetime in seconds: 300 to 172,800, a setting of the OAuth client. Some hosts send a string,
    /// a fraction, or nothing.
    #[serde(default)]
    pub expires_in: Value,
}

/// The body of an error of the token endpoint: the format of OAuth, with a second name for the text.
#[derive(Default, Deserialize)]
pub struct TokenErrorBody {
    /// OAuth's error code.
    #[serde(default, deserialize_with = "redact::code")]
    pub error: Option<String>,
    /// OAuth's text.
    pub error_description: Option<String>,
    /// Genesys' other name for the text.
    pub description: Option<String>,
}

#[cfg(test)]
mod tests;
