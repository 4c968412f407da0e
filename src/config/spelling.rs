//! Suggestions for misspelt words.

use strsim::damerau_levenshtein;

/// The candidate that `word` probably misspells. Letter case does not matter, and two swapped
/// letters count as one mistake.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let farthest = match lower.chars().count() {
        0..=3 => 1,
        4..=11 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= farthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Appends the likely word to a message.
pub(super) fn with_likely(message: &str, likely: Option<&str>) -> String {
    match likely {
        Some(likely) => format!("{message}; did you mean `{likely}`?"),
        None => message.to_owned(),
    }
}

/// The name of an unknown key or variable, fit for one line of a message.
pub(super) fn printable(name: &str) -> String {
    name.replace(char::is_control, "?")
}
