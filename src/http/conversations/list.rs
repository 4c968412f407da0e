//! The JSON of the list, and its text.

use serde::Serialize;
use smol_str::SmolStr;
use utoipa::ToSchema;

use crate::domain::{
    ConversationId, ListedConversation, ListedParticipant, ParticipantId, Timestamp,
};
use crate::http::response_format::ToText;
use crate::http::responses::shown;
use crate::http::text_table::{NOTHING, TextTable, plain, warnings};

/// Some of the live conversations, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationList)]
pub(in crate::http) struct ConversationListResponse {
    /// The conversations.
    conversations: Vec<ListedConversationDto>,
    /// What to pass as `cursor` for those that follow; `null` if there are none.
    next_cursor: Option<String>,
    /// Things that a person should know about how the request was understood.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// A live conversation. The analytics query knows no attributes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedConversation)]
pub(in crate::http) struct ListedConversationDto {
    /// Its id.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    conversation_id: ConversationId,
    /// When it began, as Genesys Cloud spells it.
    start_time: Option<String>,
    /// `inbound` or `outbound`.
    #[schema(value_type = Option<String>)]
    direction: Option<SmolStr>,
    /// Everybody who ever joined.
    participants: Vec<ListedParticipantDto>,
}

/// A participant of a listed conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListedParticipant)]
pub(in crate::http) struct ListedParticipantDto {
    /// Its id.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = "uuid")]
    participant_id: ParticipantId,
    /// Its purpose, such as `customer`.
    #[schema(value_type = String)]
    purpose: SmolStr,
}

impl ConversationListResponse {
    pub(in crate::http) fn new(
        listed: Vec<ListedConversation>,
        next_cursor: Option<String>,
        warnings: Vec<String>,
    ) -> Self {
        let conversations = listed.into_iter().map(ListedConversationDto::from).collect();
        Self { conversations, next_cursor, warnings }
    }
}

impl From<ListedConversation> for ListedConversationDto {
    fn from(listed: ListedConversation) -> Self {
        Self {
            conversation_id: listed.id,
            start_time: listed.start.as_ref().map(Timestamp::to_string),
            direction: listed.direction,
            participants: listed.participants.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ListedParticipant> for ListedParticipantDto {
    fn from(participant: ListedParticipant) -> Self {
        Self { participant_id: participant.id, purpose: participant.purpose }
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
