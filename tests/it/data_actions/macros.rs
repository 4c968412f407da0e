//! The macros that a template may call, as the vendor describes them.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A macro.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Macro {
    /// `$esc.jsonString`, later also `$esc.jsonEncode`: for the inside of a JSON string.
    JsonString,
    /// `$esc.url`, another name of `$esc.urlFormEncode`: a space becomes `+`.
    FormEncode,
    /// `$esc.uriEncode`: percent-encoding throughout, as paths need it.
    UriEncode,
    /// `$encoding.base64`.
    Base64,
}

impl Macro {
    /// The macro of this name.
    pub fn named(tool: &str, method: &str) -> Option<Self> {
        match (tool, method) {
            ("esc", "jsonString" | "jsonEncode") => Some(Self::JsonString),
            ("esc", "url" | "urlFormEncode") => Some(Self::FormEncode),
            ("esc", "uriEncode") => Some(Self::UriEncode),
            ("encoding", "base64") => Some(Self::Base64),
            _ => None,
        }
    }

    /// What it makes of a text.
    pub fn apply(self, text: &str) -> String {
        match self {
            Self::JsonString => json_string(text),
            Self::FormEncode => percent(text, b".-*_", true),
            Self::UriEncode => percent(text, b"-._~", false),
            Self::Base64 => STANDARD.encode(text),
        }
    }
}

/// As Java's libraries do it: slashes are escaped as well, and so is all that is not ASCII, in halves
/// of UTF-16 where it needs two.
fn json_string(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(plain @ (b'"' | b'\\' | b'/')) => escaped.extend(['\\', char::from(plain)]),
            Ok(8) => escaped.push_str("\\b"),
            Ok(b'\t') => escaped.push_str("\\t"),
            Ok(b'\n') => escaped.push_str("\\n"),
            Ok(12) => escaped.push_str("\\f"),
            Ok(b'\r') => escaped.push_str("\\r"),
            Ok(plain @ b' '..=b'~') => escaped.push(char::from(plain)),
            _ => write!(escaped, "\\u{unit:04X}").expect("a String takes all"),
        }
    }
    escaped
}

fn percent(text: &str, plain: &[u8], plus: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            encoded.push(char::from(byte));
        } else if plus && byte == b' ' {
            encoded.push('+');
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes all");
        }
    }
    encoded
}

#[test]
fn macros_escape_as_the_vendor_says() {
    let apply = |tool, method, text| Macro::named(tool, method).expect("it is known").apply(text);
    assert_eq!(
        apply("esc", "jsonString", "a\"b\\c/d\n\r\t\u{8}\u{c}\u{1}é😀 ~"),
        r#"a\"b\\c\/d\n\r\t\b\f\u0001\u00E9\uD83D\uDE00 ~"#
    );
    assert_eq!(apply("esc", "url", "a b+c/d?é*~"), "a+b%2Bc%2Fd%3F%C3%A9*%7E");
    assert_eq!(apply("esc", "uriEncode", "a b+c/d?é*~"), "a%20b%2Bc%2Fd%3F%C3%A9%2A~");
    assert_eq!(apply("encoding", "base64", "crm:é"), "Y3JtOsOp");
    assert_eq!(Macro::named("esc", "jsonstring"), None);
}
