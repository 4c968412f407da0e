//! Reads and writes the JSON of upstream, and converts it to and from the domain.
//!
//! The types declare only the fields that the gateway needs. Nearly all fields are optional, as in
//! the models of the vendor's SDKs.

mod details;
mod redact;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};

pub use self::details::{details, details_query};
pub use self::redact::{code, without_secrets, without_values};
use self::text::{PlainText, WireAttributes, WireText, text};
use crate::domain::{
    AttributeMap, AttributeValue, Conversation, ConversationId, Participant, PersonName, TimeRange,
    Timestamp,
};

/// The body of both GETs of a conversation. Source: models `Conversation` and `CallConversation` of
/// the Python SDK 269.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: WireText + Deserialize<'de>")]
struct WireConversation<T> {
    id: Option<IgnoredAny>,
    start_time: Option<T>,
    end_time: Option<T>,
    participants: Option<Vec<WireParticipant<T>>>,
}

/// A participant in either shape: `CallMediaParticipant` has its own `state`, and `Participant` has
/// one per communication.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: WireText + Deserialize<'de>")]
struct WireParticipant<T> {
    id: Option<T>,
    purpose: Option<T>,
    state: Option<T>,
    name: Option<T>,
    start_time: Option<T>,
    end_time: Option<T>,
    attributes: Option<WireAttributes<T>>,
    calls: Option<Vec<MediaLeg<T>>>,
    callbacks: Option<Vec<MediaLeg<T>>>,
    chats: Option<Vec<MediaLeg<T>>>,
    emails: Option<Vec<MediaLeg<T>>>,
    messages: Option<Vec<MediaLeg<T>>>,
    videos: Option<Vec<MediaLeg<T>>>,
}

/// A communication of a participant.
#[derive(Deserialize)]
struct MediaLeg<T> {
    state: Option<T>,
}

/// Even an unreadable `endTime` ends a conversation, but its time is unknown.
fn span<T: WireText>(start: Option<&T>, end: Option<&T>) -> TimeRange {
    let time = |field| text(field).and_then(|text| Timestamp::parse(&text));
    TimeRange { start: time(start), end: time(end) }
}

impl<T: WireText> WireParticipant<T> {
    /// `None` without a usable id: clients could not address this participant.
    fn into_domain(self) -> Option<Participant> {
        let state = text(self.state.as_ref());
        let gone = state.as_ref().is_some_and(|state| {
            // Enums are case-insensitive, as in the vendor's SDKs.
            state.eq_ignore_ascii_case("disconnected") || state.eq_ignore_ascii_case("terminated")
        });
        let media =
            [&self.calls, &self.callbacks, &self.chats, &self.emails, &self.messages, &self.videos];
        let last_state =
            || media.into_iter().flatten().find_map(|legs| text(legs.last()?.state.as_ref()));
        Some(Participant {
            id: text(self.id.as_ref())?.parse().ok()?,
            purpose: text(self.purpose.as_ref()).unwrap_or_default().into(),
            live: self.end_time.is_none() && !gone,
            name: text(self.name.as_ref()).map(|name| PersonName::new(&name)),
            span: span(self.start_time.as_ref(), self.end_time.as_ref()),
            state: state.or_else(last_state).map(Into::into),
            attributes: self.attributes.map(|attributes| attributes.0).unwrap_or_default(),
        })
    }
}

/// Reads the body of a GET of a conversation. An error repeats nothing of the body.
pub fn conversation(id: ConversationId, body: &[u8]) -> Result<Conversation, &'static str> {
    let body = unicode(body);
    match serde_json::from_str::<WireConversation<PlainText>>(&body) {
        Ok(wire) => whole(id, wire),
        Err(_) => serde_json::from_str::<WireConversation<&RawValue>>(&body)
            .map_err(|_| "it is not the JSON of a conversation")
            .and_then(|wire| whole(id, wire)),
    }
}

fn whole<T: WireText>(
    id: ConversationId,
    wire: WireConversation<T>,
) -> Result<Conversation, &'static str> {
    if wire.id.is_none() && wire.participants.is_none() {
        return Err("it is JSON, but not of a conversation");
    }
    let participants = wire.participants.unwrap_or_default();
    let participants: Vec<_> =
        participants.into_iter().filter_map(WireParticipant::into_domain).collect();
    // Only the generic shape has times of the conversation. Its `endTime` decides, because its
    // `state` is always empty. The voice shape is live while one of its participants is.
    let live = if wire.start_time.is_some() || wire.end_time.is_some() {
        Some(wire.end_time.is_none())
    } else if participants.is_empty() {
        None
    } else {
        Some(participants.iter().any(|participant| participant.live))
    };
    let span = span(wire.start_time.as_ref(), wire.end_time.as_ref());
    Ok(Conversation { id, live, span, participants })
}

/// Reads the body of a GET of a single participant from a `custom` route. It does not say whether the
/// conversation is live.
pub fn lone_participant(id: ConversationId, body: &[u8]) -> Result<Conversation, &'static str> {
    let body = unicode(body);
    let wire: WireParticipant<&RawValue> =
        serde_json::from_str(&body).map_err(|_| "it is not the JSON of a participant")?;
    let participant = wire.into_domain().ok_or("it is JSON, but not of a participant")?;
    let span = TimeRange::default();
    Ok(Conversation { id, live: None, span, participants: vec![participant] })
}

/// The text of a body, with an unpaired surrogate in place of invalid UTF-8. Checking the whole body
/// is several times faster than checking string by string.
fn unicode(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return text.into();
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push_str("\\udfff");
        }
    }
    text.into()
}

/// The body of a PATCH: `ParticipantAttributes`. An empty value clears its key. The platform documents
/// no deletion, and its model allows no `null`; some deployments need it all the same.
pub fn patch_body(attributes: &AttributeMap, clears_with_null: bool) -> Vec<u8> {
    let value = |value: &AttributeValue| match (value.damaged_json(), value.expose()) {
        // A whole map repeats unchanged values. A damaged one must be sent as upstream holds it.
        (Some(json), _) => RawValue::from_string(json.to_owned()),
        (None, "") if clears_with_null => to_raw_value(&()),
        (None, text) => to_raw_value(text),
    };
    let entries = attributes.iter_held().map(|(key, text)| Ok((key.as_str(), value(text)?)));
    let body = entries
        .collect::<serde_json::Result<BTreeMap<_, _>>>()
        .and_then(|entries| serde_json::to_vec(&BTreeMap::from([("attributes", entries)])));
    body.expect("a map of strings always serialises")
}

/// `ErrorBody` of the platform API. The body may be missing, or be the HTML of a proxy.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// Genesys' code, such as `bad.request`.
    pub code: Option<String>,
    /// A sentence, which may repeat values that we sent.
    pub message: Option<String>,
    /// The correlation id.
    pub context_id: Option<String>,
}

impl ErrorBody {
    /// Reads as much as possible of a body.
    pub fn parse(body: &[u8]) -> Self {
        let found: Self = serde_json::from_slice(body).unwrap_or_default();
        Self { code: found.code.filter(|text| code(text).is_some()), ..found }
    }
}

#[cfg(test)]
mod tests;
