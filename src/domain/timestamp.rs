//! Times of upstream, kept as text because the gateway does not calculate with them.

use std::fmt;

use serde::{Serialize, Serializer};

/// Longest accepted time, such as `2026-01-07T12:00:00.000000000+01:00`.
const MAX_BYTES: usize = 35;

/// A time in upstream's spelling (ISO 8601). The text is stored inline, so the many times of a
/// conversation need no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Timestamp {
    bytes: [u8; MAX_BYTES],
    length: u8,
}

impl Timestamp {
    /// The time in this text; `None` if its characters or length are not those of a time.
    pub fn parse(text: &str) -> Option<Self> {
        let is_of_times = |byte: u8| byte.is_ascii_digit() || b"-+:.TtZz".contains(&byte);
        if !text.starts_with(|first: char| first.is_ascii_digit()) || !text.bytes().all(is_of_times)
        {
            return None;
        }
        let mut bytes = [0; MAX_BYTES];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// The time in upstream's spelling.
    pub fn as_str(&self) -> &str {
        // `parse` accepts only ASCII.
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Start and end of a conversation or of a participant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The start, if upstream sent it.
    pub start: Option<Timestamp>,
    /// The end; `None` before it, or if upstream did not send it.
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
