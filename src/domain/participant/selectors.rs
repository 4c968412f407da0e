//! The reverse direction: which words select a participant.

use std::collections::BTreeMap;

use super::{
    ALL, CUSTOMER, Conversation, EXTERNAL, FIRST, Participant, ParticipantId,
    ParticipantResolution, SelectionRule, SelectorPosition, among, is_word,
};

impl Conversation {
    /// For each participant, in order, every word that selects exactly it in reads and in writes. Plain
    /// words come first, then those with `:first` and `:last`.
    pub fn selectors(&self) -> Vec<Vec<String>> {
        // Grouped once, because a conversation may have many participants and purposes.
        let mut by_purpose: BTreeMap<String, Vec<&Participant>> = BTreeMap::new();
        for participant in &self.participants {
            let word = participant.purpose.to_ascii_lowercase();
            by_purpose.entry(word).or_default().push(participant);
        }
        let customers = by_purpose.get(CUSTOMER).or_else(|| by_purpose.get(EXTERNAL));
        let named = by_purpose.iter().map(|(word, matching)| (word.as_str(), matching));
        let named =
            named.filter(|(word, _)| is_word(word) && ![CUSTOMER, ALL, FIRST].contains(word));
        let customers = customers.map(|customers| (CUSTOMER, customers));
        let words: Vec<_> = customers.into_iter().chain(named).collect();

        // If two participants have the same id, a selector finds the first.
        let positions = self.participants.iter().enumerate().rev();
        let positions: BTreeMap<ParticipantId, usize> =
            positions.map(|(position, participant)| (participant.id, position)).collect();
        let mut found = vec![Vec::new(); self.participants.len()];
        let mut note = |word: String, choice: Option<ParticipantResolution<'_>>| {
            if let Some(Ok(chosen)) = choice {
                found[positions[&chosen.participant.id]].push(word);
            }
        };
        for (word, matching) in &words {
            note((*word).to_owned(), among(matching, None, SelectionRule::Purpose));
        }
        note(FIRST.to_owned(), super::first(&self.participants));
        for (word, matching) in &words {
            for position in [SelectorPosition::First, SelectorPosition::Last] {
                let choice = among(matching, Some(position), SelectionRule::Position);
                note(format!("{word}:{}", position.as_str()), choice);
            }
        }
        found
    }
}
