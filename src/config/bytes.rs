//! Sizes in bytes, as people write them.
//!
//! Not the `bytesize` crate: it accepts fractions and any letter case, and it rounds what it prints.
//! Here every size is exact, so `print-config` and the messages show the value that applies.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, written as a number (`10240`) or with a unit (`"16 KiB"`).
///
/// KiB, MiB and GiB are powers of 1024; kB, MB and GB are powers of 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; `usize::MAX` if it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (factor, unit) in UNITS {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{} {unit}", self.0 / factor);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let no_size = || format!("must be a size such as `16 KiB` or `10240`, not `{text}`");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let factor: u64 = match text[digits..].trim_start() {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(no_size()),
        };
        let number = text[..digits].parse::<u64>().ok();
        number.and_then(|number| number.checked_mul(factor)).map(Self).ok_or_else(no_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let cases = [
            ("10240", 10_240),
            ("16 KiB", 16_384),
            ("16KiB", 16_384),
            (" 2 MiB ", 2_097_152),
            ("1 GiB", 1_073_741_824),
            ("3 kB", 3_000),
            ("0", 0),
            ("7 B", 7),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize::new(bytes)), "{text}");
        }
    }

    #[test]
    fn invalid_sizes_are_refused() {
        for text in [
            "",
            "KiB",
            "1.5 KiB",
            "-1",
            "1 kib",
            "1 K",
            "16 EiB",
            "99999999999999999999",
            "20000000000 GiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_divides_it() {
        for text in ["64 KiB", "2 MiB", "1 GiB", "1025 B", "0 B"] {
            assert_eq!(text.parse::<ByteSize>().map(|size| size.to_string()), Ok(text.to_owned()));
        }
    }
}
