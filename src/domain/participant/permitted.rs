//! Selectors as permissions: which others they include, and whom they mean.

use super::{
    CUSTOMER, Conversation, EXTERNAL, Participant, ParticipantSelector, SelectorIntent,
    SelectorKind,
};

impl ParticipantSelector {
    /// Whether whoever may use this selector may use the `other`. A purpose includes its positions;
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

    /// Whether this selector means `one`. Where the `conversation` is not shown as a `whole`, its
    /// order and who else is there are unknown.
    pub fn means(&self, one: &Participant, conversation: &Conversation, whole: bool) -> bool {
        let bears = |purpose: &str| one.purpose.eq_ignore_ascii_case(purpose);
        match &self.0 {
            SelectorKind::All => true,
            SelectorKind::Id(id) => *id == one.id,
            SelectorKind::Purpose { word, position: None } => {
                let customers = || conversation.participants.iter();
                let caller = || {
                    let customer =
                        |other: &Participant| other.purpose.eq_ignore_ascii_case(CUSTOMER);
                    whole && word == CUSTOMER && bears(EXTERNAL) && !customers().any(customer)
                };
                bears(word) || caller()
            }
            SelectorKind::First | SelectorKind::Purpose { position: Some(_), .. } => {
                let chosen = || self.choose(conversation, SelectorIntent::Write);
                whole && chosen().is_ok_and(|chosen| chosen.participant.id == one.id)
            }
        }
    }
}
