//! Strict percent-decoding (RFC 3986, section 2.1). Malformed escapes and invalid UTF-8 are errors:
//! a guess could address another key.

/// The text of a path segment.
pub(super) fn decoded_step(step: &str) -> Option<String> {
    decoded(step, b'+')
}

/// The text of a name or value in a query, where `+` is a space.
pub(super) fn decoded_query(part: &str) -> Option<String> {
    decoded(part, b' ')
}

fn decoded(text: &str, plus: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(plus),
            b'%' => bytes.push(hex(rest.next()?)? << 4 | hex(rest.next()?)?),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plus_is_a_space_in_queries_alone() {
        assert_eq!(decoded_step("a+b%20%2B%2f%25").as_deref(), Some("a+b +/%"));
        assert_eq!(decoded_query("a+b%20%2B%2f%25").as_deref(), Some("a b +/%"));
        assert_eq!(decoded_step("é%C3%A9").as_deref(), Some("éé"));
    }

    #[test]
    fn malformed_escapes_and_invalid_utf_8_are_refused() {
        for bad in ["%", "%a", "%zz", "a%2", "%ff", "%C3", "%C3+", "%+1", "%e"] {
            assert_eq!((decoded_step(bad), decoded_query(bad)), (None, None), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_encoding_of_a_text_decodes_to_it(
            text in "\\PC{0,24}", which in any::<u64>(), upper in any::<bool>()
        ) {
            let mut encoded = String::new();
            for (index, character) in text.chars().enumerate() {
                if which >> (index % 64) & 1 == 0 && !"%+".contains(character) {
                    encoded.push(character);
                    continue;
                }
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    let written = if upper {
                        write!(encoded, "%{byte:02X}")
                    } else {
                        write!(encoded, "%{byte:02x}")
                    };
                    written.expect("memory");
                }
            }
            prop_assert_eq!(decoded_step(&encoded), Some(text.clone()));
            prop_assert_eq!(decoded_query(&encoded), Some(text));
        }

        #[test]
        fn no_text_panics(text in "[%0-9a-fA-F+\\x00-\\xff]{0,40}") {
            let _ = (decoded_step(&text), decoded_query(&text));
        }
    }
}
