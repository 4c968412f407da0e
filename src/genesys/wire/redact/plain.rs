//! Normalises a text for comparison: decodes escapes, and folds the case.

use std::borrow::Cow;

/// How many layers of escapes are decoded, for example JSON in a URL in HTML.
const MAX_DEPTH: usize = 4;

/// The text itself, and the results of decoding its escapes again and again.
pub fn readings(text: &str) -> Vec<Cow<'_, str>> {
    let mut readings = vec![Cow::Borrowed(text)];
    for _ in 0..MAX_DEPTH {
        let last = readings.last().map_or(text, AsRef::as_ref);
        let next = unescaped(last);
        if next == last {
            break;
        }
        readings.push(Cow::Owned(next));
    }
    readings
}

/// The text in lower case.
pub fn folded(text: &str) -> String {
    // Upper case first, so that `ß` and `SS` become equal.
    text.to_uppercase().to_lowercase()
}

/// Only the letters and digits of a text.
pub fn bare(text: &str) -> String {
    text.chars().filter(|character| character.is_alphanumeric()).collect()
}

/// Decodes one layer of escapes of any kind. Everything else stays.
fn unescaped(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let found = match first {
            '%' => percent(rest),
            '&' => entity(rest),
            '\\' => backslash(rest),
            '+' => Some((EscapePiece::Character(' '), 1)),
            _ => None,
        };
        let (piece, length) = found.unwrap_or((EscapePiece::Character(first), first.len_utf8()));
        match piece {
            EscapePiece::Byte(byte) => plain.push(byte),
            EscapePiece::Character(character) => {
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The meaning of an escape.
enum EscapePiece {
    /// One byte of UTF-8.
    Byte(u8),
    Character(char),
}

/// Decodes an escape of a URL: `%C3`.
fn percent(text: &str) -> Option<(EscapePiece, usize)> {
    let byte = u8::from_str_radix(text.get(1..3)?, 16).ok()?;
    Some((EscapePiece::Byte(byte), 3))
}

/// Decodes an escape of HTML: `&amp;`, `&#252;`, `&#xFC;`.
fn entity(text: &str) -> Option<(EscapePiece, usize)> {
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let name = &text[1..end];
    let character = match name.to_ascii_lowercase().as_str() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        number => {
            let number = number.strip_prefix('#')?;
            let value = match number.strip_prefix('x') {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(value.ok()?)?
        }
    };
    Some((EscapePiece::Character(character), end + 1))
}

/// Decodes an escape of JSON and source code: `\n`, `\"`, `\u00fc`, `\u{fc}`, `\xfc`.
fn backslash(text: &str) -> Option<(EscapePiece, usize)> {
    let character = match text.as_bytes().get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'x' => return Some((EscapePiece::Character(hex(text.get(2..4)?)?), 4)),
        b'u' if text[2..].starts_with('{') => {
            let end = text.find('}')?;
            return Some((EscapePiece::Character(hex(&text[3..end])?), end + 1));
        }
        b'u' => return code_units(text),
        byte if byte.is_ascii_punctuation() => char::from(*byte),
        _ => return None,
    };
    Some((EscapePiece::Character(character), 2))
}

fn hex(digits: &str) -> Option<char> {
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// Decodes `\u00fc`, or two such escapes that form one character.
fn code_units(text: &str) -> Option<(EscapePiece, usize)> {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let units = [Some(unit(0)?), unit(6)];
    let mut decoded = char::decode_utf16(units.into_iter().flatten());
    let character = decoded.next()?.ok()?;
    Some((EscapePiece::Character(character), 6 * character.len_utf16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_escape_is_decoded() {
        for escaped in [
            "Jürgen <&> \"x\"",
            "J%C3%BCrgen+%3c%26%3E+%22x%22",
            "J&#252;rgen &lt;&amp;&gt; &quot;x&quot;",
            r#"J\u00fcrgen <&> \"x\""#,
            r"J\xfcrgen \u003c\u0026\u003e \u0022x\u0022",
            r"J\u{fc}rgen \x3c\x26\x3e \x22x\x22",
        ] {
            let plain = readings(escaped).into_iter().any(|text| text == "Jürgen <&> \"x\"");
            assert!(plain, "{escaped} {:?}", readings(escaped));
        }
        assert!(readings(r"\ud83d\ude00").contains(&"😀".into()));
        assert!(readings("%25&amp;lt;").contains(&"%<".into()));
    }

    #[test]
    fn text_without_escapes_stays() {
        for text in ["100% sure", "a & b", "%zz", "&nothing;", "\\q", "\\u12", "&#xffffffff;", "%é"]
        {
            assert_eq!(unescaped(text), text);
        }
    }
}
