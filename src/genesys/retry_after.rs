//! Reads `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).
//!
//! Genesys sends whole seconds. Proxies and login hosts in front of it send dates too.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header};

use crate::clock;

/// Longer waits are cut to a day. An instant too far in the future cannot be represented.
const MAX: Duration = Duration::from_hours(24);

/// The wait that an answer asks for, at most a day. A date in the past means no wait.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        // A number that does not fit is longer than a day, too.
        text.parse().map_or(MAX, Duration::from_secs)
    } else {
        // Both dates come from the sender, so a wrong clock on either side does no harm.
        let sent = date(headers, &header::DATE).unwrap_or_else(|| clock::now().into());
        let until = date(headers, &header::RETRY_AFTER)?;
        until.duration_since(sent).unwrap_or_default()
    };
    Some(wait.min(MAX))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(retry_after_text: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, retry_after_text.parse().expect("valid"));
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().expect("valid"));
        }
        retry_after(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn whole_seconds_are_read_up_to_a_day() {
        assert_eq!(wait("42", None), Some(42));
        assert_eq!(wait("18446744073709551615", None), Some(86_400));
        assert_eq!(wait("99999999999999999999999999", None), Some(86_400));
        for text in ["soon", "-1", "1.5", "", "2026-11-30T10:00:00Z"] {
            assert_eq!(wait(text, None), None, "{text}");
        }
    }

    #[test]
    fn dates_are_relative_to_the_clock_of_the_sender() {
        let sent = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:07 GMT", sent), Some(30));
        assert_eq!(wait("Sunday, 06-Nov-94 08:50:07 GMT", sent), Some(30));
        assert_eq!(wait("Sun Nov  6 08:50:07 1994", sent), Some(30));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:07 GMT", sent), Some(0));
        assert_eq!(wait("Sun, 06 Nov 2033 08:49:07 GMT", sent), Some(86_400));
    }

    #[test]
    fn without_a_date_header_our_own_clock_counts() {
        let until = SystemTime::from(clock::now()) + Duration::from_secs(30);
        let wait = wait(&httpdate::fmt_http_date(until), None).expect("a wait");
        assert!((28..=30).contains(&wait), "{wait}");
    }
}
