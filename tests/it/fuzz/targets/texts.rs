//! Words of paths, queries, bodies and settings, each in the parser that takes it.
//!
//! An input is the name of a parser, a space, and the text.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use attribute_gateway::config::{BaseUrl, HttpProxy, IpNetwork, PathTemplate, Region};
use attribute_gateway::domain::{
    AttributeKey, AttributeMap, AttributeValue, ClientName, ConversationId, KeyDigest, KeyPattern,
    ParticipantId, ParticipantSelector, PhoneNumber, ResourceId, Timestamp,
};
use attribute_gateway::error::ErrorCode;

/// Longer texts take the plain search for a pattern too long.
const MAX_TEXT_BYTES: usize = 24;

/// Reads the text; what was read is read again from what it is shown as.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some((parser, text)) = text.split_once(' ') else { return };
    match parser {
        "conversation" => shown_as_read::<ConversationId>(text),
        "participant" => shown_as_read::<ParticipantId>(text),
        "resource" => shown_as_read::<ResourceId>(text),
        "selector" => shown_as_read::<ParticipantSelector>(text),
        "client" => shown_as_read::<ClientName>(text),
        "network" => shown_as_read::<IpNetwork>(text),
        "url" => url(text),
        "region" => shown_as_read::<Region>(text),
        "pattern" => pattern(text),
        "number" => number(text),
        "map" => map(text),
        "template" => {
            let template = text.parse::<PathTemplate>();
            assert!(template.is_err() || !text.contains(['?', '#', ' ', '\n']), "{text}");
        }
        "proxy" => proxy(text),
        "time" => {
            assert!(Timestamp::parse(text).is_none_or(|time| time.to_string() == text), "{text}");
        }
        "digest" => {
            let digest = text.parse::<KeyDigest>().map(|digest| digest.to_hex());
            assert!(digest.is_err() || digest == Ok(text.to_lowercase()), "{text}");
        }
        "code" => {
            assert!(ErrorCode::parse(text).is_none_or(|code| code.as_str() == text), "{text}");
        }
        _ => {}
    }
}

fn shown_as_read<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str) {
    if let Ok(read) = text.parse::<T>() {
        let again = read.to_string().parse::<T>();
        assert_eq!(again.expect("it is read again"), read, "{text}");
    }
}

/// The path of a request is appended to a base URL, and goes to its host.
fn url(text: &str) {
    shown_as_read::<BaseUrl>(text);
    let Ok(base) = text.parse::<BaseUrl>() else { return };
    let whole = format!("{base}/api/v2/conversations");
    let uri: http::Uri = whole.parse().expect("a request can be sent there");
    assert!(uri.path().ends_with("/api/v2/conversations") && uri.query().is_none(), "{whole}");
    assert!(!uri.authority().expect("a host").as_str().contains('@'), "{whole}");
}

/// Nothing of a proxy but its address is shown.
fn proxy(text: &str) {
    let Ok(proxy) = text.parse::<HttpProxy>() else { return };
    let address = proxy.to_string();
    assert!(address.parse::<http::Uri>().is_ok(), "{address}");
    assert!(
        address.parse::<HttpProxy>().is_ok_and(|bare| bare.expose_url().username().is_empty()),
        "{address}"
    );
}

/// A pattern, a line end, and a key: they fit if every text was tried for each star.
fn pattern(text: &str) {
    let (pattern, key) = text.split_once('\n').unwrap_or((text, "tier"));
    shown_as_read::<KeyPattern>(pattern);
    let Ok(parsed) = pattern.parse::<KeyPattern>() else { return };
    if text.len() <= MAX_TEXT_BYTES {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(parsed.matches(key), fits(&letters(pattern), &letters(key)), "{text}");
    }
    assert!(!parsed.matches_all() || parsed.matches(key), "{text}");
}

fn fits(pattern: &[char], key: &[char]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some(('*', rest)) => (0..=key.len()).any(|skipped| fits(rest, &key[skipped..])),
        Some((first, rest)) => key.first() == Some(first) && fits(rest, &key[1..]),
    }
}

/// Each spelling of a number is that number, and only digits reach upstream.
fn number(text: &str) {
    let Ok(number) = text.parse::<PhoneNumber>() else { return };
    assert!(!format!("{number:?}").contains(number.expose()), "{text}");
    for spelling in number.spellings() {
        let plain = spelling.strip_prefix("tel:").unwrap_or(&spelling);
        let digits = plain.strip_prefix('+').unwrap_or(plain);
        assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{spelling}");
        assert!(spelling.parse::<PhoneNumber>().is_ok(), "{spelling}");
    }
}

/// The reported size of a map is exact: lines of `key=value`.
fn map(text: &str) {
    let entries = text.lines().filter_map(|line| line.split_once('='));
    let map: AttributeMap = entries
        .map(|(key, value)| (AttributeKey::existing(key), AttributeValue::new(value)))
        .collect();
    let held = map.iter_held().map(|(key, value)| (key.as_str(), value.expose()));
    let held: std::collections::BTreeMap<_, _> = held.collect();
    let json = serde_json::to_string(&held).expect("JSON");
    assert_eq!(map.json_bytes(), json.len(), "{json}");
}
