//! Patterns for attribute keys, such as `crm_*`.

use std::fmt;
use std::str::FromStr;

const MAX_PATTERN_BYTES: usize = 256;

/// The only wildcard: it matches any text, including the empty text. It cannot be escaped.
const ANY: char = '*';

/// A text in which `*` matches any text. Patterns are case-sensitive, like keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("the pattern is empty")]
    Empty,
    #[error("the pattern contains a control character")]
    Control,
    #[error("the pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    Long,
}

impl KeyPattern {
    /// Whether the pattern matches the key. Each part between wildcards is searched once, after the
    /// previous part, so there is no backtracking.
    pub fn matches(&self, key: &str) -> bool {
        let Some((head, rest)) = self.0.split_once(ANY) else { return *self.0 == *key };
        let Some(key) = key.strip_prefix(head) else { return false };
        let (middle, tail) = rest.rsplit_once(ANY).unwrap_or(("", rest));
        let Some(mut key) = key.strip_suffix(tail) else { return false };
        // The leftmost match leaves the longest rest for the following parts.
        for part in middle.split(ANY) {
            let Some(at) = key.find(part) else { return false };
            key = &key[at + part.len()..];
        }
        true
    }

    /// Whether the pattern matches every key.
    pub fn matches_all(&self) -> bool {
        self.0.chars().all(|character| character == ANY)
    }
}

impl FromStr for KeyPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(InvalidPattern::Long);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidPattern::Control);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, key: &str) -> bool {
        pattern.parse::<KeyPattern>().expect("a pattern").matches(key)
    }

    #[test]
    fn a_star_matches_any_text_and_other_characters_themselves() {
        for (pattern, key, expected) in [
            ("crm_*", "crm_", true),
            ("crm_*", "crm_id", true),
            ("crm_*", "xcrm_id", false),
            ("crm_*", "CRM_id", false),
            ("*_id", "crm_id", true),
            ("*_id", "crm_id_", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*bc*", "abc", true),
            ("**", "", true),
            ("tier", "tier", true),
            ("tier", "tier ", false),
            ("a?", "ab", false),
            ("Zo*", "Zoë", true),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn texts_that_match_no_key_are_not_patterns() {
        let parsed = |text: &str| text.parse::<KeyPattern>().map(|pattern| pattern.to_string());
        assert_eq!(parsed(""), Err(InvalidPattern::Empty));
        assert_eq!(parsed("a\n"), Err(InvalidPattern::Control));
        assert_eq!(parsed(&"x".repeat(MAX_PATTERN_BYTES + 1)), Err(InvalidPattern::Long));
        assert_eq!(parsed(" a *"), Ok(" a *".to_owned()));
    }

    /// Tries every text that a star can match.
    fn naive(pattern: &[char], key: &[char]) -> bool {
        match pattern.split_first() {
            None => key.is_empty(),
            Some((&ANY, rest)) => (0..=key.len()).any(|skipped| naive(rest, &key[skipped..])),
            Some((first, rest)) => key.first() == Some(first) && naive(rest, &key[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_plain_search_matches(
            pattern in "[ab*é]{1,8}", key in "[abé]{0,10}",
        ) {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = naive(&letters(&pattern), &letters(&key));
            prop_assert_eq!(matches(&pattern, &key), expected);
        }

        #[test]
        fn only_stars_match_all(pattern in "[a*]{1,4}", key in "[ab]{0,6}") {
            let parsed: KeyPattern = pattern.parse().expect("a pattern");
            prop_assert_eq!(parsed.matches_all(), !pattern.contains('a'));
            prop_assert!(!parsed.matches_all() || parsed.matches(&key));
        }
    }
}
