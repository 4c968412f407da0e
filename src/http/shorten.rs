//! Shortens names that a client sent, before an answer repeats them.

/// A name that an answer repeats, cut to 160 characters.
pub(super) fn shortened(name: &str) -> String {
    shortened_to(name, 160)
}

/// The text, or its beginning and end with `…` between them. Long keys mostly differ at their end.
pub(super) fn shortened_to(text: &str, max: usize) -> String {
    let (count, end) = (text.chars().count(), max / 3);
    if count <= max {
        return text.to_owned();
    }
    let (first, last) = (text.chars().take(max - end), text.chars().skip(count - end));
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
