//! The reverse direction: which words select a participant.

use std::collections::BTreeMap;

use super::{
    CUSTOMER, Conversation, EXTERNAL, FIRST, MAX_WORD_BYTES, Participant, ParticipantId,
    ParticipantResolution, SelectionRule, SelectorPosition, among,
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
        let mut found = SelectorWords::new(self);
        let customers = by_purpose.get(CUSTOMER).or_else(|| by_purpose.get(EXTERNAL));
        let named = by_purpose.iter().filter(|(word, _)| is_word(word) && *word != CUSTOMER);
        let named = named.map(|(word, matching)| (word.as_str(), matching));
        let words: Vec<_> =
            customers.map(|customers| (CUSTOMER, customers)).into_iter().chain(named).collect();
        for (word, matching) in &words {
            found.note((*word).to_owned(), among(matching, None, SelectionRule::Purpose).as_ref());
        }
        found.note(FIRST.to_owned(), super::first(&self.participants).as_ref());
        for (word, matching) in &words {
            for (suffix, position) in
                [(":first", SelectorPosition::First), (":last", SelectorPosition::Last)]
            {
                let choice = among(matching, Some(position), SelectionRule::Position);
                found.note(format!("{word}{suffix}"), choice.as_ref());
            }
        }
        found.words
    }
}

/// Whether this purpose is a valid selector that has no other meaning.
fn is_word(purpose: &str) -> bool {
    let letters = purpose.bytes().all(|byte| byte.is_ascii_alphabetic());
    let length = (1..=MAX_WORD_BYTES).contains(&purpose.len());
    letters && length && purpose != "all" && purpose != FIRST
}

/// The words of each participant.
struct SelectorWords {
    positions: BTreeMap<ParticipantId, usize>,
    words: Vec<Vec<String>>,
}

impl SelectorWords {
    fn new(conversation: &Conversation) -> Self {
        let positions = conversation.participants.iter().enumerate();
        // If two participants have the same id, a selector finds the first.
        let positions =
            positions.rev().map(|(position, participant)| (participant.id, position)).collect();
        Self { positions, words: vec![Vec::new(); conversation.participants.len()] }
    }

    fn note(&mut self, word: String, choice: Option<&ParticipantResolution<'_>>) {
        if let Some(Ok(chosen)) = choice
            && let Some(position) = self.positions.get(&chosen.participant.id)
        {
            self.words[*position].push(word);
        }
    }
}
