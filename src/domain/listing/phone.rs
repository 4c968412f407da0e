//! Telephone numbers as people, CRM systems and switches write them.

use std::fmt;
use std::str::FromStr;

/// Longest number: the 15 digits of E.164, plus extensions and national prefixes.
const MAX_DIGITS: usize = 32;

/// Schemes of URIs that contain a number.
const SCHEMES: [&str; 4] = ["tel:", "sips:", "sip:", "callto:"];

/// What begins the part after a number: a host, a password, parameters or an extension.
const SUFFIXES: [&str; 8] = ["@", ":", ";", ",", "?", "#", "ext", "x"];

/// A telephone number without separators. It is personal data, so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a telephone number: use 1 to 32 digits, preferably with country code, such as `+15550100111`"
)]
pub struct InvalidNumber;

impl FromStr for PhoneNumber {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.replace("%2b", "+").replace("%20", " ");
        // SIP headers use `"Ann" <sip:+15550100111@host>`.
        let inner = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let text = inner.map_or(text.as_str(), |(inner, _)| inner);
        let scheme = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme));
        let text = scheme.unwrap_or(text).trim_start_matches('/');
        let end = SUFFIXES.iter().filter_map(|suffix| text.find(suffix)).min();
        let number = without_separators(&text[..end.unwrap_or(text.len())]);
        // The `(0)` of `+44 (0)20` is dialled only inside the country.
        let number = match number.split_once("(0)") {
            Some((before, after)) if !before.is_empty() => [before, after].concat(),
            _ => number,
        };
        let number = number.replace(['(', ')'], "");
        let plus = number.strip_prefix(['+', '\u{ff0b}']);
        // `+00` has a redundant `+`.
        let international = plus.unwrap_or(&number).strip_prefix("00").or(plus);
        let digits = international.unwrap_or(&number);
        let only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        if !only_digits || !(1..=MAX_DIGITS).contains(&digits.len()) {
            return Err(InvalidNumber);
        }
        Ok(Self(format!("{}{digits}", if international.is_some() { "+" } else { "" })))
    }
}

/// Drops spaces, hyphens, dots, slashes, and invisible marks from a copied number. Brackets are dropped
/// later, because `(0)` has a meaning.
fn without_separators(text: &str) -> String {
    let is_separator = |character: char| {
        character.is_whitespace()
            || matches!(
                character,
                '-' | '.' | '/' | '\u{2010}'..='\u{2015}' | '\u{2212}'
                    | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
                    | '\u{feff}'
            )
    };
    text.replace(is_separator, "")
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

impl PhoneNumber {
    /// The number, with `+` if it has a country code.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is known to have a country code.
    pub fn has_country_code(&self) -> bool {
        self.0.starts_with('+')
    }

    /// The spellings that upstream may use: with and without `tel:`, and with a `+` if it is missing.
    pub fn spellings(&self) -> Vec<String> {
        let mut numbers = vec![self.0.clone()];
        // A country code never begins with 0.
        if !self.0.starts_with(['+', '0']) {
            numbers.insert(0, format!("+{}", self.0));
        }
        numbers.into_iter().flat_map(|number| [format!("tel:{number}"), number]).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_read_however_it_is_written() {
        for text in [
            "+15550100111",
            "0015550100111",
            "00 1 555 010-0111",
            "+0015550100111",
            "tel:+15550100111",
            "TEL:+1 (555) 010-0111",
            "+1.555.0100111",
            "(+1) 555/010/0111",
            "+1\u{a0}555\u{2011}010\u{2013}0111",
            "\u{202a}+15550100111\u{202c}",
            "\u{ff0b}15550100111",
            "tel:+15550100111;ext=105",
            "tel:+1-555-010-0111;phone-context=example.com;x=y",
            "tel:%2B15550100111",
            "tel://+15550100111",
            "callto:+15550100111",
            "sip:+15550100111@host",
            "SIP:+15550100111@host:5060;user=phone?subject=x",
            "sips:+15550100111;phone-context=+1@host.example",
            "sip:+15550100111:secret@host",
            "sip:%2b15550100111@[2001:db8::1]",
            "\"Ann\" <sip:+15550100111@host>;tag=1",
            "+15550100111@host",
            "+1 555 010 0111 ext. 105",
            "+1 555 010 0111 x105",
            "+15550100111,,105#",
            "+1 (0) 555 010 0111",
            "+1(0)5550100111",
        ] {
            let number: PhoneNumber = text.parse().expect(text);
            assert_eq!(number.expose(), "+15550100111", "{text}");
            assert!(number.has_country_code());
            assert_eq!(number.spellings(), ["tel:+15550100111", "+15550100111"]);
        }
        let london: PhoneNumber = "+44 (0)20 7946 0018".parse().expect("a number");
        assert_eq!(london.expose(), "+442079460018");
        let german: PhoneNumber = "0049 (0) 30 / 901820".parse().expect("a number");
        assert_eq!(german.expose(), "+4930901820");
    }

    #[test]
    fn a_number_without_a_country_code_is_kept_as_given() {
        for (text, digits) in [
            ("15550100111", "15550100111"),
            ("(555) 010-0111", "5550100111"),
            ("sip:5550100111@host", "5550100111"),
            ("020 7946 0018", "02079460018"),
            ("(020) 7946 0018", "02079460018"),
            ("(0)20 7946 0018", "02079460018"),
            ("105", "105"),
        ] {
            let number: PhoneNumber = text.parse().expect(text);
            assert_eq!(number.expose(), digits, "{text}");
            assert!(!number.has_country_code(), "{text}");
        }
        let bare: PhoneNumber = "15550100111".parse().expect("a number");
        let all = ["tel:+15550100111", "+15550100111", "tel:15550100111", "15550100111"];
        assert_eq!(bare.spellings(), all);
        assert!(!format!("{bare:?}").contains("555"));
        let national: PhoneNumber = "02079460018".parse().expect("a number");
        assert_eq!(national.spellings(), ["tel:02079460018", "02079460018"]);
    }

    #[test]
    fn text_that_is_not_a_number_is_refused() {
        let long = "1".repeat(MAX_DIGITS + 1);
        for text in [
            "",
            "+",
            "00",
            "tel:",
            "sip:a@b",
            "+1+2",
            "12a",
            "٣",
            "tel:tel:1",
            "té",
            "sip:@host",
            "ext 105",
            ";ext=1",
            long.as_str(),
        ] {
            assert_eq!(text.parse::<PhoneNumber>(), Err(InvalidNumber), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,40}|[+()0-9 <>@:;x-]{0,40}") {
            let _ = text.parse::<PhoneNumber>();
        }

        #[test]
        fn parsing_is_idempotent(text in "[+()0-9 ./-]{1,20}") {
            if let Ok(number) = text.parse::<PhoneNumber>() {
                prop_assert_eq!(number.expose().parse(), Ok(number.clone()));
            }
        }
    }
}
