//! Suggestions for misspelt words: "did you mean …?".

/// Most edits in a misspelt long word.
const MAX_EDITS: usize = 2;

/// The known word that `word` is most likely a misspelling of.
///
/// The comparison ignores case, so a word that differs only in case comes first. Two swapped letters
/// count as one edit. A short word needs a closer match, because every word of two letters is within
/// two edits of every other.
pub fn closest_word<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = folded(word);
    let length = folded.chars().count();
    known
        .into_iter()
        .filter(|known| *known != word && known.chars().count().abs_diff(length) <= MAX_EDITS)
        .map(|known| (strsim::damerau_levenshtein(&folded, &self::folded(known)), known))
        .filter(|(edits, known)| *edits <= allowed_edits(length.max(known.chars().count())))
        .min_by_key(|(edits, known)| (*edits, known.chars().count().abs_diff(length), *known))
        .map(|(_, known)| known)
}

const fn allowed_edits(length: usize) -> usize {
    let third = length / 3;
    if third < MAX_EDITS { third } else { MAX_EDITS }
}

/// Ignores what people mix up most: case, hyphens, underscores and outer spaces.
fn folded(word: &str) -> String {
    word.trim().to_lowercase().replace(['-', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_counts_once_and_case_not_at_all() {
        let parameters = ["key", "keys", "participant", "dryRun", "view"];
        for (slip, meant) in [
            ("kyes", Some("keys")),
            ("kye", Some("key")),
            ("dryrun", Some("dryRun")),
            ("dry-run", Some("dryRun")),
            ("particpiant", Some("participant")),
            ("participants", Some("participant")),
            ("veiw", Some("view")),
            ("x", None),
            ("me", None),
            ("purpose", None),
        ] {
            assert_eq!(closest_word(slip, parameters), meant, "{slip}");
        }
    }

    #[test]
    fn the_word_in_another_case_precedes_a_similar_one() {
        let keys = ["tier", "Tiers", "TIE", "a", "b"];
        assert_eq!(closest_word("Tier", keys), Some("tier"));
        assert_eq!(closest_word(" tier", keys), Some("tier"));
        assert_eq!(closest_word("A", keys), Some("a"));
        assert_eq!(closest_word("c", keys), None);
    }
}
