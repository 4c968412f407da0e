//! Cuts values that we sent out of messages that upstream sends back: they go to callers and
//! logs, and a value is personal data.

use serde::Deserialize;
use serde::de::Deserializer;

/// What stands in the place of a value.
const CUT: &str = "[value removed]";
/// Longest message passed on, in characters: a sentence, not a document.
const LONGEST_MESSAGE: usize = 500;
/// Longest code passed on: Genesys' own are below.
const LONGEST_CODE: usize = 100;
/// Values shorter than this are only cut where they stand alone: `1` or `no` inside a word is
/// chance, and cutting it would make the message unreadable.
const SHORT: usize = 4;

/// `message` without the values that were `sent`, as text and as JSON would write them.
pub fn without_values(message: &str, sent: &[&str]) -> String {
    let mut values = sent.to_vec();
    // A value may contain another one: the longer goes first, so that nothing of it is left.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let mut text = message.to_owned();
    for value in values {
        text = cut(&text, value);
        let escaped = serde_json::to_string(value).unwrap_or_default();
        let inside = escaped.len().saturating_sub(1).max(1);
        let escaped = escaped.get(1..inside).unwrap_or_default();
        if escaped != value {
            text = cut(&text, escaped);
        }
    }
    text.chars().take(LONGEST_MESSAGE).collect()
}

/// A code goes into answers as it is: what does not look like one is none.
pub fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let code = Option::<String>::deserialize(deserializer)?;
    let looks_like_one = |code: &String| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        code.len() <= LONGEST_CODE && code.bytes().all(known)
    };
    Ok(code.filter(looks_like_one))
}

/// `text` without these secrets, as a short sentence of printable ASCII: what OAuth allows there (RFC
/// 6749, section 5.2), and what a terminal shows as what it is.
pub fn without_secrets(text: &str, secrets: &[&str]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    let text = secrets.fold(text.to_owned(), |text, secret| text.replace(*secret, CUT));
    // One takes the place of another, so that nothing is joined that stood apart.
    let shown = |character: char| if matches!(character, ' '..='~') { character } else { '?' };
    text.chars().map(shown).take(LONGEST_MESSAGE).collect()
}

fn cut(text: &str, value: &str) -> String {
    if value.is_empty() {
        return text.to_owned();
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(value) {
        let (before, found) = rest.split_at(at);
        let after = &found[value.len()..];
        let in_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        let alone = !in_word(before.chars().next_back()) && !in_word(after.chars().next());
        kept.push_str(before);
        kept.push_str(if alone || value.len() >= SHORT { CUT } else { value });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_is_cut_out_plain_and_escaped() {
        let message = r#"value 'line "1"' or "line \"1\"" is not allowed"#;
        let text = without_values(message, &[r#"line "1""#]);
        assert_eq!(text, r#"value '[value removed]' or "[value removed]" is not allowed"#);
    }

    #[test]
    fn a_short_value_is_cut_where_it_stands_alone() {
        let text = without_values("value no is not known: no", &["no"]);
        assert_eq!(text, "value [value removed] is not known: [value removed]");
    }

    #[test]
    fn a_value_inside_a_longer_one_leaves_nothing_of_it() {
        let text = without_values("got 4111-1111-secret", &["1111", "4111-1111-secret"]);
        assert_eq!(text, "got [value removed]");
    }

    #[test]
    fn secrets_and_control_characters_do_not_pass() {
        let text = without_secrets("no\u{7}pe: hunter2 (aGk=)", &["hunter2", "aGk=", ""]);
        assert_eq!(text, "no?pe: [value removed] ([value removed])");
        let text = without_secrets("hun\u{7}ter2 hun\u{200b}ter2 \u{202e}ü\u{1b}[2J", &["hunter2"]);
        assert_eq!(text, "hun?ter2 hun?ter2 ???[2J");
        assert_eq!(without_secrets(&"é".repeat(900), &[]), "?".repeat(LONGEST_MESSAGE));
    }

    #[test]
    fn what_does_not_look_like_a_code_is_none() {
        let code = |text: &str| super::super::ErrorBody::parse(text.as_bytes()).code;
        assert_eq!(code(r#"{"code":"bad.request"}"#).as_deref(), Some("bad.request"));
        assert_eq!(code(r#"{"code":"value `CRM 1` is bad"}"#), None);
        assert_eq!(code(r#"{"message":"m"}"#), None);
    }

    proptest! {
        #[test]
        fn no_value_of_some_length_survives(value in "[a-z0-9]{4,12}", around in "[A-Z ]{0,9}") {
            let message = format!("{around}{value}{around}");
            prop_assert!(!without_values(&message, &[&value]).contains(&value));
        }

        #[test]
        fn nothing_panics(message in ".{0,60}", value in ".{0,6}") {
            let _ = without_values(&message, &[&value]);
        }
    }
}
