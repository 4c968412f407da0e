//! JSON that escapes half of a surrogate pair, such as `"\ud83d"` without a second half.
//!
//! RFC 8259 allows this, but Unicode has no such character, and parsers reject the whole document.
//! It occurs if a program cuts a text inside an emoji. This module replaces each half by a marker
//! that every parser accepts, so that the affected strings can be found after parsing.

/// Unicode noncharacters, which no text uses. The first that the document lacks is the marker.
const MARKERS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

const FIRST_HALF: u16 = 0xd800;

/// The first private-use character. After the marker, it and its successors encode the surrogates.
const FIRST_PRIVATE: u32 = 0xe000;

/// A JSON document with markers in place of half surrogates.
#[derive(Clone)]
pub struct MarkedJson {
    text: String,
    marker: char,
}

impl MarkedJson {
    /// `None` if the document contains no half surrogate.
    pub fn new(json: &str) -> Option<Self> {
        half_surrogates(json).next()?;
        let lower = json.to_ascii_lowercase();
        let is_free = |marker: &char| {
            let escape = format!("\\u{:04x}", *marker as u32);
            !json.contains(*marker) && !lower.contains(&escape)
        };
        let marker = MARKERS.into_iter().find(is_free)?;
        let mut text = String::with_capacity(json.len());
        let mut copied = 0;
        for (at, half) in half_surrogates(json) {
            text.push_str(&json[copied..at]);
            text.push(marker);
            let private = FIRST_PRIVATE + u32::from(half - FIRST_HALF);
            text.push(char::from_u32(private).unwrap_or(char::REPLACEMENT_CHARACTER));
            copied = at + ESCAPE_BYTES;
        }
        text.push_str(&json[copied..]);
        Some(Self { text, marker })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn marks(&self, parsed: &str) -> bool {
        parsed.contains(self.marker)
    }

    /// A parsed string with U+FFFD for each half surrogate.
    pub fn shown(&self, parsed: &str) -> String {
        self.replaced(parsed, |_| char::REPLACEMENT_CHARACTER.into())
    }

    /// A parsed string with the escape of each half surrogate.
    pub fn escaped(&self, parsed: &str) -> String {
        self.replaced(parsed, |private| {
            format!("\\u{:04x}", u32::from(FIRST_HALF) + private - FIRST_PRIVATE)
        })
    }

    fn replaced(&self, parsed: &str, half: impl Fn(u32) -> String) -> String {
        let mut parts = parsed.split(self.marker);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let mut characters = part.chars();
            text.push_str(&half(characters.next().map_or(FIRST_PRIVATE, u32::from)));
            text.push_str(characters.as_str());
        }
        text
    }
}

const ESCAPE_BYTES: usize = 6;

/// Byte offset and code unit of each escaped half surrogate.
fn half_surrogates(json: &str) -> impl Iterator<Item = (usize, u16)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(found) = json.as_bytes().get(at..)?.iter().position(|byte| *byte == b'\\') {
            let here = at + found;
            let Some(unit) = escaped_unit(json, here) else {
                at = here + 2;
                continue;
            };
            at = here + ESCAPE_BYTES;
            let is_high = (0xd800..0xdc00).contains(&unit);
            let next = escaped_unit(json, at).filter(|next| (0xdc00..0xe000).contains(next));
            if is_high && next.is_some() {
                at += ESCAPE_BYTES;
            } else if (0xd800..0xe000).contains(&unit) {
                return Some((here, unit));
            }
        }
        None
    })
}

fn escaped_unit(json: &str, at: usize) -> Option<u16> {
    let escape = json.as_bytes().get(at..at + ESCAPE_BYTES)?;
    let digits = escape.strip_prefix(b"\\u").filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(json: &str) -> (String, String) {
        let marked = MarkedJson::new(json).expect("half a pair");
        let text: String = serde_json::from_str(marked.text()).expect("JSON");
        assert!(marked.marks(&text));
        (marked.shown(&text), marked.escaped(&text))
    }

    #[test]
    fn half_surrogates_are_shown_replaced_or_as_escapes() {
        for (json, shown, escaped) in [
            (r#""a\ud83d""#, "a\u{fffd}", r"a\ud83d"),
            (r#""\ude00\ud83d b""#, "\u{fffd}\u{fffd} b", r"\ude00\ud83d b"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}", "\\ud83d\u{1f600}"),
            (r#""\\\ud83d\n\"""#, "\\\u{fffd}\n\"", "\\\\ud83d\n\""),
            (r#""\ufdd0 \uDFFF""#, "\u{fdd0} \u{fffd}", "\u{fdd0} \\udfff"),
        ] {
            assert_eq!(parsed(json), (shown.to_owned(), escaped.to_owned()), "{json}");
        }
    }

    #[test]
    fn whole_pairs_and_escaped_backslashes_are_left_alone() {
        for json in
            [r#""\ud83d\ude00""#, r#""\\ud83d""#, r#""ud83d""#, r#""\u00e9""#, "\"\\ud8", ""]
        {
            assert!(MarkedJson::new(json).is_none(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(json in r#"(\\|u|d8|dc|3d|00|"|é|\ufdd0){0,24}"#) {
            if let Some(marked) = MarkedJson::new(&json) {
                let _ = (marked.shown(marked.text()), marked.escaped(marked.text()));
            }
        }
    }
}
