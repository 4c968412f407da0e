//! Removes the values that we sent from upstream's messages. The messages go to clients and logs, and
//! values are personal data.
//!
//! Exact copies of a value are cut out. Upstream may also shorten a value, change its case, or escape
//! it as HTML, JSON or a URL. So the rest is decoded and compared once more. If it still shares
//! anything with a value, the whole message is withheld.

mod plain;

use std::collections::HashSet;

use serde::Deserialize;
use serde::de::Deserializer;

use self::plain::{bare, folded, readings};

/// Replaces a value.
const CUT: &str = "[value removed]";
/// Replaces a message that could not be cleaned.
const WITHHELD: &str = "(message withheld: it seems to repeat a value)";
/// Longest message that is passed on, in characters: about a paragraph.
const MAX_MESSAGE_CHARS: usize = 500;
/// Only this many characters of a message are read.
const MAX_READ_CHARS: usize = 4 * MAX_MESSAGE_CHARS;
/// Longest code that is passed on. Genesys' own codes are shorter.
const MAX_CODE_BYTES: usize = 64;
/// Shorter values are cut only as whole words. `1` or `no` inside a word is a coincidence, and
/// cutting it would make the message unreadable.
const MIN_WORD_BYTES: usize = 4;
/// This many equal bytes in a row are no coincidence.
const MIN_MATCH_BYTES: usize = 8;

/// Returns `message` without the values in `sent`.
pub fn without_values(message: &str, sent: &[&str]) -> String {
    let mut values: Vec<&str> = sent.iter().copied().filter(|value| !value.is_empty()).collect();
    // Cut longer values first: one value may contain another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let mut text: String = message.chars().take(MAX_READ_CHARS).collect();
    for value in &values {
        text = cut(&text, value);
        let escaped = serde_json::to_string(value).unwrap_or_default();
        let inside = escaped.len().saturating_sub(1).max(1);
        let escaped = escaped.get(1..inside).unwrap_or_default();
        if escaped != *value {
            text = cut(&text, escaped);
        }
    }
    if ValueIndex::new(&values).occur_in(&text.replace(CUT, "\n")) {
        return WITHHELD.to_owned();
    }
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Whether a short text, such as a code, shares anything with the values in `sent`.
pub fn repeats_a_value(text: &str, sent: &[&str]) -> bool {
    let values: Vec<&str> = sent.iter().copied().filter(|value| !value.is_empty()).collect();
    ValueIndex::new(&values).occur_in(text)
}

/// Reads a code, which goes into answers unchanged. A string that does not look like a code is
/// ignored.
pub fn code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let code = Option::<String>::deserialize(deserializer)?;
    let looks_like_one = |code: &String| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        code.len() <= MAX_CODE_BYTES && code.bytes().all(known)
    };
    Ok(code.filter(looks_like_one))
}

/// The parts of values that show a repetition.
struct ValueIndex {
    /// All runs of [`MIN_MATCH_BYTES`] bytes of long values.
    rows: HashSet<[u8; MIN_MATCH_BYTES]>,
    /// Shorter values as a whole.
    whole: Vec<String>,
    /// Very short values, which count only as whole words.
    alone: Vec<String>,
}

impl ValueIndex {
    fn new(values: &[&str]) -> Self {
        let (mut rows, mut whole, mut alone) = (HashSet::new(), Vec::new(), Vec::new());
        // With and without punctuation: upstream may repeat a number with other dashes.
        for form in values.iter().flat_map(|value| [folded(value), bare(&folded(value))]) {
            match form.len() {
                0 => {}
                1..MIN_WORD_BYTES => alone.push(form),
                MIN_WORD_BYTES..MIN_MATCH_BYTES => whole.push(form),
                _ => rows.extend(form.as_bytes().windows(MIN_MATCH_BYTES).map(row)),
            }
        }
        Self { rows, whole, alone }
    }

    fn occur_in(&self, text: &str) -> bool {
        readings(text).iter().any(|reading| {
            let reading = folded(reading);
            self.occur_in_part(&reading)
                || self.occur_in_part(&bare(&reading))
                || self.occur_as_words(&reading)
        })
    }

