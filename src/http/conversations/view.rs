//! Conversations as JSON and as text: one, and a list.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::{
    Conversation, ConversationId, ListedConversation, ListedParticipant, Participant,
    ParticipantSummary, PersonName, Timestamp,
};
use crate::http::text_table::{NOTHING, TextTable, ToText, facts, plain, warnings};

/// A conversation with everyone who has ever joined it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
pub(in crate::http) struct ConversationResponse {
    /// Id of the conversation.
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// `live` or `ended`; `null` if the configured route does not provide it.
    state: Option<&'static str>,
    /// When the conversation began, in the format of Genesys Cloud; `null` if the configured route does not
    /// provide it.
    #[schema(value_type = Option<String>)]
    start_time: Option<Timestamp>,
    /// When the conversation ended; `null` while it is live.
    #[schema(value_type = Option<String>)]
    end_time: Option<Timestamp>,
    /// Everyone who has ever joined, in order of joining.
    participants: Vec<MemberDto>,
}

/// A participant, without attributes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(in crate::http) struct MemberDto {
    #[serde(flatten)]
    participant: ParticipantSummary,
    /// Name of the participant.
    #[serde(serialize_with = "serialize_name")]
    #[schema(value_type = Option<String>)]
    name: Option<PersonName>,
    /// When the participant joined.
    #[schema(value_type = Option<String>)]
    start_time: Option<Timestamp>,
    /// When the participant left; `null` while connected.
    #[schema(value_type = Option<String>)]
    end_time: Option<Timestamp>,
    /// Number of attributes; empty ones are not counted.
    attribute_count: usize,
    /// All values of `participant=` that select exactly this participant, for reads and writes; plain
    /// words come first.
    selectors: Vec<String>,
}

/// One page of the live conversations, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ConversationList {
    /// The conversations.
    pub conversations: Vec<ListedConversation>,
    /// The `cursor` for the next page; `null` on the last page.
    pub next_cursor: Option<String>,
    /// Warnings about how the filters were interpreted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl From<&Conversation> for ConversationResponse {
    fn from(conversation: &Conversation) -> Self {
        let selectors = conversation.selectors();
        let members = conversation.participants.iter().zip(selectors).map(MemberDto::from);
        Self {
            conversation_id: conversation.id,
            state: conversation.live.map(|live| if live { "live" } else { "ended" }),
            start_time: conversation.span.start,
            end_time: conversation.span.end,
            participants: members.collect(),
        }
    }
}

impl From<(&Participant, Vec<String>)> for MemberDto {
    fn from((participant, selectors): (&Participant, Vec<String>)) -> Self {
        Self {
            participant: participant.candidate(),
            name: participant.name.clone(),
            start_time: participant.span.start,
            end_time: participant.span.end,
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

impl ToText for ConversationResponse {
    fn text(&self) -> String {
        let head = facts([
            ("conversation", &self.conversation_id.to_string()),
            ("state", self.state.unwrap_or("unknown")),
            ("began", shown(self.start_time.as_ref())),
            ("ended", shown(self.end_time.as_ref())),
        ]);
        if self.participants.is_empty() {
            return format!("{head}\n(no participants)\n");
        }
        let head_row =
            ["PURPOSE", "STATE", "ATTRIBUTES", "ID", "JOINED", "LEFT", "NAME", "SELECTORS"];
        let mut table = TextTable::new(head_row);
        for one in &self.participants {
            table.row([
                some(&one.participant.purpose),
                one.participant.state.as_deref().unwrap_or(NOTHING),
                &one.attribute_count.to_string(),
                &one.participant.id.to_string(),
                shown(one.start_time.as_ref()),
                shown(one.end_time.as_ref()),
                one.name.as_ref().map_or(NOTHING, |name| some(name.expose())),
                some(&shortest(&one.selectors).join(" ")),
            ]);
        }
        format!("{head}\n{}", table.finish())
    }
}

impl ToText for ConversationList {
    fn text(&self) -> String {
        let mut text = if self.conversations.is_empty() {
            "(no conversations)\n".to_owned()
        } else {
            let mut table = TextTable::new(["CONVERSATION", "BEGAN", "DIRECTION", "PARTICIPANTS"]);
            for one in &self.conversations {
                table.row([
                    &one.id.to_string(),
                    shown(one.start.as_ref()),
                    one.direction.as_deref().unwrap_or(NOTHING),
                    &describe(&one.participants),
                ]);
            }
            table.finish()
        };
        if let Some(cursor) = &self.next_cursor {
            text.push_str(&["\nThere are more: cursor=", &plain(cursor), "\n"].concat());
        }
        text.push_str(&warnings(&self.warnings));
        text
    }
}

fn describe(participants: &[ListedParticipant]) -> String {
    let one = |one: &ListedParticipant| format!("{} {}", some(&one.purpose), one.id);
    participants.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn shown(time: Option<&Timestamp>) -> &str {
    time.map_or(NOTHING, Timestamp::as_str)
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
            span: crate::domain::TimeRange::default(),
            attributes: crate::domain::AttributeMap::default(),
        };
        let view = MemberDto::from((&participant, Vec::new()));
        let shown = format!("{view:?} {participant:?}");
        assert!(!shown.contains("Canary") && shown.contains("customer"), "{shown}");
        let json = serde_json::to_value(&view).expect("JSON");
        assert_eq!(json["name"], "Canary Doe");
    }
}
