//! The reverse direction: which words select a participant, and which selectors permit another one.

use std::collections::BTreeSet;

use super::{
    ALL, CUSTOMER, Conversation, EXTERNAL, FIRST, Participant, ParticipantSelector, SelectorIntent,
    SelectorKind,
};

impl Conversation {
    /// For each participant, in order, every word that selects exactly it in reads and in writes. Plain
    /// words come first, then those with `:first` and `:last`.
    pub fn selectors(&self) -> Vec<Vec<String>> {
        let purposes = self.participants.iter().map(|one| one.purpose.to_ascii_lowercase());
        let purposes: BTreeSet<_> =
            purposes.filter(|word| ![CUSTOMER, ALL, FIRST].contains(&word.as_str())).collect();
        let words: Vec<_> = [CUSTOMER.to_owned()].into_iter().chain(purposes).collect();
        let plain = words.iter().cloned().chain([FIRST.to_owned()]);
        let positions =
            words.iter().flat_map(|word| [format!("{word}:first"), format!("{word}:last")]);
        let mut found = vec![Vec::new(); self.participants.len()];
        for word in plain.chain(positions) {
            let Ok(selector) = word.parse::<ParticipantSelector>() else { continue };
            let Ok(chosen) = selector.choose(self, SelectorIntent::Write) else { continue };
            let is_chosen = |one: &Participant| one.id == chosen.participant.id;
            // If two participants have the same id, a selector finds the first.
            if let Some(position) = self.participants.iter().position(is_chosen) {
                found[position].push(word);
            }
        }
        found
    }
}

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