    fn occur_in_part(&self, reading: &str) -> bool {
        reading.as_bytes().windows(MIN_MATCH_BYTES).any(|found| self.rows.contains(&row(found)))
            || self.whole.iter().any(|value| reading.contains(value.as_str()))
    }

    fn occur_as_words(&self, reading: &str) -> bool {
        let in_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        self.alone.iter().any(|value| {
            reading.match_indices(value.as_str()).any(|(at, _)| {
                let (before, after) = (&reading[..at], &reading[at + value.len()..]);
                !in_word(before.chars().next_back()) && !in_word(after.chars().next())
            })
        })
    }
}

fn row(bytes: &[u8]) -> [u8; MIN_MATCH_BYTES] {
    std::array::from_fn(|at| bytes[at])
}

/// Returns `text` without these secrets, shortened, in printable ASCII: OAuth allows nothing else
/// there (RFC 6749, section 5.2), and it is safe in a terminal.
pub fn without_secrets(text: &str, secrets: &[&str]) -> String {
    let secrets = secrets.iter().filter(|secret| !secret.is_empty());
    let text = secrets.fold(text.to_owned(), |text, secret| text.replace(*secret, CUT));
    // Replace other characters one by one, so that separate parts are not joined.
    let shown = |character: char| if matches!(character, ' '..='~') { character } else { '?' };
    text.chars().map(shown).take(MAX_MESSAGE_CHARS).collect()
}

