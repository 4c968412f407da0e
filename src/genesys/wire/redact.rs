//! Keeps the values that we sent out of upstream's messages. The messages go to clients and logs, and
//! values are personal data.

/// Longest message that is passed on, in characters: about a paragraph.
const MAX_MESSAGE_CHARS: usize = 500;
/// Longest code that is passed on. Genesys' own codes are shorter.
const MAX_CODE_BYTES: usize = 64;
/// A shorter value, such as `1` or `no`, occurs in a message by coincidence.
const MIN_VALUE_BYTES: usize = 4;

/// Returns `text`, shortened, unless one of the values in `sent` occurs in it in any case.
pub fn without_values(text: &str, sent: &[String]) -> Option<String> {
    let message = folded(text);
    let occurs =
        |value: &String| value.len() >= MIN_VALUE_BYTES && message.contains(&folded(value));
    (!sent.iter().any(occurs)).then(|| text.chars().take(MAX_MESSAGE_CHARS).collect())
}

/// The text in lower case. Upper case comes first, so that `ß` and `SS` become equal.
fn folded(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

/// Returns `text` if it looks like a code, which goes into answers unchanged.
pub fn code(text: &str) -> Option<&str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (text.len() <= MAX_CODE_BYTES && text.bytes().all(known)).then_some(text)
}

/// Returns `text` shortened, and empty if it holds one of these secrets. The result is printable
/// ASCII: OAuth allows nothing else there (RFC 6749, section 5.2), and it is safe in a terminal.
pub fn without_secrets(text: &str, secrets: &[&str]) -> String {
    if secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret)) {
        return String::new();
    }
    let shown = |character: char| if matches!(character, ' '..='~') { character } else { '?' };
    text.chars().map(shown).take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn passed_on(message: &str, sent: &[&str]) -> Option<String> {
        without_values(message, &sent.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_message_that_repeats_a_value_is_withheld() {
        for (message, value) in [
            ("value 'CRM-9988' is too long", "CRM-9988"),
            ("'crm-1 2' is bad", "CRM-1 2"),
            ("GOLDEN is bad", "gold"),
            ("STRASSE is bad", "straße"),
        ] {
            assert_eq!(passed_on(message, &["other", value]), None, "{message}");
        }
    }

    #[test]
    fn short_and_empty_values_withhold_nothing() {
        let message = "The attribute is not known here";
        assert_eq!(passed_on(message, &["gold", "no", "1", ""]).as_deref(), Some(message));
        assert_eq!(passed_on(&"é".repeat(900), &[]), Some("é".repeat(MAX_MESSAGE_CHARS)));
    }

    #[test]
    fn secrets_and_control_characters_do_not_pass() {
        for text in ["nope: hunter2", "nope: aGk="] {
            assert_eq!(without_secrets(text, &["hunter2", "aGk=", ""]), "");
        }
        assert_eq!(without_secrets("\u{202e}ü\u{1b}[2J", &["hunter2"]), "???[2J");
        assert_eq!(without_secrets(&"é".repeat(900), &[]), "?".repeat(MAX_MESSAGE_CHARS));
    }

    #[test]
    fn a_string_that_does_not_look_like_a_code_is_ignored() {
        assert_eq!(code("bad.request"), Some("bad.request"));
        assert_eq!(code("value `CRM 1` is bad"), None);
        assert_eq!(code(&"a".repeat(65)), None);
    }

    proptest! {
        #[test]
        fn no_value_of_four_or_more_bytes_passes(value in ".{4,12}", around in ".{0,9}") {
            let message = format!("{around}{value}{around}");
            prop_assert_eq!(passed_on(&message, &[&value]), None);
            prop_assert_eq!(passed_on(&message.to_uppercase(), &[&value]), None);
        }
    }
}
