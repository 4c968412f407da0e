//! Times as upstream writes them: kept as text, since nothing is reckoned with them.

use std::fmt;

/// Longest time that is kept: `2026-01-07T12:00:00.000000000Z`, or one with an offset.
const MAX_BYTES: usize = 35;

/// A time in the spelling of upstream (ISO 8601). It lies within the struct: reading a conversation
/// allocates nothing for its many times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    bytes: [u8; MAX_BYTES],
    length: u8,
}

impl Timestamp {
    /// The time in this text; `None` if it has letters or a length that no time has.
    pub fn parse(text: &str) -> Option<Self> {
        let of_a_time = |byte: &u8| byte.is_ascii_digit() || b"-+:.TtZz".contains(byte);
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_digit);
        if !begins || text.len() > MAX_BYTES || !text.as_bytes().iter().all(of_a_time) {
            return None;
        }
        let mut bytes = [0; MAX_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// The spelling of upstream.
    pub fn as_str(&self) -> &str {
        // Only ASCII was let in.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// From when until when something was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// When it began, where that is told.
    pub start: Option<Timestamp>,
    /// When it ended; `None` while it lasts, or where that is not told.
    pub end: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_kept_as_it_is_and_anything_else_is_none() {
        for text in ["2026-01-07T12:00:00.000Z", "2026-01-07T12:00:00+01:00", "2026"] {
            assert_eq!(Timestamp::parse(text).map(|time| time.to_string()).as_deref(), Some(text));
        }
        let long = "2".repeat(MAX_BYTES + 1);
        for text in ["", "soon", "2026-01-07 12:00", "2026\u{1b}[31m", "Z", long.as_str(), "٢"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
