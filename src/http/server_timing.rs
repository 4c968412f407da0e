//! `Server-Timing` (<https://www.w3.org/TR/server-timing/>): how a request spent its time.

use std::fmt::Write as _;
use std::time::Duration;

/// The header value: named durations in milliseconds with three decimals.
pub(super) fn server_timing(spent: impl Iterator<Item = (&'static str, Duration)>) -> String {
    let mut text = String::with_capacity(128);
    for (name, time) in spent {
        let comma = if text.is_empty() { "" } else { ", " };
        let (whole, micros) = (time.as_millis(), time.subsec_micros() % 1000);
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{name};dur={whole}.{micros:03}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_with_three_decimals() {
        let text = |micros: &[u64]| {
            let times = micros.iter().map(|micros| ("read", Duration::from_micros(*micros)));
            server_timing(times)
        };
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[0]), "read;dur=0.000");
        assert_eq!(text(&[7, 1_050]), "read;dur=0.007, read;dur=1.050");
        assert_eq!(text(&[60_000_000]), "read;dur=60000.000");
        assert_eq!(text(&[123_456_789]), "read;dur=123456.789");
    }
}
