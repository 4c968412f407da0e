//! `Server-Timing` (<https://www.w3.org/TR/server-timing/>): how a request spent its time.
//!
//! The digits are written by hand. `format!` would need as long for the six numbers of a response as
//! all its other headers take.

use std::time::Duration;

/// The header value: named durations in milliseconds with three decimals.
pub(super) fn server_timing(spent: impl Iterator<Item = (&'static str, Duration)>) -> String {
    let mut text = String::with_capacity(128);
    for (name, time) in spent {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name);
        text.push_str(";dur=");
        push_digits(&mut text, u64::try_from(time.as_millis()).unwrap_or(u64::MAX), 1);
        text.push('.');
        push_digits(&mut text, u64::from(time.subsec_micros() % 1000), 3);
    }
    text
}

/// Appends a number with leading zeros up to `min_digits`.
fn push_digits(text: &mut String, number: u64, min_digits: usize) {
    let mut digits = [b'0'; 20]; // the length of the largest number
    let (mut rest, mut used) = (number, 0);
    while rest > 0 || used < min_digits {
        used += 1;
        digits[20 - used] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    text.extend(digits[20 - used..].iter().map(|digit| char::from(*digit)));
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
