//! Shortens names that a client sent, before an answer repeats them.

/// Characters kept at the beginning of a long name.
const START: usize = 100;

/// Characters kept at its end, where long keys mostly differ.
const END: usize = 60;

/// The name as it is, or with `…` for the middle of a very long one.
pub(super) fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= START + END {
        return name.to_owned();
    }
    let (first, last) = (name.chars().take(START), name.chars().skip(count - END));
    first.chain(['…']).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_whole_or_cut_in_its_middle() {
        let key = "conversationDetails.participantData.Account Number";
        assert_eq!(shortened(key), key);
        let (one, two) = ("k".repeat(300) + "one", "k".repeat(300) + "two");
        assert!(shortened(&one).contains('…') && shortened(&one).ends_with("one"));
        assert_ne!(shortened(&one), shortened(&two));
    }
}
