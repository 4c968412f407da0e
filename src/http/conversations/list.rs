//! The list of conversations as JSON and as text.

use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use crate::domain::{
    ConversationId, ListedConversation, ListedParticipant, ParticipantId, Timestamp,
};
use crate::http::response_format::ToText;
use crate::http::responses::shown;
use crate::http::text_table::{NOTHING, TextTable, plain, warnings};

/// One page of the live conversations, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationList)]
pub(in crate::http) struct ConversationListResponse {
    /// The conversations.
    conversations: Vec<ListedConversationDto>,
    /// The `cursor` for the next page; `null` on the last page.
    next_cursor: Option<String>,
    /// Warnings about how the filters were interpreted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// A live conversation, without attributes: the analytics query does not return them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedConversation)]
pub(in crate::http) struct ListedConversationDto {
    /// Id of the conversation.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// When the conversation began, in the format of Genesys Cloud.
    start_time: Option<String>,
    /// `inbound` or `outbound`.
    #[schema(value_type = Option<String>)]
    direction: Option<SmolStr>,
    /// Everyone who has ever joined.
    participants: Vec<ListedParticipantDto>,
}

/// A participant of a listed conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedParticipant)]
pub(in crate::http) struct ListedParticipantDto {
    /// Id of the participant.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    participant_id: ParticipantId,
    /// Purpose of the participant, such as `customer`.
    #[schema(value_type = String)]
    purpose: SmolStr,
}

impl ConversationListResponse {
    pub(in crate::http) fn new(
        listed: Vec<ListedConversation>,
        next_cursor: Option<String>,
        warnings: Vec<String>,
    ) -> Self {
        let participant = |one: ListedParticipant| ListedParticipantDto {
            participant_id: one.id,
            purpose: one.purpose,
        };
        let conversation = |one: ListedConversation| ListedConversationDto {
            conversation_id: one.id,
            start_time: one.start.as_ref().map(Timestamp::to_string),
            direction: one.direction,
            participants: one.participants.into_iter().map(participant).collect(),
        };
        let conversations = listed.into_iter().map(conversation).collect();
        Self { conversations, next_cursor, warnings }
    }
}

impl ToText for ConversationListResponse {
    fn text(&self) -> String {
        let mut text = if self.conversations.is_empty() {
            "(no conversations)\n".to_owned()
        } else {
            let mut table = TextTable::new(["CONVERSATION", "BEGAN", "DIRECTION", "PARTICIPANTS"]);
            for one in &self.conversations {
                table.row([
                    &one.conversation_id.to_string(),
                    one.start_time.as_deref().unwrap_or(NOTHING),
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

fn describe(participants: &[ListedParticipantDto]) -> String {
    let one = |one: &ListedParticipantDto| {
        let purpose = if one.purpose.is_empty() { NOTHING } else { &one.purpose };
        format!("{purpose} {}", one.participant_id)
    };
    participants.iter().map(one).collect::<Vec<_>>().join(", ")
}
