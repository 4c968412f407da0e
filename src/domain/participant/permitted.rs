//! Selectors as permissions: which selectors and participants they include.

use super::{
    CUSTOMER, Conversation, EXTERNAL, Participant, ParticipantSelector, SelectorIntent,
    SelectorKind,
};

impl ParticipantSelector {
    /// Whether permission for this selector includes the `other`. A purpose includes its positions, and
    /// `all` includes everything.
    pub fn includes(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (SelectorKind::All, _) => true,
            (
                SelectorKind::Purpose { word, position: None },
                SelectorKind::Purpose { word: asked, .. },
            ) => word == asked,
            (one, other) => one == other,
        }
    }

    /// Whether this selector selects `one`. If `conversation` is not `whole`, its order and its other
    /// participants are unknown.
    pub fn means(&self, one: &Participant, conversation: &Conversation, whole: bool) -> bool {
        match &self.0 {
            SelectorKind::All => true,
            SelectorKind::Id(id) => *id == one.id,
            SelectorKind::Purpose { word, position: None } => {
                let all = &conversation.participants;
                let is_external_customer = whole && word == CUSTOMER && one.has_purpose(EXTERNAL);
                one.has_purpose(word)
                    || (is_external_customer && !all.iter().any(|one| one.has_purpose(CUSTOMER)))
            }
            SelectorKind::First | SelectorKind::Purpose { position: Some(_), .. } => {
                let chosen = || self.choose(conversation, SelectorIntent::Write);
                whole && chosen().is_ok_and(|chosen| chosen.participant.id == one.id)
            }
        }
    }
}