/// Returns `text` with the value cut out, ignoring the case of ASCII letters.
fn cut(text: &str, value: &str) -> String {
    // Changing the case of ASCII letters keeps all positions.
    let (folded, value) = (text.to_ascii_lowercase(), value.to_ascii_lowercase());
    if value.is_empty() {
        return text.to_owned();
    }
    let mut kept = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in folded.match_indices(&value) {
        let (before, after) = (&text[..at], &text[at + value.len()..]);
        let in_word = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        let alone = !in_word(before.chars().next_back()) && !in_word(after.chars().next());
        if alone || value.len() >= MIN_WORD_BYTES {
            kept.push_str(&text[done..at]);
            kept.push_str(CUT);
            done = at + value.len();
        }
    }
    kept.push_str(&text[done..]);
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
    fn a_short_value_is_cut_as_a_whole_word() {
        let text = without_values("value no is not known: no", &["no"]);
        assert_eq!(text, "value [value removed] is not known: [value removed]");
    }

    #[test]
    fn a_value_inside_a_longer_one_leaves_nothing() {
        let text = without_values("got 4111-1111-secret", &["1111", "4111-1111-secret"]);
        assert_eq!(text, "got [value removed]");
    }

    #[test]
    fn secrets_and_control_characters_do_not_pass() {
        let text = without_secrets("no\u{7}pe: hunter2 (aGk=)", &["hunter2", "aGk=", ""]);
        assert_eq!(text, "no?pe: [value removed] ([value removed])");
        let text = without_secrets("hun\u{7}ter2 hun\u{200b}ter2 \u{202e}ü\u{1b}[2J", &["hunter2"]);
        assert_eq!(text, "hun?ter2 hun?ter2 ???[2J");
        assert_eq!(without_secrets(&"é".repeat(900), &[]), "?".repeat(MAX_MESSAGE_CHARS));
    }

    #[test]
    fn a_string_that_does_not_look_like_a_code_is_ignored() {
        let code = |text: &str| super::super::ErrorBody::parse(text.as_bytes()).code;
        assert_eq!(code(r#"{"code":"bad.request"}"#).as_deref(), Some("bad.request"));
        assert_eq!(code(r#"{"code":"value `CRM 1` is bad"}"#), None);
        assert_eq!(code(r#"{"message":"m"}"#), None);
        assert_eq!(code(&format!(r#"{{"code":"{}"}}"#, "a".repeat(65))), None);
    }

    #[test]
    fn a_message_with_an_altered_value_is_withheld() {
        for (message, value) in [
            ("value 'CRM-9988…' is too long", "CRM-998877"),
            ("no such number: 49 89 123-456", "+49 (89) 123456"),
            ("Tom &amp; Jerry &lt;x&gt; is bad", "Tom & Jerry <x>"),
            ("J&#xFC;rgen M&#252;ller is bad", "Jürgen Müller"),
            ("/x?y=J%C3%BCrgen+M%C3%BCller", "Jürgen Müller"),
            (r"J\u00fcrgen M\u00fcller is bad", "Jürgen Müller"),
            (r"\u004a\u006f\u0065 is bad", "joe"),
            ("value %6A%6F%65 is bad", "joe"),
            ("%2525%3C gold %3E", "<GOLD>"),
            ("王小明… is bad", "王小明先生"),
        ] {
            assert_eq!(without_values(message, &[value]), WITHHELD, "{message}");
            assert!(repeats_a_value(message, &[value]), "{message}");
        }
        assert_eq!(without_values("'crm-1 2' is bad", &["CRM-1 2"]), "'[value removed]' is bad");
        assert_eq!(without_values("GOLDEN", &["gold"]), "[value removed]EN");
        let kept = "The attribute is not known here";
        assert_eq!(without_values(kept, &["gold", "no", "1", "silver attr", ""]), kept);
    }

    #[test]
    fn a_value_longer_than_the_read_limit_does_not_pass() {
        let value = "abcdefghi ".repeat(900);
        assert_eq!(without_values(&format!("bad: {value}"), &[&value]), WITHHELD);
    }

    fn each_as<T>(pieces: Vec<T>, write: impl Fn(T) -> String) -> String {
        pieces.into_iter().map(write).collect::<Vec<_>>().concat()
    }

    /// A value as upstream may repeat it.
    fn repeated(value: &str, how: usize) -> String {
        let each = |write: &dyn Fn(char) -> String| value.chars().map(write).collect::<String>();
        let utf8 = |c: char| c.to_string().into_bytes();
        match how {
            0 => value.to_owned(),
            1 => value.to_uppercase(),
            2 => value.to_lowercase(),
            3 => each(&|c| format!("&#{};", u32::from(c))),
            4 => each(&|c| format!("&#x{:x};", u32::from(c))),
            5 => each(&|c| each_as(utf8(c), |byte| format!("%{byte:02X}"))),
            6 => each(&|c| {
                each_as(c.encode_utf16(&mut [0; 2]).to_vec(), |unit| format!("\\u{unit:04x}"))
            }),
            7 => value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;"),
            8 => serde_json::to_string(value).expect("text"),
            9 => format!("{}…", value.chars().take(10).collect::<String>()),
            10 => value.replace(' ', "+"),
            11 => value.replace(['-', ' '], ""),
            _ => each(&|c| format!("{c:?}").trim_matches('\'').to_owned()),
        }
    }

    proptest! {
        #[test]
        fn no_value_passes_in_any_encoding(
            value in "[A-Za-zäß&<\" 0-9-]{12,24}", first in 0_usize..13, second in 0_usize..13,
            around in "[A-Z (:]{0,9}",
        ) {
            prop_assume!(bare(&value).len() >= 12);
            let written = repeated(&repeated(&value, first), second);
            let message = format!("{around}{written}{around}");
            let cleaned = without_values(&message, &[&value]);
            // In no reading are eight letters of the value left in a row.
            let shown: Vec<_> = readings(&cleaned).iter().map(|text| bare(&folded(text))).collect();
            let own = bare(&folded(&value));
            let own: Vec<char> = own.chars().collect();
            for part in own.windows(8).map(|part| part.iter().collect::<String>()) {
                prop_assert!(!shown.iter().any(|text| text.contains(&part)), "{cleaned}");
            }
        }

        #[test]
        fn no_value_of_four_or_more_characters_passes(value in "[a-z0-9]{4,12}", around in "[A-Z ]{0,9}") {
            let message = format!("{around}{value}{around}");
            prop_assert!(!without_values(&message, &[&value]).contains(&value));
        }

        #[test]
        fn nothing_panics(message in "(.|[%&#;\\\\ux0-9]){0,60}", value in ".{0,16}") {
            let _ = without_values(&message, &[&value]);
        }
    }
}
