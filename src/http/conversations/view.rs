//! One conversation as JSON and as text.

use serde::{Serialize, Serializer};
use smol_str::SmolStr;
use utoipa::ToSchema;

use crate::domain::{
    Conversation, ConversationId, Participant, ParticipantId, PersonName, TimeRange, Timestamp,
};
use crate::http::response_format::ToText;
use crate::http::responses::shown;
use crate::http::text_table::{NOTHING, TextTable, facts};

/// A conversation with everyone who has ever joined it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub(in crate::http) struct ConversationResponse {
    /// Id of the conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// `live` or `ended`; `null` if the configured route does not provide it.
    state: Option<&'static str>,
    /// When the conversation began, in the format of Genesys Cloud; `null` if the configured route does not
    /// provide it.
    start_time: Option<String>,
    /// When the conversation ended; `null` while it is live.
    end_time: Option<String>,
    /// Everyone who has ever joined, in order of joining.
    participants: Vec<MemberDto>,
}

/// A participant, without attributes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(in crate::http) struct MemberDto {
    /// Id of the participant.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    id: ParticipantId,
    /// Purpose of the participant, such as `customer`, as spelled by Genesys Cloud.
    #[schema(value_type = String)]
    purpose: SmolStr,
    /// State of the participant's last communication, such as `connected`.
    #[schema(value_type = Option<String>)]
    state: Option<SmolStr>,
    /// Name of the participant.
    #[serde(serialize_with = "serialize_name")]
    #[schema(value_type = Option<String>)]
    name: Option<PersonName>,
    /// When the participant joined.
    start_time: Option<String>,
    /// When the participant left; `null` while connected.
    end_time: Option<String>,
    /// Number of attributes; empty ones are not counted.
    attribute_count: usize,
    /// All values of `participant=` that select exactly this participant, for reads and writes; plain
    /// words come first.
    selectors: Vec<String>,
}

impl From<&Conversation> for ConversationResponse {
    fn from(conversation: &Conversation) -> Self {
        let [start_time, end_time] = times(conversation.span);
        let selectors = conversation.selectors();
        let members = conversation.participants.iter().zip(selectors).map(MemberDto::from);
        Self {
            conversation_id: conversation.id,
            state: conversation.live.map(|live| if live { "live" } else { "ended" }),
            start_time,
            end_time,
            participants: members.collect(),
        }
    }
}

impl From<(&Participant, Vec<String>)> for MemberDto {
    fn from((participant, selectors): (&Participant, Vec<String>)) -> Self {
        let [start_time, end_time] = times(participant.span);
        Self {
            id: participant.id,
            purpose: participant.purpose.clone(),
            state: participant.state.clone(),
            name: participant.name.clone(),
            start_time,
            end_time,
            attribute_count: participant.attributes.len(),
            selectors,
        }
    }
}

/// Serialises the name for the client. [`PersonName`] masks it everywhere else.
#[expect(clippy::ref_option, reason = "serde requires this signature")]
fn serialize_name<S: Serializer>(
    name: &Option<PersonName>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    name.as_ref().map(PersonName::expose).serialize(serializer)
}

fn times(span: TimeRange) -> [Option<String>; 2] {
    [span.start, span.end].map(|time| time.as_ref().map(Timestamp::to_string))
}

impl ToText for ConversationResponse {
    fn text(&self) -> String {
        let head = facts([
            ("conversation", &self.conversation_id.to_string()),
            ("state", self.state.unwrap_or("unknown")),
            ("began", self.start_time.as_deref().unwrap_or(NOTHING)),
            ("ended", self.end_time.as_deref().unwrap_or(NOTHING)),
        ]);
        if self.participants.is_empty() {
            return format!("{head}\n(no participants)\n");
        }
        let head_row =
            ["PURPOSE", "STATE", "ATTRIBUTES", "ID", "JOINED", "LEFT", "NAME", "SELECTORS"];
        let mut table = TextTable::new(head_row);
        for one in &self.participants {
            table.row([
                some(&one.purpose),
                one.state.as_deref().unwrap_or(NOTHING),
                &one.attribute_count.to_string(),
                &one.id.to_string(),
                one.start_time.as_deref().unwrap_or(NOTHING),
                one.end_time.as_deref().unwrap_or(NOTHING),
                one.name.as_ref().map_or(NOTHING, |name| some(name.expose())),
                some(&shortest(&one.selectors).join(" ")),
            ]);
        }
        format!("{head}\n{}", table.finish())
    }
}

fn some(text: &str) -> &str {
    if text.is_empty() { NOTHING } else { text }
}

/// Drops `agent:first` and the like if the plain word is also in the list.
fn shortest(selectors: &[String]) -> Vec<&str> {
    let longer = |word: &String| {
        let (plain, position) = word.split_once(':').unwrap_or((word, ""));
        !position.is_empty() && selectors.iter().any(|other| other == plain)
    };
    selectors.iter().filter(|word| !longer(word)).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_serialised_but_masked_in_debug() {
        let participant = Participant {
            id: "4f6d2c1e-9b0a-4d8e-b7c6-a5f4e3d2c1b0".parse().expect("an id"),
            purpose: "customer".into(),
            state: None,
            live: true,
            name: Some(PersonName::new("Canary Doe")),
            span: TimeRange::default(),
            attributes: crate::domain::AttributeMap::default(),
        };
        let view = MemberDto::from((&participant, Vec::new()));
        let shown = format!("{view:?} {participant:?}");
        assert!(!shown.contains("Canary") && shown.contains("customer"), "{shown}");
        let json = serde_json::to_value(&view).expect("JSON");
        assert_eq!(json["name"], "Canary Doe");
    }
}
