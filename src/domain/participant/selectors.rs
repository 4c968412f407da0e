//! The other way round: which words choose a participant.

use std::collections::BTreeMap;

use super::{
    CUSTOMER, Conversation, EXTERNAL, FIRST, MAX_WORD_BYTES, Participant, ParticipantId,
    ParticipantResolution, SelectionRule, SelectorPosition, among,
};

impl Conversation {
    /// For each participant, in order, every word that means exactly it, in a read as in a write:
    /// the plain words first, then those with `:first` and `:last`.
    pub fn selectors(&self) -> Vec<Vec<String>> {
        // Grouped once: a conversation may have many participants, and each a purpose of its own.
        let mut bearers: BTreeMap<String, Vec<&Participant>> = BTreeMap::new();
        for participant in &self.participants {
            let word = participant.purpose.to_ascii_lowercase();
            bearers.entry(word).or_default().push(participant);
        }
        let mut found = SelectorWords::new(self);
        let callers = bearers.get(CUSTOMER).or_else(|| bearers.get(EXTERNAL));
        let named = bearers.iter().filter(|(word, _)| is_word(word) && *word != CUSTOMER);
        let named = named.map(|(word, bearers)| (word.as_str(), bearers));
        let words: Vec<_> =
            callers.map(|callers| (CUSTOMER, callers)).into_iter().chain(named).collect();
        for (word, bearers) in &words {
            found.note((*word).to_owned(), among(bearers, None, SelectionRule::Purpose).as_ref());
        }
        found.note(FIRST.to_owned(), super::first(&self.participants).as_ref());
        for (word, bearers) in &words {
            for (suffix, position) in
                [(":first", SelectorPosition::First), (":last", SelectorPosition::Last)]
            {
                let choice = among(bearers, Some(position), SelectionRule::Position);
                found.note(format!("{word}{suffix}"), choice.as_ref());
            }
        }
        found.words
    }
}

/// Whether a client can write this, and mean a purpose by it.
fn is_word(purpose: &str) -> bool {
    let letters = purpose.bytes().all(|byte| byte.is_ascii_alphabetic());
    let length = (1..=MAX_WORD_BYTES).contains(&purpose.len());
    letters && length && purpose != "all" && purpose != FIRST
}

/// The words of each participant.
struct SelectorWords {
    places: BTreeMap<ParticipantId, usize>,
    words: Vec<Vec<String>>,
}

impl SelectorWords {
    fn new(conversation: &Conversation) -> Self {
        let places = conversation.participants.iter().enumerate();
        // Of two with one id, the first is the one that a selector finds.
        let places = places.rev().map(|(place, participant)| (participant.id, place)).collect();
        Self { places, words: vec![Vec::new(); conversation.participants.len()] }
    }

    fn note(&mut self, word: String, choice: Option<&ParticipantResolution<'_>>) {
        if let Some(Ok(chosen)) = choice
            && let Some(place) = self.places.get(&chosen.participant.id)
        {
            self.words[*place].push(word);
        }
    }
}
